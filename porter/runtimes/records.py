"""What this host knows of the twins it is making: one small durable file per migration."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from porter.domain.errors import Invalid


@dataclass
class Record:
    """One twin. `container` is empty until the engine has made it, `ready` until it is complete."""

    migration: str
    name: str
    command: list[str]
    images: str
    volumes: list[str] = field(default_factory=list)
    """Volumes made for it: removed if it is discarded."""
    container: str = ""
    ready: bool = False
    restoring: bool = False
    home: str = ""
    """Where the engine keeps the container's own files."""
    log: str = ""
    bare: bool = False
    """It has no network but `lo`."""
    trees: dict[str, str] = field(default_factory=dict)


class Records:
    """The files, in a directory of the agent's state."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _path(self, migration: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", migration):
            raise Invalid(f"cannot use {migration!r} as the id of a migration")
        return self._directory / f"{migration}.json"

    def write(self, record: Record) -> None:
        """Durable on return."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._path(record.migration)
        fresh = path.with_suffix(".new")
        with open(fresh, "w") as out:
            json.dump(asdict(record), out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(fresh, path)
        self._sync()

    def read(self, migration: str) -> Record | None:
        try:
            return Record(**json.loads(self._path(migration).read_text()))
        except FileNotFoundError:
            return None

    def remove(self, migration: str) -> None:
        self._path(migration).unlink(missing_ok=True)
        if self._directory.exists():
            self._sync()

    def all(self) -> list[Record]:
        found = [self.read(path.stem) for path in sorted(self._directory.glob("*.json"))]
        return [record for record in found if record is not None]

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
