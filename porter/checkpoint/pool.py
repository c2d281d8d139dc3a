"""The threads of a sender: read a chunk, hash it, compress it, hand it to the link.

Whoever finds things to send queues jobs here and is held back when the threads are busy, and they
are held back by the link; so memory stays bounded whatever is slow.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack

from porter.checkpoint.base import IMAGES, Frames, Manifest
from porter.checkpoint.beneath import discard
from porter.checkpoint.codec import CHUNK, Digest, Effort, Pace, Trial, hash_of, pack
from porter.checkpoint.trees import Extent, Node, pack_nodes
from porter.domain.errors import Transient


class Stopped(Exception):
    """The pool has failed: its producers need not go on."""


class Task:
    """A thread that keeps its error for whoever joins it."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._work = work
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised again by who joins
            self.error = error

    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> None:
        self._thread.join()


class Source:
    """An open file shared by chunks in flight; closed with the last of them.

    With `consume` the file gives back the space of every chunk that has been read.
    """

    def __init__(self, fd: int, consume: bool = False) -> None:
        self.fd = fd
        self.consume = consume
        self._users = 1
        self._lock = threading.Lock()

    def acquire(self) -> None:
        with self._lock:
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                os.close(self.fd)


class Pool:
    """Sends what is queued. After an error everything queued is dropped and `error` says why."""

    def __init__(
        self, frames: Frames, progress: Callable[[int], None], effort: Effort, threads: int
    ) -> None:
        self.error: BaseException | None = None
        self._frames = frames
        self._progress = progress
        self._pace = Pace(effort)
        self._trial = Trial()
        self._digest = Digest()
        self._lock = threading.Lock()
        self._raw = {True: 0, False: 0}
        self._wire = 0
        self._jobs: queue.Queue[Callable[[bytearray], None] | None] = queue.Queue(2 * threads)
        self._workers = [Task(f"porter-send-{n}", self._work) for n in range(threads)]

    def chunk(self, source: Source, tree: str, path: bytes, extent: Extent) -> None:
        """Queue one chunk of an open file; blocks while the pool is busy."""
        source.acquire()

        def job(buffer: bytearray) -> None:
            read_exactly(source.fd, buffer, extent, path)
            if source.consume:
                discard(source.fd, extent.offset, extent.length)
            header = {"t": "chunk", "tree": tree, "path": path, "offset": extent.offset}
            self._ship(header, buffer, extent.length)

        self._put(job, source.release)

    def nodes(self, tree: str, nodes: list[Node], contents: bytearray) -> None:
        """Queue a batch of nodes with the contents of the inline files among them."""
        head = pack_nodes(nodes)

        def job(_: bytearray) -> None:
            whole = bytearray(head) + contents
            self._ship({"t": "nodes", "tree": tree, "head": len(head)}, whole, len(whole))

        self._put(job, None)

    def fail(self, error: BaseException) -> None:
        """Stop: nothing more is sent. The first error stays."""
        with self._lock:
            self.error = self.error or error

    def close(self) -> None:
        """Wait until all queued work is done, or dropped after a failure."""
        for _ in self._workers:
            self._jobs.put(None)
        for worker in self._workers:
            worker.join()

    def manifest(self) -> Manifest:
        return Manifest(
            digest=self._digest.hex(),
            chunks=len(self._digest),
            memory_bytes=self._raw[True],
            file_bytes=self._raw[False],
            wire_bytes=self._wire,
        )

    def _put(self, job: Callable[[bytearray], None], done: Callable[[], None] | None) -> None:
        def run(buffer: bytearray) -> None:
            try:
                if self.error is None:
                    job(buffer)
            finally:
                if done is not None:
                    done()

        self._jobs.put(run)
        if self.error is not None:
            raise Stopped

    def _work(self) -> None:
        buffer = bytearray(CHUNK)
        while (job := self._jobs.get()) is not None:
            try:
                job(buffer)
            except BaseException as error:  # noqa: BLE001 - `send` raises it
                self.fail(error)

    def _ship(self, header: dict[str, Any], buffer: bytearray, length: int) -> None:
        started = time.monotonic()
        with memoryview(buffer) as whole, whole[:length] as view:
            header |= {"raw": length, "hash": hash_of(view)}
            effort = self._trial.choose(view, self._pace.effort)
        header["codec"], payload = pack(buffer, length, effort)
        packed = time.monotonic()
        self._frames.send(header, payload)
        self._pace.note(packed - started, time.monotonic() - packed)
        self._digest.add(header)
        wire = len(payload) + len(msgpack.packb(header))
        with self._lock:
            self._raw[header["tree"] == IMAGES] += length
            self._wire += wire
            self._progress(self._raw[True] + self._raw[False])


def read_exactly(fd: int, buffer: bytearray, extent: Extent, path: bytes) -> None:
    """Fill the start of `buffer` from a file. Raises Transient if the file is shorter by now."""
    done = 0
    with memoryview(buffer) as view:
        while done < extent.length:
            count = os.preadv(fd, [view[done : extent.length]], extent.offset + done)
            if count == 0:
                raise Transient(
                    f"cannot send {os.fsdecode(path)!r}: it shrank while it was read",
                    "stop whatever else writes to the workload's volumes",
                )
            done += count
