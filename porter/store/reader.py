"""Reads a checkpoint out of a store, also while it is still being written."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack
from blake3 import blake3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from porter.domain.errors import Denied, Invalid, NotFound, Permanent, Transient
from porter.store import crypt, model
from porter.store.base import Blobs
from porter.store.model import PART, LayerInfo, Manifest, Part
from porter.store.parts import fetch, patiently, unpack

PARALLEL = 4
_SHORTEST, _LONGEST = 0.02, 1.0


class CheckpointReader:
    """Reads the checkpoint `name` with this host's private key (or its PEM).

    While the checkpoint is being written, calls wait for what is still to come, but no longer than
    `patience` seconds without anything new: then Transient. `identity`, from the writer, makes
    sure that it is the writer's checkpoint; without it anybody who may write to the store could
    have made one. Thread-safe.

    Raises NotFound if there is none, Denied if it was not written for this host, Permanent if the
    store gives anything else than was written.
    """

    def __init__(
        self,
        blobs: Blobs,
        name: str,
        private_key: ec.EllipticCurvePrivateKey | bytes,
        identity: str = "",
        patience: float = 120,
        parallel: int = PARALLEL,
    ) -> None:
        self._blobs = blobs
        self.name = model.check_name(name)
        self._patience = patience
        self._parallel = parallel
        self._key = load_key(blobs, name, private_key)
        if identity and crypt.identity(self._key) != identity:
            raise Denied(f"cannot read {name}: the store holds another checkpoint of this name")
        self._parts: dict[tuple[str, int], Part] = {}
        self._order: list[str] = []
        self._layers: dict[str, LayerInfo] = {}
        self._segments = 0
        self._manifest: Manifest | None = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="part")

    def __enter__(self) -> CheckpointReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the writer gave at the end; waits for it."""
        return self.manifest.meta

    @property
    def manifest(self) -> Manifest:
        """Waits until the checkpoint is closed."""
        return self._wait(lambda: self._manifest)

    def layers(self) -> tuple[LayerInfo, ...]:
        """All layers, in the order in which they were finished; waits until it is closed."""
        return self.manifest.layers

    def follow(self) -> Iterator[str]:
        """Names of layers as they appear, until the checkpoint is closed."""
        seen = 0
        while True:
            names = self._wait(lambda seen=seen: self._order[seen:] or self._manifest)
            if isinstance(names, Manifest):
                return
            yield from names
            seen += len(names)

    def read(self, layer: str) -> Iterator[bytes]:
        """The layer's content in pieces, each verified before it is given; a few are read ahead.
        At the end the digest of all of it is compared."""
        return self._read(layer, 0, 0, blake3())

    def save(self, layer: str, path: Path) -> LayerInfo:
        """Write the layer into a file and sync it. What a killed reader left there is verified and
        kept. Only a file that this returned for is whole."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "r+b") as file:
            start, whole = self._kept(layer, file)
            file.truncate()
            for plain in self._read(layer, start, file.tell(), whole):
                file.write(plain)
            file.flush()
            os.fsync(file.fileno())
        return self._layers[layer]

    def _read(self, layer: str, number: int, size: int, whole: Any) -> Iterator[bytes]:
        """From part `number` on; `size` bytes, whose hash is `whole`, are there already."""
        seal = crypt.PartSeal(self._key, self.name, layer)
        flights: deque[Future[bytes]] = deque()
        last = number > 0 and self._find(layer, number - 1).last
        try:
            while flights or not last:
                while not last and len(flights) < self._parallel:
                    if flights and not self._glance(layer, number):
                        break  # Give what there is before waiting for the index.
                    part = self._find(layer, number)
                    flights.append(self._threads.submit(self._part, seal, part))
                    number, last = number + 1, part.last
                plain = flights.popleft().result()
                whole.update(plain)
                size += len(plain)
                yield plain
                del plain
        finally:
            for flight in flights:
                flight.cancel()
        info = self._wait(lambda: self._layers.get(layer) or self._ended(layer))
        if (info.digest, info.size, info.parts) != (whole.hexdigest(), size, number):
            raise Permanent(f"cannot use {layer}: it is not what the writer read")

    def _kept(self, layer: str, file: Any) -> tuple[int, Any]:
        """How many whole parts the file begins with, and their hash; it stands behind them."""
        whole, number, end = blake3(), 0, 0
        while content := file.read(PART):
            part = self._find(layer, number)
            if part.plain != blake3(content).digest():
                break
            whole.update(content)
            number, end = number + 1, end + len(content)
            if part.last:
                break
        file.seek(end)
        return number, whole

    def _part(self, seal: crypt.PartSeal, part: Part) -> bytes:
        return unpack(seal, part, fetch(self._blobs, self.name, part))

    def _find(self, layer: str, number: int) -> Part:
        """A part of the index; waits for it."""
        place = (layer, number)
        found: Part = self._wait(lambda: self._parts.get(place) or self._ended(layer))
        return found

    def _glance(self, layer: str, number: int) -> bool:
        """Whether the index has the part by now."""
        with self._lock:
            while (layer, number) not in self._parts:
                if not self._advance():
                    return False
        return True

    def _ended(self, layer: str) -> bool:
        """Nothing more is to come once the checkpoint is closed and all of its index is read."""
        if self._manifest is not None:
            if all(info.name != layer for info in self._manifest.layers):
                raise NotFound(f"cannot find the layer {layer} in {self.name}")
            raise Permanent(f"cannot read {layer}: its index is not whole")
        return False

    def _wait(self, look: Any) -> Any:
        """What `look` finds, once it finds something."""
        pause, until = _SHORTEST, time.monotonic() + self._patience
        while not (found := look()):
            with self._lock:
                if (found := look()) or self._advance():
                    pause, until = _SHORTEST, time.monotonic() + self._patience
                    continue
            if time.monotonic() > until:
                raise Transient(
                    f"cannot read on in {self.name}: nothing new for {self._patience:.0f} s",
                    "see whether its writer is alive",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST)
        return found

    def _advance(self) -> bool:
        """Read one more piece of the index, or else the manifest. False if nothing is new."""
        if self._manifest is not None:
            return False
        try:
            key = model.index_key(self.name, self._segments)
            blob = patiently(lambda: self._blobs.get(key))
        except NotFound:
            return self._finish()
        text = crypt.unseal(self._key, ("index", self.name, self._segments), blob)
        segment = model.read_segment(msgpack.unpackb(text))
        for part in segment.parts:
            self._parts[part.layer, part.number] = part
            if part.layer not in self._order:
                self._order.append(part.layer)
        self._layers |= {layer.name: layer for layer in segment.layers}
        self._segments += 1
        return True

    def _finish(self) -> bool:
        try:
            blob = patiently(lambda: self._blobs.get(model.manifest_key(self.name)))
        except NotFound:
            return False
        text = crypt.unseal(self._key, ("manifest", self.name), blob)
        manifest = model.unpack_manifest(text)
        if manifest.segments > self._segments:
            # It came between our two questions; or the store has lost a piece of the index.
            return self._recheck(manifest)
        self._check(manifest)
        self._manifest = manifest
        return True

    def _recheck(self, manifest: Manifest) -> bool:
        try:
            patiently(lambda: self._blobs.get(model.index_key(self.name, self._segments)))
        except NotFound as error:
            raise Permanent(
                f"cannot read {self.name}: the store lost piece {self._segments} of its index"
            ) from error
        return True

    def _check(self, manifest: Manifest) -> None:
        """The manifest and the index must tell the same."""
        if {layer.name: layer for layer in manifest.layers} != self._layers:
            raise Permanent(f"cannot read {self.name}: its index is not whole")


def load_key(blobs: Blobs, name: str, private_key: ec.EllipticCurvePrivateKey | bytes) -> bytes:
    """The checkpoint's key, unwrapped. Raises NotFound, Denied, Invalid."""
    private = private_key
    if isinstance(private, bytes):
        try:
            loaded = serialization.load_pem_private_key(private, None)
        except ValueError as error:
            raise Invalid("cannot read this host's private key") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise Invalid("cannot use this host's private key: it is not on the curve P-256")
        private = loaded
    where = model.wrapped_key(name, crypt.fingerprint(private.public_key()))
    try:
        return crypt.unwrap(patiently(lambda: blobs.get(where)), name, private)
    except NotFound as error:
        raise NotFound(f"cannot read {name}: the store has none for this host") from error
