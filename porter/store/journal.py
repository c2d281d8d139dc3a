"""What a writer must know after a crash: its key, the parts it has put, what it has told."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Any

import msgpack
from blake3 import blake3

from porter.domain.errors import Conflict, Transient

_HEAD = struct.Struct(">I16s")


class Journal:
    """Records appended to a file that only we may read; a torn last one is dropped.

    Raises Conflict if another process has it open, Transient if the disk cannot take it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(handle, "r+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise Conflict(f"cannot write {path.stem}: another writer is at it") from error
        self.records = self._read()

    def append(self, record: list[Any], durable: bool = False) -> None:
        """Add a record; with `durable`, it and all before it survive a power cut."""
        body = bytes(msgpack.packb(record))
        try:
            # One write: a killed process leaves it whole, or absent.
            self._file.write(_HEAD.pack(len(body), _sum(body)) + body)
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise Transient(f"cannot keep the journal: {error.strerror}") from error

    def close(self, done: bool = False) -> None:
        """`done`: nothing needs it any more."""
        if done:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _read(self) -> list[list[Any]]:
        found, good = [], 0
        while len(head := self._file.read(_HEAD.size)) == _HEAD.size:
            size, checksum = _HEAD.unpack(head)
            body = self._file.read(size)
            if len(body) < size or _sum(body) != checksum:
                break
            found.append(msgpack.unpackb(body))
            good += _HEAD.size + size
        self._file.truncate(good)
        self._file.seek(good)
        return found


def _sum(body: bytes) -> bytes:
    return blake3(body).digest(length=16)
