"""People, their roles, API tokens and sessions. Secrets are kept as hashes only."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import ACTIVE
from porter.db.database import Database
from porter.domain.errors import Denied, NotFound
from porter.domain.identity import (
    DEFAULT_PROJECT,
    EVERYWHERE,
    Grant,
    Permission,
    Principal,
    Projects,
    Role,
    root,
)

TOKEN_PREFIX = "porter_"
"""So that scanners of leaked secrets can know a token."""
SESSION_S = 12 * 3600.0
LOGIN_S = 600.0
"""So long somebody may take at the issuer's login."""
TOUCH_S = 60.0
"""The time of a token's last use is written so often at most."""


@dataclass(frozen=True)
class User:
    id: str
    issuer: str
    subject: str
    name: str
    email: str
    created: float
    seen: float | None
    disabled: float | None
    grants: tuple[Grant, ...]


@dataclass(frozen=True)
class Session:
    """A browser's. `csrf` must come with everything that changes something."""

    principal: Principal
    csrf: str
    expires: float


@dataclass(frozen=True)
class ApiToken:
    id: str
    name: str
    owner: str | None
    """A user's id; None: root's."""
    parent: str | None
    """The token that it was made with."""
    project: str
    scopes: tuple[Permission, ...]
    created: float
    expires: float
    revoked: float | None
    used: float | None


@dataclass(frozen=True)
class Project:
    """`moving`: migrations that are under way."""

    name: str
    workloads: int
    moving: int


