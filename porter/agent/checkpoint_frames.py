"""Frames of a checkpoint as layers of a store, one layer a tree, and back.

A layer is a row of frames: eight bytes with the lengths of header and payload, then both. Frames
of one layer may be in any order.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import msgpack

from porter.checkpoint.base import IMAGES
from porter.domain.errors import Permanent, PorterError, Transient
from porter.store.model import LayerInfo
from porter.store.writer import CheckpointWriter

ROOM = 64 << 20
"""Bytes of frames that may wait for the store; more hold the sender back."""
STALL_S = 20.0
"""A store that makes no room for so long is given up: the workload stands still meanwhile."""
_HEAD = struct.Struct(">II")
_MOST = 16 << 20
"""No frame is longer; see `porter.checkpoint.base`."""


class LayerFrames:
    """`Frames` that go into a checkpoint's layers, each written by a thread of its own."""

    def __init__(self, writer: CheckpointWriter, trees: Iterable[str], room: int = ROOM) -> None:
        self._writer = writer
        self._room = room
        self._held = 0
        self._ended = False
        self._failure: PorterError | None = None
        self._changed = threading.Condition()
        self._queues: dict[str, deque[bytes]] = {name: deque() for name in (IMAGES, *trees)}
        self.layers: list[LayerInfo] = []
        self._threads = [
            threading.Thread(target=self._write, args=(name,), name=f"layer-{name}", daemon=True)
            for name in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """See `Frames`. Raises what a layer failed with."""
        head = bytes(msgpack.packb(header))
        frame = b"".join((_HEAD.pack(len(head), len(payload)), head, payload))
        tree = str(header.get("tree", IMAGES))
        with self._changed:
            if not self._changed.wait_for(self._ready, STALL_S):
                why = f"cannot keep the checkpoint: the store took nothing for {STALL_S:.0f} s"
                self._failure = Transient(why, "see that the store is up, and fast enough")
                self._changed.notify_all()
            if self._failure is not None:
                raise self._failure
            if tree not in self._queues:
                raise Permanent(f"cannot keep a frame: {tree!r} is no tree of this workload")
            self._held += len(frame)
            self._queues[tree].append(frame)
            self._changed.notify_all()

    def _ready(self) -> bool:
        return self._failure is not None or self._held < self._room

    def cancel(self, error: PorterError) -> None:
        """Nothing more is written; the first reason stays."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def finish(self) -> None:
        """All frames were sent: return once the store has them. Raises what a layer failed with."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self.join()
        if self._failure is not None:
            raise self._failure

    def join(self) -> None:
        """Until no layer is being written; after `finish` or `cancel`."""
        for thread in self._threads:
            thread.join()

    def _write(self, name: str) -> None:
        try:
            info = self._writer.layer(name, self._pieces(name))
        except PorterError as error:
            self.cancel(error)
        except Exception as error:  # noqa: BLE001 - whoever sends or finishes raises it
            self.cancel(Permanent(f"cannot write the layer {name}: {error!r}"))
        else:
            with self._changed:
                self.layers.append(info)

    def _pieces(self, name: str) -> Iterator[bytes]:
        queue = self._queues[name]
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._failure or queue or self._ended)
                if self._failure is not None:
                    raise self._failure
                if not queue:
                    return
                frame = queue.popleft()
            yield frame
            with self._changed:
                self._held -= len(frame)
                self._changed.notify_all()


def frames_of(pieces: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The frames of a layer. Raises Permanent for what cannot be one."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        at = 0
        while (end := _end(buffer, at)) <= len(buffer) and end > at:
            yield _frame(buffer, at, end)
            at = end
        del buffer[:at]
    if buffer:
        raise Permanent("cannot read the checkpoint: a layer ends within a frame")


def _end(buffer: bytearray, at: int) -> int:
    """Where the frame at `at` ends; `at` itself while its lengths are not there yet."""
    if len(buffer) - at < _HEAD.size:
        return at
    head, payload = _HEAD.unpack_from(buffer, at)
    if head + payload > _MOST:
        raise Permanent(f"cannot read the checkpoint: a frame of {head + payload} bytes")
    return at + _HEAD.size + int(head) + int(payload)


def _frame(buffer: bytearray, at: int, end: int) -> tuple[dict[str, Any], bytes]:
    middle = at + _HEAD.size + int(_HEAD.unpack_from(buffer, at)[0])
    try:
        header = msgpack.unpackb(bytes(buffer[at + _HEAD.size : middle]))
    except (ValueError, msgpack.UnpackException) as error:
        raise Permanent("cannot read the checkpoint: a frame's header makes no sense") from error
    if not isinstance(header, dict):
        raise Permanent("cannot read the checkpoint: a frame has no header")
    return header, bytes(buffer[middle:end])
