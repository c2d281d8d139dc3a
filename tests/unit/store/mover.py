"""Writes or reads a checkpoint in a process of its own, to be killed and measured.

    python -m tests.unit.store.mover write|read SIZE FOLDER [STOP] <CONFIG.json

The folder has `host.pem` and `host.crt`. The line of output is JSON: transfers of parts, bytes of
memory it grew by, the layer's digest. With STOP the line is empty: it is written after so many
bytes, and then one thread waits to be killed while the others go on.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from porter.store.base import Blob, Blobs, StoreConfig
from porter.store.model import PART, LayerInfo
from porter.store.reader import CheckpointReader
from porter.store.registry import open_blobs
from porter.store.writer import CheckpointWriter
from tests.unit.store.hosts import content

LAYER = "memory"


class Counted:
    """The store, with transfers of parts counted."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs, self.parts, self._lock = blobs, 0, threading.Lock()
        self.stop = sys.maxsize

    def put(self, key: str, data: bytes) -> None:
        self._blobs.put(key, data)
        self._count(key)

    def get(self, key: str) -> bytes:
        data = self._blobs.get(key)
        self._count(key)
        if self.parts * PART >= self.stop:
            wait_for_death()
        return data

    def list(self, prefix: str) -> Iterator[Blob]:
        return self._blobs.list(prefix)

    def remove(self, key: str) -> None:
        self._blobs.remove(key)

    def _count(self, key: str) -> None:
        with self._lock:
            self.parts += "/parts/" in key


def status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def wait_for_death() -> None:
    print(flush=True)
    threading.Event().wait()


def stopped(chunks: Iterator[bytes], stop: int) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        if done >= stop:
            wait_for_death()
        yield chunk
        done += len(chunk)


def write(blobs: Blobs, size: int, folder: Path, stop: int) -> LayerInfo:
    certificate = (folder / "host.crt").read_text()
    with CheckpointWriter(blobs, "big", [certificate], folder / "journal") as writer:
        info = writer.layer(LAYER, stopped(content(size), stop))
        writer.close()
        return info


def read(blobs: Blobs, folder: Path) -> LayerInfo:
    with CheckpointReader(blobs, "big", (folder / "host.pem").read_bytes()) as reader:
        return reader.save(LAYER, folder / "saved")


def main() -> None:
    action, size, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    stop = int(sys.argv[4]) if len(sys.argv) > 4 else sys.maxsize
    blobs = Counted(open_blobs(StoreConfig(**json.load(sys.stdin))))
    list(blobs.list("warm-up"))  # The SDK and its connection are there before we measure.
    next(content(1))
    Path("/proc/self/clear_refs").write_text("5")  # The peak begins here.
    before = status("VmRSS")
    if action == "write":
        info = write(blobs, size, folder, stop)
    else:
        blobs.stop = stop
        info = read(blobs, folder)
    grown = status("VmHWM") - before
    print(json.dumps({"parts": blobs.parts, "grown": grown, "digest": info.digest}), flush=True)


if __name__ == "__main__":
    main()
