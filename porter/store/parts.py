"""A layer cut into parts, and each part packed for the store: compressed, then sealed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import zstandard
from blake3 import blake3

from porter.domain.errors import NotFound, Permanent, Transient
from porter.store.base import Blobs
from porter.store.crypt import OVERHEAD, PartSeal
from porter.store.model import PART, Part, part_key

_RAW, _ZSTD = b"\0", b"\1"
_LEVEL = 1
_TRIES = 6
_local = threading.local()
T = TypeVar("T")


def cut(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Parts of exactly PART bytes, the last one shorter or equal; and whether it is the last. An
    empty layer has one empty part."""
    buffer = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            if len(buffer) == PART:
                # More follows, so this was not the last.
                yield bytes(buffer), False
                buffer = bytearray()
            taken = PART - len(buffer)
            buffer += view[:taken]
            view = view[taken:]
    yield bytes(buffer), True


def pack(
    seal: PartSeal, salt: bytes, place: tuple[str, int, bool], plain: bytes
) -> tuple[Part, bytes]:
    """The part and its bytes for the store. `place`: layer, number, whether it is the last."""
    _, number, last = place
    squeezed = _codecs()[0].compress(plain)
    text = _ZSTD + squeezed if len(squeezed) < len(plain) else _RAW + plain
    del squeezed
    blob = seal.seal(salt, number, last, text)
    digest = blake3(blob).digest()
    return Part(*place, digest, blake3(plain).digest(), len(plain), len(blob)), blob


def unpack(seal: PartSeal, part: Part, blob: bytes) -> bytes:
    """The content, checked in every way. Raises Permanent."""
    text = memoryview(seal.open(part.number, part.last, blob))
    if text[:1] != _ZSTD:
        plain = bytes(text[1:])
    else:
        try:
            plain = _codecs()[1].decompress(text[1:], max_output_size=PART)
        except zstandard.ZstdError as error:
            raise Permanent(f"cannot unpack part {part.number} of {part.layer}") from error
    if len(plain) != part.size or blake3(plain).digest() != part.plain:
        raise Permanent(f"cannot use part {part.number} of {part.layer}: its content is another")
    return plain


def fetch(blobs: Blobs, checkpoint: str, part: Part) -> bytes:
    """A part's bytes from the store. Other bytes are asked for again, as they may have been hurt on
    the way. Raises Permanent if the store lost or changed it."""
    if not 0 <= part.size <= PART or part.stored > PART + OVERHEAD + 1:
        raise Permanent(f"cannot read part {part.number} of {part.layer}: it is too large")
    key = part_key(checkpoint, part.sealed)
    for attempt in range(3):
        try:
            blob = patiently(lambda: blobs.get(key))
        except NotFound as error:
            if attempt == 2:
                raise Permanent(
                    f"cannot read part {part.number} of {part.layer}: the store lost it"
                ) from error
            time.sleep(0.2)
            continue
        if blake3(blob).digest() == part.sealed:
            return blob
    raise Permanent(
        f"cannot read part {part.number} of {part.layer}: the store gives {len(blob)} other bytes "
        f"than the {part.stored} that were put"
    )


def patiently(call: Callable[[], T]) -> T:
    """Try again what is Transient, for some ten seconds."""
    for attempt in range(_TRIES):
        try:
            return call()
        except Transient:
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable")


def _codecs() -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
    """This thread's own: they are not to be shared."""
    if not hasattr(_local, "codecs"):
        _local.codecs = zstandard.ZstdCompressor(level=_LEVEL), zstandard.ZstdDecompressor()
    codecs: tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor] = _local.codecs
    return codecs
