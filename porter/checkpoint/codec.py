"""Compression, hashing and the digest: what both ends of a transfer compute in the same way."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from enum import IntEnum
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


class Effort(IntEnum):
    """How hard to compress. What pays depends on who is the bottleneck, link or processor.

    Memory of two Redis servers full of JSON values (`words`: prose of invented words and random
    tokens, `records`: orders with names and prices), 2 MiB chunks, one core of a shared 2.25 GHz
    EPYC, all efforts taking turns on each chunk (`python -m benchmarks.transfer` repeats it):

    | effort   | zstd                          | words | records | MB/s per core |
    |----------|-------------------------------|-------|---------|---------------|
    | FAST     | level 1                       | 2.75  | 4.02    | 280 - 420     |
    | STRONG   | level 3 with smaller tables   | 3.12  | 4.17    | 250           |
    |          | level 3 as it is              | 3.14  | 4.11    | 245           |
    | THOROUGH | level 7                       | 3.3   | 4.3     | 50 - 80       |

    Go's zstd library by default, which Podman uses, reaches 3.09 and 4.09 in one stream over the
    same bytes. Chunks of 1 MiB cost 1.5 % more bytes, chunks of 4 MiB save 0.7 % but cost
    memory and leave a longer tail when the dump ends.
    """

    NONE = 0
    FAST = 1
    STRONG = 2
    THOROUGH = 3


_FAST_LINK = 200_000_000
_FAST_PER_CORE = 225_000_000


def effort_for(link_bytes_per_second: int | None) -> Effort:
    """The effort to begin with on such a link; unknown links count as slow.

    Up to a gigabit and a half the wire is dearer than the processor. Where even light compression
    would be slower than the link, there is none.
    """
    if link_bytes_per_second is None or link_bytes_per_second < _FAST_LINK:
        return Effort.STRONG
    if link_bytes_per_second < max(4, os.cpu_count() or 1) * _FAST_PER_CORE:
        return Effort.FAST
    return Effort.NONE


_WAITS = {Effort.NONE: 2, Effort.FAST: 2, Effort.STRONG: 8}
"""How many times longer than compression the link must take before the next effort pays."""


class Pace:
    """Compresses harder while everything waits for the link, but never less than at first.

    So a wrong or missing guess of the link's speed costs little time, and no bytes. Thread-safe.
    """

    _LOOK_S = 0.2

    def __init__(self, first: Effort) -> None:
        self.effort = first
        self._first = first
        self._packing = self._sending = 0.0
        self._lock = threading.Lock()

    def note(self, packing: float, sending: float) -> None:
        """Hear how many seconds one chunk took to compress and then to hand to the link."""
        with self._lock:
            self._packing += packing
            self._sending += sending
            if self._packing + self._sending < self._LOOK_S:
                return
            if self._sending > _WAITS.get(self.effort, math.inf) * self._packing:
                self.effort = Effort(self.effort + 1)
            elif self._packing > 2 * self._sending and self.effort > self._first:
                self.effort = Effort(self.effort - 1)
            self._packing = self._sending = 0.0


class Trial:
    """Finds out whether the light effort makes this transfer's data as small as the strong one.

    On much data that is text it does (orders in the table of `Effort`), at half the cost; on other
    data it is an eighth larger. A slice of every few chunks is compressed both ways. Thread-safe.
    """

    _EVERY = 8
    _SLICE = 256 << 10
    _AS_SMALL = 1.003

    def __init__(self) -> None:
        self._chunks = self._fast = self._strong = 0
        self._lock = threading.Lock()

    def choose(self, view: memoryview, effort: Effort) -> Effort:
        """The effort for a chunk that would be compressed with `effort`."""
        if effort is not Effort.STRONG:
            return effort
        with self._lock:
            self._chunks += 1
            tries = self._chunks % self._EVERY == 1
        if tries and len(view) >= self._SLICE:
            middle = (len(view) - self._SLICE) // 2
            piece = view[middle : middle + self._SLICE]
            fast, strong = (len(_compress(piece, one)) for one in (Effort.FAST, Effort.STRONG))
            with self._lock:
                self._fast += fast
                self._strong += strong
        with self._lock:
            as_small = 0 < self._fast <= self._AS_SMALL * self._strong
        return Effort.FAST if as_small else Effort.STRONG


_LEVELS = {Effort.FAST: 1, Effort.THOROUGH: 7}


def _compressor(effort: Effort) -> zstandard.ZstdCompressor:
    if effort in _LEVELS:
        return zstandard.ZstdCompressor(level=_LEVELS[effort])
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3,
        window_log=21,
        hash_log=17,
        chain_log=16,
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


def _compress(data: memoryview | bytes, effort: Effort) -> bytes:
    compressor = _contexts.compressors.get(effort)
    if compressor is None:
        compressor = _contexts.compressors[effort] = _compressor(effort)
    return compressor.compress(data)


def pack(buffer: bytearray, length: int, effort: Effort) -> tuple[str, bytes]:
    """Codec and payload for the first `length` bytes of `buffer`. The payload is a copy."""
    if all_zero(buffer, length):
        return ZERO, b""
    with memoryview(buffer) as whole, whole[:length] as view:
        if effort is Effort.NONE or not _compressible(view):
            return NONE, bytes(view)
        packed = _compress(view, effort)
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
