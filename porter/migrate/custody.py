"""Who may do what with a kept checkpoint: read it, write it, restore it."""

from __future__ import annotations

from collections.abc import Iterable

from porter.db.base import CheckpointRecord, CheckpointState, HostRecord, WorkloadRecord
from porter.domain.errors import Conflict
from porter.store.model import CATALOG

LIST = "LIST"
"""As a method of `may`: to list what begins so."""


def can_read(record: CheckpointRecord, host: HostRecord) -> bool:
    """Whether it is encrypted for the certificate that the host has now."""
    return any(one["id"] == host.id and one["serial"] == host.serial for one in record.recipients)


def may(record: CheckpointRecord, host: HostRecord, method: str, key: str) -> bool:
    """Whether a host may do this to a blob now: who makes it writes it, who restores it reads it,
    and who can read it may wrap its key for the one that restores it."""
    keys = f"{CATALOG}{record.id}/keys/"
    if not key.startswith((f"{CATALOG}{record.id}/", f"data/{record.id}/")):
        return False
    if record.state is CheckpointState.CREATING:
        return host.id == record.host and method in ("GET", "PUT", LIST)
    if record.state is not CheckpointState.RESTORING:
        return False
    if host.id == record.task["target"] and method == "GET":
        return True
    return can_read(record, host) and method in ("GET", "PUT") and key.startswith(keys)


def helper_for(record: CheckpointRecord, hosts: Iterable[HostRecord], now: float) -> HostRecord:
    """A host alive that can read it. Raises Conflict if there is none."""
    for host in hosts:
        if can_read(record, host) and host.alive(now):
            return host
    names = ", ".join(one["name"] for one in record.recipients)
    raise Conflict(
        f"cannot restore {record.id} there: it is not encrypted for that host, and none of "
        f"{names} is alive to change that",
        "start one of them, or restore it on one of them",
    )


def no_certificate(host: HostRecord) -> Conflict:
    return Conflict(
        f"cannot encrypt for the host {host.name}: its certificate is not known here",
        "join it again: `porter host token` makes a token",
    )


def in_the_way(workload: str, host: str, state: str) -> Conflict:
    return Conflict(
        f"cannot restore {workload}: it is {state} on {host}",
        f"a workload runs once: remove it there first, with its volumes (podman rm -f {workload})",
    )


def check_home(home: WorkloadRecord | None, last: HostRecord | None, now: float) -> None:
    """Raise Conflict unless nobody has the workload, and who had it last can say so."""
    if home is None:
        return
    if last is not None and not last.alive(now):
        raise Conflict(
            f"cannot restore {home.name}: {last.name} had it last and does not answer; it may "
            "still run there",
            f"bring {last.name} back; if it is gone for good: porter host rm {last.name}",
        )
    if home.state != "gone" and last is not None:
        raise in_the_way(home.name, last.name, home.state)
