"""Compression, hashing and the digest: what both ends of a transfer compute in the same way."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

import msgpack
import zstandard
from blake3 import blake3

from porter.checkpoint.beneath import all_zero
from porter.domain.errors import Permanent

CHUNK = 2 << 20
"""Raw bytes in a full chunk."""
MAX_RAW = 8 << 20
"""A receiver refuses frames that would unpack to more than this."""

NONE = "none"
ZSTD = "zstd"
ZERO = "zero"

_SAMPLE = 16 << 10
_HARDLY = 0.97
"""A sample that compresses to more than this part of itself is sent as it is."""


class Effort(Enum):
    """How hard to compress, by who is the bottleneck."""

    NONE = "none"
    FAST = "fast"
    STRONG = "strong"

    def harder(self) -> Effort:
        """The next stronger effort, or the same if there is none."""
        return {Effort.NONE: Effort.FAST, Effort.FAST: Effort.STRONG}.get(self, self)


_FAST_LINK = 200_000_000
_FASTER_THAN_ZSTD = 900_000_000


def effort_for(link_bytes_per_second: int | None) -> Effort:
    """The effort that gives the shortest transfer on such a link; unknown links count as slow."""
    if link_bytes_per_second is None or link_bytes_per_second < _FAST_LINK:
        return Effort.STRONG
    per_core = _FASTER_THAN_ZSTD // 4 * (os.cpu_count() or 1)
    if link_bytes_per_second < max(_FASTER_THAN_ZSTD, per_core):
        return Effort.FAST
    return Effort.NONE


def _compressor(effort: Effort) -> zstandard.ZstdCompressor:
    if effort is Effort.FAST:
        return zstandard.ZstdCompressor(level=1)
    # Level 3's method with tables that fit a core's cache: the benchmark shows it smaller and
    # faster than level 3 on the memory of real programs.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3,
        window_log=21,
        hash_log=17,
        chain_log=17,
        min_match=6,
        strategy=zstandard.STRATEGY_DFAST,
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


class _Contexts(threading.local):
    """zstd contexts cost about a megabyte and may not be shared by threads."""

    def __init__(self) -> None:
        self.compressors: dict[Effort, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


_contexts = _Contexts()


def pack(buffer: bytearray, length: int, effort: Effort) -> tuple[str, bytes]:
    """Codec and payload for the first `length` bytes of `buffer`. The payload is a copy."""
    if all_zero(buffer, length):
        return ZERO, b""
    with memoryview(buffer) as whole, whole[:length] as view:
        if effort is Effort.NONE or not _compressible(view):
            return NONE, bytes(view)
        compressor = _contexts.compressors.get(effort)
        if compressor is None:
            compressor = _contexts.compressors[effort] = _compressor(effort)
        packed = compressor.compress(view)
        return (ZSTD, packed) if len(packed) < length else (NONE, bytes(view))


def _compressible(view: memoryview) -> bool:
    """Judge by three samples; encrypted and compressed data is not worth the processor's time."""
    if len(view) < 8 * _SAMPLE:
        return True
    sampler = _contexts.compressors.get(Effort.FAST)
    if sampler is None:
        sampler = _contexts.compressors[Effort.FAST] = _compressor(Effort.FAST)
    step = (len(view) - _SAMPLE) // 2
    samples = b"".join(view[at : at + _SAMPLE] for at in (0, step, 2 * step))
    return len(sampler.compress(samples)) < _HARDLY * len(samples)


def unpack(
    codec: str, payload: bytes | memoryview, raw: int, expected: bytes
) -> bytes | memoryview:
    """The `raw` bytes of a frame, verified against the blake3 hash `expected`.

    Raises Permanent for anything but exactly these bytes. Allocates no more than MAX_RAW whatever
    the payload claims. For codec `zero` the answer is empty: the range is a hole.
    """
    if not 0 <= raw <= MAX_RAW:
        raise Permanent(f"cannot accept a frame: {raw} bytes is outside 0 to {MAX_RAW}")
    if codec == ZERO:
        if len(payload) or _hash_of_zeros(raw) != expected:
            raise Permanent("cannot accept a frame: its hash is not that of zeros")
        return b""
    data = payload if codec == NONE else _decompress(codec, payload, raw)
    if len(data) != raw:
        raise Permanent(f"cannot accept a frame: {len(data)} bytes came instead of {raw}")
    if hash_of(data) != expected:
        raise Permanent("cannot accept a frame: its hash differs from its bytes; move it again")
    return data


def _decompress(codec: str, payload: bytes | memoryview, raw: int) -> bytes:
    if codec != ZSTD:
        raise Permanent(f"cannot accept a frame: codec {codec!r} is unknown; update this agent")
    try:
        # The library believes the size in the frame, so look before it allocates.
        if zstandard.get_frame_parameters(payload).content_size != raw:
            raise Permanent("cannot accept a frame: its compressed size is not the announced one")
        return _contexts.decompressor.decompress(payload, max_output_size=raw)
    except zstandard.ZstdError as error:
        raise Permanent(f"cannot accept a frame: {error}") from error


def hash_of(data: bytes | memoryview) -> bytes:
    """The 32 bytes of blake3. Lets other threads run while it computes."""
    return blake3(data).digest()


@lru_cache(maxsize=64)
def _hash_of_zeros(length: int) -> bytes:
    return blake3(bytes(length)).digest()


class Digest:
    """The digest of a whole transfer, in whatever order its frames were sent or came.

    Thread-safe. A frame added twice counts once.
    """

    _FIELDS = ("t", "tree", "path", "offset", "head", "raw", "hash")

    def __init__(self) -> None:
        self._entries: set[bytes] = set()

    def add(self, header: Mapping[str, Any]) -> None:
        """Count the frame with this header; how it was compressed does not matter."""
        self._entries.add(self._entry(header))  # set.add is atomic

    def seen(self, header: Mapping[str, Any]) -> bool:
        """Whether a frame with the same header was counted already."""
        return self._entry(header) in self._entries

    def _entry(self, header: Mapping[str, Any]) -> bytes:
        return blake3(msgpack.packb([header.get(name) for name in self._FIELDS])).digest()

    def __len__(self) -> int:
        return len(self._entries)

    def hex(self) -> str:
        """Hex blake3 over the sorted hashes of all frames."""
        return blake3(b"".join(sorted(self._entries))).hexdigest()