def digest(secret: str) -> str:
    """What is kept of a secret. It has 256 random bits: no salt or slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Identity:
    """Every method is one transaction, or two short ones."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- people

    def login(self, issuer: str, subject: str, name: str, email: str, now: float) -> User:
        """The user of this subject, made at the first login; without any role then."""
        u = t.users
        with self._db.write() as c:
            new = (
                self._db.insert(u)
                .values(
                    id=rows.new_id("u"),
                    issuer=issuer,
                    subject=subject,
                    name=name,
                    email=email,
                    created=now,
                    seen=now,
                )
                .on_conflict_do_update(
                    index_elements=["issuer", "subject"],
                    set_={"name": name, "email": email, "seen": now},
                )
                .returning(u.c.id)
            )
            return self._user(c, str(c.execute(new).scalar_one()))

    def user(self, identity: str) -> User:
        """By id. Raises NotFound."""
        with self._db.read() as c:
            return self._user(c, identity)

    def users(self) -> list[User]:
        """By name."""
        with self._db.read() as c:
            found = c.execute(sa.select(t.users.c.id).order_by(t.users.c.name, t.users.c.id))
            return [self._user(c, str(one)) for one in found.scalars().all()]

    def _user(self, c: sa.Connection, identity: str) -> User:
        row = c.execute(sa.select(t.users).where(t.users.c.id == identity)).first()
        if row is None:
            raise NotFound(f"cannot find the user {identity!r}", "`porter user ls` lists them")
        return User(**row._mapping, grants=self._grants(c, identity))

    def _grants(self, c: sa.Connection, user: str) -> tuple[Grant, ...]:
        g = t.grants
        found = c.execute(sa.select(g).where(g.c.user == user).order_by(g.c.project, g.c.role))
        return tuple(Grant(row.project, Role(row.role)) for row in found)

    def grant(self, user: str, grant: Grant, by: str, now: float) -> User:
        """Give a role. Again is the same."""
        with self._db.write() as c:
            self._user(c, user)
            c.execute(
                self._db.insert(t.grants)
                .values(
                    user=user, project=grant.project, role=grant.role, created=now, created_by=by
                )
                .on_conflict_do_nothing(index_elements=["user", "project", "role"])
            )
            return self._user(c, user)

    def withdraw(self, user: str, grant: Grant) -> User:
        """Take a role away. One that is not there is fine."""
        g = t.grants
        with self._db.write() as c:
            self._user(c, user)
            c.execute(
                sa.delete(g).where(
                    g.c.user == user, g.c.project == grant.project, g.c.role == grant.role
                )
            )
            return self._user(c, user)

    def disable(self, user: str, disabled: bool, now: float) -> User:
        """Lock somebody out, with their sessions and tokens, or let them in again."""
        with self._db.write() as c:
            self._user(c, user)
            c.execute(
                sa.update(t.users)
                .where(t.users.c.id == user)
                .values(disabled=now if disabled else None)
            )
            if disabled:
                c.execute(sa.delete(t.sessions).where(t.sessions.c.user == user))
            return self._user(c, user)

    def has_admin(self) -> bool:
        """Whether some user can administer everything; before that the first one is made."""
        g, u = t.grants, t.users
        with self._db.read() as c:
            found = c.execute(
                sa.select(g.c.user)
                .join(u, u.c.id == g.c.user)
                .where(g.c.project == EVERYWHERE, g.c.role == Role.ADMIN, u.c.disabled.is_(None))
                .limit(1)
            )
            return found.first() is not None

    def projects(self, within: Projects = None) -> list[Project]:
        """Those that workloads or grants name, and the default one; by name."""
        w, m, g = t.workloads, t.migrations, t.grants
        lives = sa.select(w.c.project, sa.func.count()).where(w.c.state != "gone")
        moves = sa.select(m.c.project, sa.func.count()).where(m.c.state.in_(ACTIVE))
        with self._db.read() as c:
            living = {name: int(count) for name, count in c.execute(lives.group_by(w.c.project))}
            moving = {name: int(count) for name, count in c.execute(moves.group_by(m.c.project))}
            granted = set(c.execute(sa.select(g.c.project).distinct()).scalars())
        names = {DEFAULT_PROJECT, *living, *moving, *granted} - {EVERYWHERE}
        return [
            Project(name, living.get(name, 0), moving.get(name, 0))
            for name in sorted(names if within is None else names & within)
        ]

    # -- logins that wait for the issuer, and sessions

    def begin_login(self, secret: str, then: str, now: float) -> None:
        """Remember where a browser that holds this secret wants to go once it has logged in."""
        k = t.logins
        with self._db.write() as c:
            c.execute(sa.delete(k).where(k.c.expires < now))
            c.execute(sa.insert(k).values(hash=digest(secret), next=then, expires=now + LOGIN_S))

    def finish_login(self, secret: str, now: float) -> str | None:
        """Where the browser wants to go. Once only: None the next time, and when it took too
        long."""
        k = t.logins
        mine = sa.delete(k).where(k.c.hash == digest(secret)).returning(k.c.next, k.c.expires)
        with self._db.write() as c:
            row = c.execute(mine).first()
        return None if row is None or row.expires < now else str(row.next)

    def begin_session(self, user: str | None, now: float) -> tuple[str, Session]:
        """A session of a user, or of root (None): the cookie's secret, shown once, and the rest."""
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        expires = now + SESSION_S
        with self._db.write() as c:
            c.execute(sa.delete(t.sessions).where(t.sessions.c.expires < now))
            c.execute(
                sa.insert(t.sessions).values(
                    hash=digest(secret), user=user, csrf=csrf, created=now, expires=expires
                )
            )
            principal = self._principal_of(c, user)
            if principal is None:
                raise Denied(
                    "cannot log in: this user is locked out", "ask an administrator to enable it"
                )
        return secret, Session(principal, csrf, expires)

    def session(self, secret: str) -> Session | None:
        """The session of a cookie; None if there is none, or it is over."""
        s = t.sessions
        with self._db.read() as c:
            row = c.execute(sa.select(s).where(s.c.hash == digest(secret))).first()
            if row is None or row.expires < time.time():
                return None
            principal = self._principal_of(c, row.user)
            return None if principal is None else Session(principal, row.csrf, row.expires)

    def end_session(self, secret: str) -> None:
        with self._db.write() as c:
            c.execute(sa.delete(t.sessions).where(t.sessions.c.hash == digest(secret)))

    def _principal_of(self, c: sa.Connection, user: str | None) -> Principal | None:
        if user is None:
            return root("root")
        row = c.execute(sa.select(t.users).where(t.users.c.id == user)).first()
        if row is None or row.disabled is not None:
            return None
        return Principal(user, "user", row.name or row.email, self._grants(c, user))

    # -- API tokens

    def add_token(
        self,
        name: str,
        owner: str | None,
        project: str,
        scopes: Sequence[Permission],
        expires: float,
        now: float,
        parent: str | None = None,
    ) -> tuple[str, ApiToken]:
        """A new token: its secret, shown once, and what is known of it."""
        secret = f"{TOKEN_PREFIX}{secrets.token_urlsafe(32)}"
        new = rows.new_id("t")
        with self._db.write() as c:
            c.execute(
                sa.insert(t.api_tokens).values(
                    id=new,
                    hash=digest(secret),
                    name=name,
                    owner=owner,
                    parent=parent,
                    project=project,
                    scopes=sorted(scopes),
                    created=now,
                    expires=expires,
                )
            )
            return secret, self._token(c, new)

    def token(self, identity: str) -> ApiToken:
        """Raises NotFound."""
        with self._db.read() as c:
            return self._token(c, identity)

    def _token(self, c: sa.Connection, identity: str) -> ApiToken:
        row = c.execute(sa.select(t.api_tokens).where(t.api_tokens.c.id == identity)).first()
        if row is None:
            raise no_token(identity)
        return _api_token(row)

    def tokens(self) -> list[ApiToken]:
        """Newest first."""
        k = t.api_tokens
        with self._db.read() as c:
            return [_api_token(row) for row in c.execute(sa.select(k).order_by(k.c.created.desc()))]

    def revoke(self, identity: str, now: float) -> ApiToken:
        """End it at once, with all that were made with it. Again is the same."""
        k = t.api_tokens
        with self._db.write() as c:
            self._token(c, identity)
            ending = [identity]
            while ending:
                c.execute(
                    sa.update(k)
                    .where(k.c.id.in_(ending))
                    .values(revoked=sa.func.coalesce(k.c.revoked, now))
                )
                ending = list(c.execute(sa.select(k.c.id).where(k.c.parent.in_(ending))).scalars())
            return self._token(c, identity)

    def of_token(self, secret: str) -> Principal | None:
        """Whose token this is; None if it is unknown, expired, revoked, or its owner locked out."""
        k, now = t.api_tokens, time.time()
        with self._db.read() as c:
            row = c.execute(sa.select(k).where(k.c.hash == digest(secret))).first()
            if row is None or row.revoked is not None or row.expires < now:
                return None
            owner = self._principal_of(c, row.owner)
        if owner is None:
            return None
        if row.used is None or row.used < now - TOUCH_S:
            with self._db.write() as c:
                c.execute(sa.update(k).where(k.c.id == row.id).values(used=now))
        return Principal(
            id=row.id,
            kind="token",
            name=row.name,
            grants=owner.grants,
            scopes=frozenset(Permission(one) for one in row.scopes),
            only=row.project,
            owner=owner.id,
        )


def no_token(identity: str) -> NotFound:
    return NotFound(f"cannot find the token {identity!r}", "`porter token ls` lists them")


def _api_token(row: sa.Row[tuple[object, ...]]) -> ApiToken:
    found = dict(row._mapping)
    found.pop("hash")
    found["scopes"] = tuple(Permission(one) for one in found["scopes"])
    return ApiToken(**found)
