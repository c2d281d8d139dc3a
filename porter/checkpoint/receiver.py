"""The target's half: verify every frame, put it in its place, account for all at the end."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from porter.checkpoint.base import IMAGES, Manifest
from porter.checkpoint.beneath import explained
from porter.checkpoint.codec import ZERO, Digest, unpack
from porter.checkpoint.gate import GATE
from porter.checkpoint.memory import Reserve, provide
from porter.checkpoint.rebuild import TreeWriter
from porter.checkpoint.trees import checked_path, unpack_nodes
from porter.domain.container import Tree
from porter.domain.errors import Permanent, Transient

_MAX_OFFSET = 1 << 60
_FIRST_PAGES = "pages-1.img"
"""Where CRIU puts the first task's memory, most of it as a rule; `finish` cuts it to size."""


_in_place: weakref.WeakValueDictionary[str, StateReceiver] = weakref.WeakValueDictionary()
"""The receiver that writes into each directory of images; only one may."""


class StateReceiver:
    """Takes in one checkpoint. `frame` is thread-safe; each call holds at most 8 MiB unpacked.

    `images` and the trees' directories must exist; making a receiver empties them (but for the
    gate in `images`), so that nothing of an earlier attempt mixes with this one. An earlier
    receiver of this process for the same directory is closed first. `memory` is about how many
    bytes of page images will come, and so how many the restored tasks will need: room is made now.
    """

    def __init__(self, images: Path, trees: tuple[Tree, ...], memory: int = 0) -> None:
        self._digest = Digest()
        self._reserve: Reserve | None = None
        self._failed = ""
        self._writers: dict[str, TreeWriter] = {}
        self._idle = threading.Condition()
        self._active = 0
        self._closed = False
        place = os.path.realpath(images)
        if (earlier := _in_place.get(place)) is not None:
            earlier.close()
        _in_place[place] = self
        try:
            for tree in trees:
                with explained(f"make {tree.path} ready"):
                    self._writers[tree.name] = TreeWriter(tree.path)
            with explained(f"make {images} ready"):
                self._writers[IMAGES] = TreeWriter(images, keep=frozenset([os.fsencode(GATE)]))
                if memory > 0:
                    provide(images / _FIRST_PAGES, memory)
                    self._reserve = Reserve(images.parent, memory)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take no more frames; return once none is being written. Harmless to repeat."""
        with self._idle:
            self._closed = True
            self._idle.wait_for(lambda: self._active == 0)
            while self._writers:
                self._writers.popitem()[1].close()
            self._release()

    def _release(self) -> None:
        if self._reserve is not None:
            self._reserve.release()

    def frame(self, header: dict[str, Any], payload: bytes | memoryview) -> None:
        """See `base.Receiver`. After an error the transfer is spoilt and `finish` refuses."""
        with self._idle:
            if self._closed:
                raise Transient("cannot take in a frame: its transfer is over")
            self._active += 1
        try:
            if not self._digest.seen(header):
                with explained("write a frame"):
                    self._take(header, payload)
                self._digest.add(header)
        except BaseException as error:
            self._failed = self._failed or str(error)
            raise
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def _take(self, header: Mapping[str, Any], payload: bytes | memoryview) -> None:
        kind, name = header.get("t"), header.get("tree")
        writer = self._writers.get(name) if isinstance(name, str) else None
        if writer is None:
            raise Permanent(f"cannot accept a frame: tree {name!r} is not part of this workload")
        raw, codec = _number(header, "raw"), header.get("codec")
        expected = header.get("hash")
        if not isinstance(codec, str) or not isinstance(expected, bytes):
            raise Permanent("cannot accept a frame: it lacks a codec or a hash")
        data = unpack(codec, payload, raw, expected)
        if kind == "chunk":
            path, offset = checked_path(header.get("path")), _number(header, "offset")
            if codec != ZERO:
                writer.write(path, offset, data)
        elif kind == "nodes":
            head = _number(header, "head")
            if codec == ZERO or head > raw:
                raise Permanent("cannot accept a frame: its nodes are cut off")
            view = memoryview(data)
            writer.add(unpack_nodes(view[:head], raw - head), view[head:])
        else:
            raise Permanent(f"cannot accept a frame: kind {kind!r} is unknown; update this agent")

    def finish(self, manifest: Manifest) -> str:
        """See `base.Receiver`. Idempotence is not offered: the receiver is spent afterwards."""
        if self._failed:
            raise Permanent(f"cannot finish: a frame was refused ({self._failed})")
        if len(self._digest) != manifest.chunks:
            raise Permanent(
                f"cannot finish: {len(self._digest)} frames came of {manifest.chunks}",
                "move it again",
            )
        digest = self._digest.hex()
        if digest != manifest.digest:
            raise Permanent(
                f"cannot finish: the digest is {digest}, the source's is {manifest.digest}",
                "move it again",
            )
        try:
            for name, writer in self._writers.items():
                with explained(f"finish {name}"):
                    writer.finish()
            self._sync()
        finally:
            self.close()
        return digest

    def _sync(self) -> None:
        """Each filesystem once. CRIU's images need not survive a power cut: the tasks do not."""
        synced: set[int] = set()
        for name, writer in self._writers.items():
            if name != IMAGES and writer.device not in synced:
                synced.add(writer.device)
                with explained(f"sync {name}"):
                    writer.sync()


def _number(header: Mapping[str, Any], name: str) -> int:
    value = header.get(name)
    if type(value) is not int or not 0 <= value <= _MAX_OFFSET:
        raise Permanent(f"cannot accept a frame: {name} is {value!r}")
    return value
