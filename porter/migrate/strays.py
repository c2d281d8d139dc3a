"""Compares what a site has with Porter's tags with what the ledger knows."""

from __future__ import annotations

from dataclasses import dataclass

from porter.db.base import InstanceRecord
from porter.domain.errors import Unsupported
from porter.migrate.ports import Machines
from porter.providers.base import HostLifecycle, Pending, Stray


@dataclass(frozen=True)
class Finding:
    """One thing at a site. `verdict`: `known`, `leaving`, `stray` (nobody knows it) or `lost`
    (the ledger knows it, the site does not)."""

    kind: str
    id: str
    key: str
    verdict: str
    explanation: str


def find(machines: Machines, site: str) -> list[Finding]:
    """Everything with our tags at a site, and what is missing there. Raises Unsupported."""
    hosts = _hosts(machines, site)
    books = {row.key: row for row in machines.ledger.standing() if row.site == site}
    there = hosts.strays(machines.owner)
    found = [_judge(thing, books.get(thing.key)) for thing in there]
    seen = {thing.key for thing in there}
    for row in books.values():
        if row.key not in seen and row.state == "running":
            why = f"{row.instance_type} {row.host_name} was removed by somebody else"
            found.append(Finding("instance", row.instance, row.key, "lost", why))
    return found


def remove(machines: Machines, site: str, findings: list[Finding], now: float) -> list[Finding]:
    """Remove strays and write off what is lost. Returns what is still on its way out; call again.

    Only what carries our own owner tag was found, so nobody else's is ever touched.
    """
    hosts = _hosts(machines, site)
    left = []
    for finding in findings:
        if finding.verdict == "lost":
            machines.ledger.gone(finding.key, now)
    for key in {one.key for one in findings if one.verdict == "stray" and one.key}:
        pending: Pending | None = hosts.terminate(key)
        if pending is not None:
            left += [one for one in findings if one.key == key]
    return left


def _hosts(machines: Machines, site: str) -> HostLifecycle:
    hosts = machines.places.open(site).hosts
    if hosts is None:
        raise Unsupported(f"cannot sweep {site}: Porter makes no machines there")
    return hosts


def _judge(thing: Stray, row: InstanceRecord | None) -> Finding:
    if row is None:
        why = f"{thing.explanation}; it carries Porter's tags, but Porter does not know it"
        return Finding(thing.kind, thing.id, thing.key, "stray", why)
    if row.state == "draining":
        why = f"of {row.host_name}, which is being removed: {row.reason}"
        return Finding(thing.kind, thing.id, thing.key, "leaving", why)
    return Finding(thing.kind, thing.id, thing.key, "known", f"of host {row.host_name}")
