"""people, tokens and sessions; audit, plans, policies and webhooks; workloads belong to projects"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('answers',
    sa.Column('principal', sa.String(length=255), nullable=False),
    sa.Column('key', sa.String(length=255), nullable=False),
    sa.Column('request_hash', sa.String(length=64), nullable=False),
    sa.Column('status', sa.Integer(), nullable=True),
    sa.Column('headers', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('body', sa.LargeBinary(), nullable=True),
    sa.Column('created', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('principal', 'key', name=op.f('pk_answers'))
    )
    with op.batch_alter_table('answers', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_answers_created'), ['created'], unique=False)

    op.create_table('audit',
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('at', sa.Double(), nullable=False),
    sa.Column('actor', sa.String(length=255), nullable=False),
    sa.Column('actor_kind', sa.String(length=16), nullable=False),
    sa.Column('origin', sa.String(length=255), nullable=False),
    sa.Column('action', sa.String(length=255), nullable=False),
    sa.Column('target', sa.String(length=1024), nullable=False),
    sa.Column('project', sa.String(length=63), nullable=False),
    sa.Column('outcome', sa.String(length=64), nullable=False),
    sa.Column('request', sa.String(length=64), nullable=False),
    sa.Column('details', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('previous', sa.String(length=64), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('seq', name=op.f('pk_audit'))
    )
    op.create_table('decisions',
    sa.Column('migration', sa.String(length=64), nullable=False),
    sa.Column('run_on', sa.String(length=16), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('proof', sa.String(length=16), nullable=False),
    sa.Column('by', sa.String(length=255), nullable=False),
    sa.Column('by_name', sa.String(length=255), nullable=False),
    sa.Column('at', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('migration', name=op.f('pk_decisions'))
    )
    op.create_table('plans',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.Column('content', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('basis', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('workload', sa.String(length=255), nullable=False),
    sa.Column('project', sa.String(length=63), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('demands', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('created', sa.Double(), nullable=False),
    sa.Column('created_by', sa.String(length=255), nullable=False),
    sa.Column('decided', sa.Double(), nullable=True),
    sa.Column('decided_by', sa.String(length=255), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('expires', sa.Double(), nullable=False),
    sa.Column('migration', sa.String(length=64), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_plans'))
    )
    with op.batch_alter_table('plans', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_plans_state'), ['state'], unique=False)
        batch_op.create_index(batch_op.f('ix_plans_workload'), ['workload'], unique=False)

    op.create_table('policies',
    sa.Column('name', sa.String(length=63), nullable=False),
    sa.Column('project', sa.String(length=63), nullable=False),
    sa.Column('document', sa.Text(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('updated', sa.Double(), nullable=False),
    sa.Column('updated_by', sa.String(length=255), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_policies'))
    )
    op.create_table('users',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('issuer', sa.String(length=512), nullable=False),
    sa.Column('subject', sa.String(length=255), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('email', sa.String(length=255), nullable=False),
    sa.Column('created', sa.Double(), nullable=False),
    sa.Column('seen', sa.Double(), nullable=True),
    sa.Column('disabled', sa.Double(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_users')),
    sa.UniqueConstraint('issuer', 'subject', name=op.f('uq_users_issuer'))
    )
    op.create_table('webhooks',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('url', sa.Text(), nullable=False),
    sa.Column('sealed', sa.Text(), nullable=False),
    sa.Column('project', sa.String(length=63), nullable=False),
    sa.Column('types', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('created', sa.Double(), nullable=False),
    sa.Column('created_by', sa.String(length=255), nullable=False),
    sa.Column('disabled', sa.Double(), nullable=True),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('cursor', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhooks'))
    )
    op.create_table('api_tokens',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('owner', sa.String(length=64), nullable=True),
    sa.Column('parent', sa.String(length=64), nullable=True),
    sa.Column('project', sa.String(length=63), nullable=False),
    sa.Column('scopes', sa.JSON(none_as_null=True), nullable=False),
    sa.Column('created', sa.Double(), nullable=False),
    sa.Column('expires', sa.Double(), nullable=False),
    sa.Column('revoked', sa.Double(), nullable=True),
    sa.Column('used', sa.Double(), nullable=True),
    sa.ForeignKeyConstraint(['owner'], ['users.id'], name=op.f('fk_api_tokens_owner_users'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_tokens')),
    sa.UniqueConstraint('hash', name=op.f('uq_api_tokens_hash'))
    )
    with op.batch_alter_table('api_tokens', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_api_tokens_owner'), ['owner'], unique=False)

    op.create_table('deliveries',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('webhook', sa.String(length=64), nullable=False),
    sa.Column('event', sa.BigInteger(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('next_at', sa.Double(), nullable=True),
    sa.Column('lease_until', sa.Double(), nullable=True),
    sa.Column('status', sa.Integer(), nullable=True),
    sa.Column('error', sa.Text(), nullable=False),
    sa.Column('created', sa.Double(), nullable=False),
    sa.Column('ended', sa.Double(), nullable=True),
    sa.ForeignKeyConstraint(['webhook'], ['webhooks.id'], name=op.f('fk_deliveries_webhook_webhooks'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_deliveries')),
    sa.UniqueConstraint('webhook', 'event', name=op.f('uq_deliveries_webhook'))
    )
    with op.batch_alter_table('deliveries', schema=None) as batch_op:
        batch_op.create_index('ix_deliveries_due', ['state', 'next_at'], unique=False)

    op.create_table('grants',
    sa.Column('user', sa.String(length=64), nullable=False),
    sa.Column('project', sa.String(length=63), nullable=False),
    sa.Column('role', sa.String(length=16), nullable=False),
    sa.Column('created', sa.Double(), nullable=False),
    sa.Column('created_by', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['user'], ['users.id'], name=op.f('fk_grants_user_users'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('user', 'project', 'role', name=op.f('pk_grants'))
    )
    op.create_table('logins',
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.Column('next', sa.Text(), nullable=False),
    sa.Column('expires', sa.Double(), nullable=False),
    sa.PrimaryKeyConstraint('hash', name=op.f('pk_logins'))
    )
    op.create_table('sessions',
    sa.Column('hash', sa.String(length=64), nullable=False),
    sa.Column('user', sa.String(length=64), nullable=True),
    sa.Column('csrf', sa.String(length=64), nullable=False),
    sa.Column('created', sa.Double(), nullable=False),
    sa.Column('expires', sa.Double(), nullable=False),
    sa.ForeignKeyConstraint(['user'], ['users.id'], name=op.f('fk_sessions_user_users'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('hash', name=op.f('pk_sessions'))
    )
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_sessions_user'), ['user'], unique=False)

    with op.batch_alter_table('checkpoints', schema=None) as batch_op:
        batch_op.add_column(sa.Column('project', sa.String(length=63), server_default='default', nullable=False))

    with op.batch_alter_table('events', schema=None) as batch_op:
        batch_op.add_column(sa.Column('project', sa.String(length=63), server_default='', nullable=False))
        batch_op.add_column(sa.Column('request', sa.String(length=64), server_default='', nullable=False))

    with op.batch_alter_table('migrations', schema=None) as batch_op:
        batch_op.add_column(sa.Column('project', sa.String(length=63), server_default='default', nullable=False))
        batch_op.add_column(sa.Column('plan_id', sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column('created_by', sa.String(length=255), server_default='', nullable=False))
        batch_op.add_column(sa.Column('request', sa.String(length=64), server_default='', nullable=False))
        batch_op.create_index(batch_op.f('ix_migrations_plan_id'), ['plan_id'], unique=False)

    with op.batch_alter_table('workloads', schema=None) as batch_op:
        batch_op.add_column(sa.Column('project', sa.String(length=63), server_default='default', nullable=False))
        batch_op.create_index(batch_op.f('ix_workloads_project'), ['project'], unique=False)

    append_only('audit')


def append_only(table: str) -> None:
    """Refuse to change or remove rows. Dropping the table drops this, too, but for PostgreSQL's
    function."""
    said = f'cannot change or remove rows of {table}: it is append-only'
    if op.get_bind().dialect.name == 'sqlite':
        for verb in ('UPDATE', 'DELETE'):
            op.execute(
                f'CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} '
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        # INSERT OR REPLACE removes a row without asking the trigger above.
        op.execute(
            f'CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} '
            f'WHEN EXISTS (SELECT 1 FROM {table} WHERE seq = NEW.seq) '
            f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
        )
        return
    op.execute(
        f'CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS '
        f"$$ BEGIN RAISE EXCEPTION '{said}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for events, each in (('UPDATE OR DELETE', 'ROW'), ('TRUNCATE', 'STATEMENT')):
        op.execute(
            f'CREATE TRIGGER {table}_append_only_{each.lower()} BEFORE {events} ON {table} '
            f'FOR EACH {each} EXECUTE FUNCTION {table}_append_only()'
        )


def downgrade() -> None:
    with op.batch_alter_table('workloads', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_workloads_project'))
        batch_op.drop_column('project')

    with op.batch_alter_table('migrations', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_migrations_plan_id'))
        batch_op.drop_column('created_by')
        batch_op.drop_column('request')
        batch_op.drop_column('plan_id')
        batch_op.drop_column('project')

    with op.batch_alter_table('events', schema=None) as batch_op:
        batch_op.drop_column('request')
        batch_op.drop_column('project')

    with op.batch_alter_table('checkpoints', schema=None) as batch_op:
        batch_op.drop_column('project')

    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_sessions_user'))

    op.drop_table('sessions')
    op.drop_table('logins')
    op.drop_table('grants')
    with op.batch_alter_table('deliveries', schema=None) as batch_op:
        batch_op.drop_index('ix_deliveries_due')

    op.drop_table('deliveries')
    with op.batch_alter_table('api_tokens', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_api_tokens_owner'))

    op.drop_table('api_tokens')
    op.drop_table('webhooks')
    op.drop_table('users')
    op.drop_table('policies')
    with op.batch_alter_table('plans', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_plans_workload'))
        batch_op.drop_index(batch_op.f('ix_plans_state'))

    op.drop_table('plans')
    op.drop_table('decisions')
    op.drop_table('audit')
    if op.get_bind().dialect.name == 'postgresql':
        op.execute('DROP FUNCTION audit_append_only()')
    with op.batch_alter_table('answers', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_answers_created'))

    op.drop_table('answers')
