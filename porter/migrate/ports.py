"""What the engine and its steps ask of the rest of the control plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from porter.db.base import Change, Claim, CommandRecord, NewCommand


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
