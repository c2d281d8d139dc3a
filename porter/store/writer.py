"""Writes a checkpoint into a store: encrypted, in parallel, with bounded memory, resumable."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack
from blake3 import blake3

from porter.domain.errors import Conflict, Permanent
from porter.store import crypt, model
from porter.store.base import Blobs
from porter.store.journal import Journal
from porter.store.model import LayerInfo, Manifest, Part, Segment
from porter.store.parts import cut, fetch, pack, patiently

PARALLEL = 4
_TELL = 16
_TELL_AFTER = 0.3


class CheckpointWriter:
    """Writes the checkpoint `name` for the hosts whose certificates are `recipients`.

    After a crash, a writer with the same name and `journal_dir` goes on: give it the same layers
    with the same content, and what the store has already is not sent again. `.layer` may be called
    by several threads. Memory stays under 128 MiB whatever the size.

    Raises Conflict if the store has a checkpoint of this name that this journal does not know, or
    a layer's content is not what an earlier run began to send.
    """

    def __init__(
        self,
        blobs: Blobs,
        name: str,
        recipients: Sequence[crypt.Recipient],
        journal_dir: Path,
        parallel: int = PARALLEL,
    ) -> None:
        self._blobs = blobs
        self.name = model.check_name(name)
        keys = [crypt.public_key(one) for one in recipients]
        self._journal = Journal(journal_dir / f"{name}.journal")
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._known: dict[tuple[str, int], Part] = {}
        self._untold: list[Part] = []
        self._told_at = time.monotonic()
        self._told: set[str] = set()
        self._done: list[LayerInfo] = []
        self._segments = 0
        self._flying = 0
        self._layers: dict[str, LayerInfo] = {}
        try:
            self._key = self._resume() if self._journal.records else self._begin()
            for key in keys:
                where = model.wrapped_key(name, crypt.fingerprint(key))
                wrapped = crypt.wrap(self._key, name, key)
                patiently(lambda where=where, wrapped=wrapped: blobs.put(where, wrapped))  # type: ignore[misc]
        except BaseException:
            self._journal.close()
            raise
        self._room = threading.BoundedSemaphore(parallel)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="layer")

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.suspend()

    @property
    def identity(self) -> str:
        """Give it to the reader by a way that the store has no hand in: then no store can pass off
        another checkpoint for this one."""
        return crypt.identity(self._key)

    def layer(self, name: str, chunks: Iterable[bytes]) -> LayerInfo:
        """Write a layer, whose content may come in pieces of any size; returns when the store has
        all of it and readers have been told. Raises the store's errors after tries; then the
        checkpoint can be resumed."""
        if name in self._layers:
            raise Conflict(f"cannot write the layer {name}: it was written already")
        # A salt of this very call: whatever went wrong before, no nonce is used twice.
        seal, salt = crypt.PartSeal(self._key, self.name, name), crypt.new_salt()
        whole, number, size = blake3(), 0, 0
        flights: list[Future[Part]] = []
        for number, (plain, last) in enumerate(cut(chunks)):
            whole.update(plain)
            size += len(plain)
            known = self._known.get((name, number))
            if known is not None:
                self._check_same(known, plain, last)
                continue
            flights = [flight for flight in flights if not _landed(flight)]
            self._room.acquire()
            flights.append(
                self._threads.submit(self._send, seal, salt, (name, number, last), plain)
            )
            del plain
        for flight in flights:
            flight.result()
        stored = sum(self._known[name, n].stored for n in range(number + 1))
        info = LayerInfo(name, whole.hexdigest(), size, number + 1, stored)
        with self._lock:
            self._layers[name] = info
            if name not in self._told:
                self._told.add(name)
                self._done.append(info)
        self._tell()
        return info

    def close(self, meta: Mapping[str, Any] | None = None) -> Manifest:
        """Put the manifest: the checkpoint is complete. `meta` is encrypted, and msgpack can hold
        it. Layers that an earlier run began must have been written."""
        begun = {layer for layer, _ in self._known} - set(self._layers)
        if begun:
            raise Conflict(f"cannot close {self.name}: {', '.join(sorted(begun))} not written yet")
        self._tell()
        manifest = Manifest(self.name, tuple(self._layers.values()), meta or {}, self._segments)
        blob = crypt.seal(self._key, ("manifest", self.name), model.pack_manifest(manifest))
        patiently(lambda: self._blobs.put(model.manifest_key(self.name), blob))
        self._threads.shutdown()
        self._journal.close(done=True)
        return manifest

    def suspend(self) -> None:
        """Stop without closing; another writer may go on. Harmless after `close`."""
        self._threads.shutdown(cancel_futures=True)
        self._journal.close()

    def _begin(self) -> bytes:
        for prefix in (f"{model.CATALOG}{self.name}/", f"data/{self.name}/"):
            if next(iter(self._blobs.list(prefix)), None) is not None:
                raise Conflict(
                    f"cannot write {self.name}: the store has a checkpoint of this name",
                    "remove it, or choose another name",
                )
        key = crypt.new_key()
        self._journal.append(["key", key], durable=True)
        return key

    def _resume(self) -> bytes:
        """Read the journal, and believe of it only what the store confirms."""
        key, told = b"", list[Segment]()
        for kind, *rest in self._journal.records:
            if kind == "key":
                key = rest[0]
            elif kind == "part":
                part = Part(*rest)
                self._known[part.layer, part.number] = part
            elif kind == "tell":
                told.append(model.read_segment(rest[0]))
        self._journal.records.clear()
        named = {(part.layer, part.number) for one in told for part in one.parts}
        self._told = {layer.name for one in told for layer in one.layers}
        self._confirm(named)
        arrived = {blob.key for blob in self._blobs.list(f"data/{self.name}/index/")}
        for number, segment in enumerate(told):
            if model.index_key(self.name, number) not in arrived:
                # In the words of the journal: nothing is ever told in two ways.
                self._put_segment(key, number, segment)
        self._segments = len(told)
        self._untold = [part for place, part in self._known.items() if place not in named]
        return key

    def _confirm(self, named: set[tuple[str, int]]) -> None:
        """Forget parts that the store has not; it may not lack any that readers know of."""
        sizes = {blob.key: blob.size for blob in self._blobs.list(f"data/{self.name}/parts/")}
        # What was last under way is read back; of all the rest the store has confirmed checksums.
        recent = set(list(self._known)[-PARALLEL:])
        for place, part in list(self._known.items()):
            there = sizes.get(model.part_key(self.name, part.sealed)) == part.stored
            if there and (place not in recent or self._is_right(part)):
                continue
            if place in named:
                self._journal.close(done=True)
                raise Permanent(
                    f"cannot go on with {self.name}: the store lost or changed part "
                    f"{part.number} of {part.layer}",
                    "remove the checkpoint and write it anew",
                )
            del self._known[place]

    def _is_right(self, part: Part) -> bool:
        try:
            fetch(self._blobs, self.name, part)
        except Permanent:
            return False
        return True

    def _check_same(self, known: Part, plain: bytes, last: bool) -> None:
        if known.last != last or known.plain != blake3(plain).digest():
            raise Conflict(
                f"cannot go on with the layer {known.layer}: its content has changed since",
                "write it as a new checkpoint",
            )

    def _send(
        self, seal: crypt.PartSeal, salt: bytes, place: tuple[str, int, bool], plain: bytes
    ) -> Part:
        try:
            with self._lock:
                self._flying += 1
            part, blob = pack(seal, salt, place, plain)
            del plain
            patiently(lambda: self._blobs.put(model.part_key(self.name, part.sealed), blob))
            with self._lock:
                self._journal.append(["part", *part.row()])
                self._known[part.layer, part.number] = part
                self._untold.append(part)
        finally:
            with self._lock:
                self._flying -= 1
            self._room.release()
        if self._due() and self._telling.acquire(blocking=False):
            try:
                self._tell_now()
            finally:
                self._telling.release()
        return part

    def _due(self) -> bool:
        """Whether readers should hear of what there is: much, old, or nothing else to come now."""
        with self._lock:
            old = time.monotonic() - self._told_at > _TELL_AFTER
            return len(self._untold) >= _TELL or (bool(self._untold) and (old or not self._flying))

    def _tell(self) -> None:
        with self._telling:
            self._tell_now()

    def _tell_now(self) -> None:
        """Write down what is told, then tell it: after a crash it is told in the same words."""
        with self._lock:
            segment = Segment(tuple(self._untold), tuple(self._done))
            if segment == Segment(()):
                return
            self._untold, self._done = [], []
            self._journal.append(["tell", segment.row()], durable=True)
            number = self._segments
            self._segments += 1
            self._told_at = time.monotonic()
        self._put_segment(self._key, number, segment)

    def _put_segment(self, key: bytes, number: int, segment: Segment) -> None:
        text = bytes(msgpack.packb(segment.row()))
        blob = crypt.seal(key, ("index", self.name, number), text)
        patiently(lambda: self._blobs.put(model.index_key(self.name, number), blob))


def _landed(flight: Future[Part]) -> bool:
    if flight.done():
        flight.result()
        return True
    return False
