"""The handover records of this host, changed only through the rules of domain.handover."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from porter.agent.journal import Journal, Record
from porter.domain.errors import Conflict, NotFound
from porter.domain.handover import (
    Source,
    SourceEvent,
    Target,
    TargetEvent,
    source_event,
    source_hears,
    target_event,
    target_hears,
)

SOURCE, TARGET = "source", "target"


class Ledger:
    """Reads and changes records one at a time; a change is durable when the call returns."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.RLock()

    def find(self, migration: str) -> Record | None:
        return self._journal.get(migration)

    def get(self, migration: str) -> Record:
        """Raises NotFound if this host has no part in the migration."""
        record = self.find(migration)
        if record is None:
            raise NotFound(f"cannot find migration {migration}: this host has no record of it")
        return record

    def open(self) -> list[Record]:
        """Records not settled yet, oldest first."""
        return self._journal.unsettled()

    def create(self, record: Record) -> Record:
        """Write a new record; the one that exists if the migration is known already."""
        with self._lock:
            existing = self.find(record.migration)
            if existing is not None:
                if existing.role != record.role:
                    raise Conflict(
                        f"cannot take part in migration {record.migration} as {record.role}: "
                        f"this host is its {existing.role}"
                    )
                return existing
            self._journal.put(record)
            return record

    def update(self, migration: str, **changes: Any) -> Record:
        """Change anything but the state."""
        with self._lock:
            record = replace(self.get(migration), **changes)
            self._journal.put(record)
            return record

    def source(self, migration: str, event: SourceEvent, **changes: Any) -> Record:
        """Something happened to a source; `changes` are written with a new state only."""
        with self._lock:
            record = self.get(migration)
            return self._move(record, source_event(Source(record.state), event), changes)

    def source_hears(self, migration: str, peer: Target, **changes: Any) -> Record:
        with self._lock:
            record = self.get(migration)
            return self._move(record, source_hears(Source(record.state), peer), changes)

    def target(self, migration: str, event: TargetEvent, **changes: Any) -> Record:
        """Something happened to a target; `changes` are written with a new state only."""
        with self._lock:
            record = self.get(migration)
            return self._move(record, target_event(Target(record.state), event), changes)

    def target_hears(self, migration: str, peer: Source, **changes: Any) -> Record:
        with self._lock:
            record = self.get(migration)
            return self._move(record, target_hears(Target(record.state), peer), changes)

    def _move(self, record: Record, state: Source | Target, changes: dict[str, Any]) -> Record:
        if state == record.state:
            return record
        moved = replace(record, state=str(state), **changes)
        self._journal.put(moved)
        return moved
