"""Hosts as they join and are asked for, and the workload network's layout."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.base import ACTIVE, HostRecord
from porter.db.database import Database
from porter.domain.errors import Conflict, Denied, Permanent
from porter.domain.host import HostFacts
from porter.protocol import codec
from porter.protocol.joining import Network, Route

SUBNET = ipaddress.ip_network("10.77.0.0/16")
RANGES_LOCK = 0x52616E676573
"""Held while a host is given a range: two at once would be given the same one."""


class TokenUnknown(Denied):
    """The token was never issued."""


class TokenUsed(Denied):
    """Another host has joined with the token."""


class TokenExpired(Denied):
    """The token's time is over."""


@dataclass(frozen=True)
class Identity:
    """The certificate that a host holds now."""

    serial: str
    fingerprint: str
    certificate: str | None = None
    """PEM: what is encrypted for the host is encrypted for this."""


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Registry:
    """Hosts and how they join. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add_token(
        self, secret: str, now: float, ttl: float, name: str | None, site: str | None
    ) -> float:
        """Keep a one-time token's hash. Returns when it expires. The same again changes nothing."""
        with self._db.write() as c:
            c.execute(
                self._db.insert(t.join_tokens)
                .values(
                    hash=digest(secret), name=name, site=site, created=now, expires_at=now + ttl
                )
                .on_conflict_do_nothing(index_elements=["hash"])
            )
        return now + ttl

    def expect(self, name: str, site: str, now: float) -> HostRecord:
        """A host that will join later: it has an id and a range, but no certificate yet."""
        with self._db.write() as c:
            self._db.alone(c, RANGES_LOCK)
            host_id = rows.new_id("h")
            c.execute(
                sa.insert(t.hosts).values(
                    id=host_id,
                    name=name,
                    site=site,
                    range=_free_range(c),
                    serial="",
                    fingerprint="",
                    joined_at=now,
                )
            )
            return rows.get_host(c, host_id)

    def spend_token(self, secret: str, key: str, name: str, site: str, now: float) -> str:
        """Use a token up for the key with this fingerprint; returns the host's id.

        The same key may come again: its first answer may have been lost. A host that joins again
        by the same name keeps its id. Raises Denied's children.
        """
        j = t.join_tokens
        with self._db.write() as c:
            row = c.execute(
                sa.select(j).where(j.c.hash == digest(secret)).with_for_update()
            ).first()
            if row is None:
                raise TokenUnknown(
                    "cannot join: this control plane never issued the token",
                    "make one with `porter host token`",
                )
            if row.used_at is not None:
                if row.used_key != key:
                    raise TokenUsed(
                        "cannot join: the token has been used",
                        "make another with `porter host token`",
                    )
                return str(row.used_by)
            if row.expires_at <= now:
                raise TokenExpired(
                    "cannot join: the token has expired", "make another with `porter host token`"
                )
            for what, wanted, given in (("host", row.name, name), ("site", row.site, site)):
                if wanted is not None and wanted != given:
                    raise Denied(f"cannot join: the token is for the {what} {wanted!r}")
            known = c.execute(sa.select(t.hosts.c.id).where(t.hosts.c.name == name)).scalar()
            host_id = known or rows.new_id("h")
            c.execute(
                sa.update(j)
                .where(j.c.hash == row.hash)
                .values(used_at=now, used_key=key, used_by=host_id)
            )
            return host_id

    def check_token(self, secret: str, now: float) -> None:
        """Whether a host may still join with this token. Raises Denied's children."""
        j = t.join_tokens
        with self._db.read() as c:
            row = c.execute(sa.select(j).where(j.c.hash == digest(secret))).first()
        if row is None:
            raise TokenUnknown("cannot use the token: this control plane never issued it")
        if row.used_at is not None:
            raise TokenUsed("cannot use the token: it has been used")
        if row.expires_at <= now:
            raise TokenExpired("cannot use the token: it has expired")

    def enrol(
        self,
        host_id: str,
        name: str,
        site: str,
        identity: Identity,
        facts: HostFacts,
        now: float,
    ) -> HostRecord:
        """Record a host with its new certificate; a known one keeps its range."""
        values = {
            "site": site,
            "serial": identity.serial,
            "fingerprint": identity.fingerprint,
            "certificate": identity.certificate,
            "facts": codec.dump(facts),
            "last_seen": now,
        }
        h = t.hosts
        with self._db.write() as c:
            self._db.alone(c, RANGES_LOCK)
            known = c.execute(sa.update(h).where(h.c.id == host_id).values(**values))
            if known.rowcount == 0:
                if c.execute(sa.select(h.c.id).where(h.c.name == name)).first() is not None:
                    raise Conflict(f"cannot join: another host {name!r} has just joined")
                c.execute(
                    sa.insert(h).values(
                        id=host_id, name=name, range=_free_range(c), joined_at=now, **values
                    )
                )
            rows.bump_network(c)
            rows.add_event(
                c, now, "host", f"host {name} joined from site {site}", data={"host": host_id}
            )
            return rows.get_host(c, host_id)

    def holder(self, host_id: str, serial: str) -> HostRecord:
        """The host that holds this certificate. Raises Denied if it is not its newest one."""
        h = t.hosts
        with self._db.read() as c:
            row = c.execute(sa.select(h).where(h.c.id == host_id)).first()
        if row is None or row.serial != serial:
            raise Denied(
                "cannot accept this host certificate: the host was removed or has joined again",
                "join it again with a new token",
            )
        return rows.host(row)

    def seen(self, host_id: str, now: float) -> None:
        """A sign of life that is no heartbeat. Cheap: written once a second at most."""
        h = t.hosts
        stale = sa.and_(h.c.id == host_id, sa.or_(h.c.last_seen.is_(None), h.c.last_seen < now - 1))
        with self._db.read() as c:
            if c.execute(sa.select(h.c.id).where(stale)).first() is None:
                return
        with self._db.write() as c:
            c.execute(sa.update(h).where(stale).values(last_seen=now))

    def hosts(self) -> list[HostRecord]:
        with self._db.read() as c:
            return [
                rows.host(row) for row in c.execute(sa.select(t.hosts).order_by(t.hosts.c.name))
            ]

    def host(self, key: str) -> HostRecord:
        """By id or name. Raises NotFound."""
        with self._db.read() as c:
            return rows.get_host(c, key)

    def remove(self, key: str, now: float) -> None:
        """Forget a host and its certificate. Raises Conflict while it is needed."""
        m, w = t.migrations, t.workloads
        with self._db.write() as c:
            host = rows.get_host(c, key)
            here = c.execute(
                sa.select(w.c.name).where(w.c.host == host.id, w.c.state != "gone").limit(1)
            ).scalar()
            if here is not None:
                raise Conflict(
                    f"cannot remove the host {host.name}: workload {here} lives there",
                    "move or remove it first",
                )
            busy = c.execute(
                sa.select(m.c.id)
                .where(m.c.state.in_(ACTIVE), sa.or_(m.c.source == host.id, m.c.target == host.id))
                .limit(1)
            ).scalar()
            if busy is not None:
                raise Conflict(
                    f"cannot remove the host {host.name}: migration {busy} needs it",
                    "wait for it or cancel it",
                )
            c.execute(sa.update(w).where(w.c.host == host.id).values(host=None))
            c.execute(sa.delete(t.hosts).where(t.hosts.c.id == host.id))
            rows.bump_network(c)
            rows.add_event(c, now, "host", f"host {host.name} removed", data={"host": host.id})

    def network(self, host_id: str) -> Network:
        """The workload network as this host should set it up."""
        with self._db.read() as c:
            version = rows.network_version(c)
            hosts = [rows.host(row) for row in c.execute(sa.select(t.hosts))]
            w = t.workloads
            living = c.execute(
                sa.select(w.c.address, w.c.host).where(w.c.host.is_not(None), w.c.state != "gone")
            ).all()
        return layout(version, host_id, hosts, [(row.address, row.host) for row in living])


