"""A store that exists in memory only, for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from porter.domain.errors import NotFound
from porter.store.base import Blob, check_key


class MemoryBlobs:
    """`Blobs` in a dictionary of this process."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self.blobs[check_key(key)] = bytes(data)

    def get(self, key: str) -> bytes:
        try:
            return self.blobs[check_key(key)]
        except KeyError as error:
            raise NotFound(f"cannot get {key}: it is not there") from error

    def list(self, prefix: str) -> Iterator[Blob]:
        with self._lock:
            found = sorted((k, len(v)) for k, v in self.blobs.items() if k.startswith(prefix))
        return iter([Blob(key, size) for key, size in found])

    def remove(self, key: str) -> None:
        with self._lock:
            self.blobs.pop(check_key(key), None)
