"""What a checkpoint in a store consists of, and where each piece lies.

catalog/NAME/keys/FINGERPRINT   the checkpoint's key, wrapped for one host
catalog/NAME/manifest           closes the checkpoint
catalog/NAME/removing           it is being removed
data/NAME/index/N               which parts there are, in the order in which they arrived
data/NAME/parts/BLAKE3          a part, under the hash of its sealed bytes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

from porter.domain.errors import Invalid, Permanent
from porter.store.base import check_key

PART = 4 << 20
"""Plain bytes of a part; only the last of a layer is shorter. More would save no time at any store
measured, and each transfer under way holds several copies of one."""
VERSION = 1
CATALOG = "catalog/"


@dataclass(frozen=True)
class Part:
    """One part of a layer, as the index tells it. Hashes are blake3."""

    layer: str
    number: int
    last: bool
    sealed: bytes
    """Hash of the bytes in the store: the part's name there."""
    plain: bytes
    """Hash of the content."""
    size: int
    """Bytes of content."""
    stored: int
    """Bytes in the store."""

    def row(self) -> list[Any]:
        return [
            self.layer,
            self.number,
            self.last,
            self.sealed,
            self.plain,
            self.size,
            self.stored,
        ]


@dataclass(frozen=True)
class LayerInfo:
    """A whole layer. `digest`, blake3 of its content in hexadecimal, is its identity."""

    name: str
    digest: str
    size: int
    parts: int
    stored: int
    """Bytes in the store, compressed and sealed."""

    def row(self) -> list[Any]:
        return [self.name, self.digest, self.size, self.parts, self.stored]


@dataclass(frozen=True)
class Manifest:
    """What closes a checkpoint."""

    name: str
    layers: tuple[LayerInfo, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    segments: int = 0
    """How many pieces the index has."""

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)

    @property
    def stored(self) -> int:
        return sum(layer.stored for layer in self.layers)


def check_name(name: str) -> str:
    """The name itself, one segment of a key. Raises Invalid."""
    if "/" in name or len(name) > 200:
        raise Invalid(f"cannot call a checkpoint {name[:80]!r}", "use no slash, 200 characters")
    return check_key(name)


def manifest_key(name: str) -> str:
    return f"{CATALOG}{name}/manifest"


def wrapped_key(name: str, fingerprint: str) -> str:
    return f"{CATALOG}{name}/keys/{fingerprint}"


def index_key(name: str, number: int) -> str:
    return f"data/{name}/index/{number:08}"


def part_key(name: str, sealed: bytes) -> str:
    return f"data/{name}/parts/{sealed.hex()}"


@dataclass(frozen=True)
class Segment:
    """A piece of the index: what the store has since the piece before."""

    parts: tuple[Part, ...]
    layers: tuple[LayerInfo, ...] = ()
    """Layers that are complete now."""

    def row(self) -> list[Any]:
        return [[part.row() for part in self.parts], [layer.row() for layer in self.layers]]


def read_segment(row: Any) -> Segment:
    """Raises Permanent if it is none."""
    try:
        parts, layers = row
        return Segment(tuple(Part(*one) for one in parts), tuple(LayerInfo(*one) for one in layers))
    except (ValueError, TypeError) as error:
        raise Permanent("cannot read the checkpoint: its index makes no sense") from error


def pack_manifest(manifest: Manifest) -> bytes:
    layers = [layer.row() for layer in manifest.layers]
    return bytes(
        msgpack.packb([VERSION, manifest.name, layers, dict(manifest.meta), manifest.segments])
    )


def unpack_manifest(data: bytes) -> Manifest:
    """Raises Permanent if it is none, or one of a later version."""
    try:
        version, *rest = msgpack.unpackb(data)
        if version != VERSION:
            raise Permanent(
                f"cannot read the checkpoint: it is of version {version}", "upgrade this host"
            )
        name, layers, meta, segments = rest
        return Manifest(name, tuple(LayerInfo(*row) for row in layers), meta, segments)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Permanent("cannot read the checkpoint: its manifest makes no sense") from error