def layout(
    version: int, host_id: str, hosts: list[HostRecord], living: list[tuple[str, str]]
) -> Network:
    """Routes of one host: the others' ranges, and every workload that lives outside of its own
    range and not here."""
    via = {host.id: host.facts.underlay for host in hosts if host.facts is not None}
    ranges = {host.id: ipaddress.ip_network(host.range) for host in hosts}
    routes = [
        Route(prefix=str(ranges[host.id]), via=via[host.id])
        for host in hosts
        if host.id != host_id and host.id in via
    ]
    for address, home in living:
        if home == host_id or home not in via or not address:
            continue
        if ipaddress.ip_address(address) not in ranges[home]:
            routes.append(Route(prefix=f"{address}/32", via=via[home]))
    own = ranges.get(host_id)
    return Network(
        version=version,
        subnet=str(SUBNET),
        range="" if own is None else str(own),
        routes=tuple(sorted(routes, key=lambda route: route.prefix)),
    )


def _free_range(c: sa.Connection) -> str:
    taken = {row.range for row in c.execute(sa.select(t.hosts.c.range))}
    for candidate in list(SUBNET.subnets(new_prefix=24))[1:]:
        if str(candidate) not in taken:
            return str(candidate)
    raise Permanent(
        f"cannot join: all ranges of {SUBNET} are taken", "remove hosts that are no longer used"
    )
