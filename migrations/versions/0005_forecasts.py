"""migrations keep what was forecast of them; workloads the policies that their labels name"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('migrations', sa.Column('forecast', sa.JSON(none_as_null=True), nullable=True))
    op.create_index('ix_migrations_created', 'migrations', ['created'])
    op.create_index('ix_migrations_workload', 'migrations', ['workload', 'created'])
    op.create_index('ix_migrations_pair', 'migrations', ['source', 'target', 'created'])
    op.add_column('workloads', sa.Column('policies', sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column('workloads', 'policies')
    for name in ('pair', 'workload', 'created'):
        op.drop_index(f'ix_migrations_{name}', table_name='migrations')
    op.drop_column('migrations', 'forecast')
