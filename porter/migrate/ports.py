"""What the engine and its steps ask of the rest of the control plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from porter.db.base import Change, Claim, CommandRecord, HostRecord, InstanceRecord, NewCommand
from porter.migrate.depots import Depots
from porter.migrate.places import Places


class Journal(Protocol):
    """The saga in SQL. Every method is one short transaction."""

    def claim(self, migration_id: str, now: float, lease: float) -> Claim | None:
        """Transaction A: lease the migration and record the intent. None: nothing to do for us."""
        ...

    def renew(self, migration_id: str, token: str, until: float) -> bool: ...

    def apply(self, claim: Claim, change: Change) -> bool | None:
        """Transaction B. None: the lease was lost, nothing is written. True: there is news."""
        ...

    def runnable(self, now: float, limit: int = 200) -> list[str]: ...


class Hosts(Protocol):
    """Commands that belong to no migration: the dry run's."""

    def send(self, commands: Sequence[NewCommand], now: float) -> None: ...

    def read(self, prefix: str) -> tuple[CommandRecord, ...]: ...

    def forget(self, prefix: str) -> None: ...


class Clock(Protocol):
    def __call__(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


class Queue(Protocol):
    def enqueue(self, migration_id: str) -> None:
        """Ask some worker to advance the migration. May be lost: the sweep asks again."""
        ...


class Ledger(Protocol):
    """The book of machines that Porter made. Every method is one short transaction."""

    def begin(
        self,
        key: str,
        host: HostRecord,
        migration: str | None,
        instance_type: str,
        quote: dict[str, Any] | None,
        now: float,
    ) -> None: ...

    def running(
        self,
        key: str,
        instance: str,
        public_address: str,
        now: float,
        launched_at: float | None = None,
    ) -> None: ...

    def drain(self, host: str, why: str, now: float) -> bool: ...

    def removing(self, key: str, token: str, reason: str, wake_at: float) -> None: ...

    def gone(self, key: str, now: float, ended_at: float | None = None) -> None: ...

    def get(self, key: str) -> InstanceRecord: ...

    def set_empty_since(self, key: str, since: float | None) -> None: ...

    def of_host(self, host: str) -> InstanceRecord | None: ...

    def of_migration(self, migration: str) -> list[InstanceRecord]: ...

    def standing(self) -> list[InstanceRecord]: ...

    def needed(self, host: str) -> str: ...

    def forget_hosts(self, now: float) -> list[str]: ...


@dataclass(frozen=True)
class Machines:
    """What steps need that make machines, or lead the outside to them."""

    places: Places
    depots: Depots
    ledger: Ledger
    invite: Callable[[str, HostRecord], str]
    """The user data with which the machine of a key joins as this host; the same every time."""
    owner: str
    """Value of the tag that says whose machines they are."""
    agents_url: str
    join_limit: float
    """Seconds that a new machine's agent may take to join."""
