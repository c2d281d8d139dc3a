"""Compression chooses well, and what a hostile sender announces is never believed."""

from __future__ import annotations

import os

import pytest
import zstandard

from porter.checkpoint.codec import (
    MAX_RAW,
    NONE,
    ZERO,
    ZSTD,
    Digest,
    Effort,
    Pace,
    effort_for,
    hash_of,
    pack,
    unpack,
)
from porter.domain.errors import Permanent

TEXT = b'{"name": "Anna", "city": "Bremen"} ' * 10_000


@pytest.mark.parametrize("effort", list(Effort))
@pytest.mark.parametrize("raw", [b"", b"x", TEXT, os.urandom(300_000), bytes(300_000)])
def test_what_is_packed_unpacks_to_the_same(effort: Effort, raw: bytes) -> None:
    codec, payload = pack(bytearray(raw), len(raw), effort)
    out = unpack(codec, payload, len(raw), hash_of(raw))
    assert bytes(out) == (b"" if codec == ZERO else raw)


def test_each_kind_of_data_gets_its_codec() -> None:
    noise = os.urandom(300_000)
    assert pack(bytearray(TEXT), len(TEXT), Effort.STRONG)[0] == ZSTD
    assert pack(bytearray(noise), len(noise), Effort.STRONG)[0] == NONE
    assert pack(bytearray(300_000), 300_000, Effort.STRONG) == (ZERO, b"")
    assert pack(bytearray(TEXT), len(TEXT), Effort.NONE) == (NONE, TEXT)


def test_one_byte_among_zeros_is_not_lost() -> None:
    for at in (0, 1, 149_999, 150_000, 299_998, 299_999):
        buffer = bytearray(300_000)
        buffer[at] = 1
        assert pack(buffer, len(buffer), Effort.FAST)[0] == ZSTD


def test_slow_and_unknown_links_get_the_stronger_compression() -> None:
    assert effort_for(None) is Effort.STRONG
    assert effort_for(125_000_000) is Effort.STRONG
    assert effort_for(600_000_000) is Effort.FAST
    assert effort_for(1 << 40) is Effort.NONE


def test_the_pace_follows_the_bottleneck_but_keeps_its_promise() -> None:
    pace = Pace(Effort.FAST)
    pace.note(packing=0.01, sending=0.1)
    assert pace.effort is Effort.FAST, "too early to tell"
    for expected in (Effort.STRONG, Effort.THOROUGH, Effort.THOROUGH):
        pace.note(packing=0.05, sending=0.5)
        assert pace.effort is expected
    pace.note(packing=0.3, sending=0.3)
    assert pace.effort is Effort.THOROUGH
    for expected in (Effort.STRONG, Effort.FAST, Effort.FAST):
        pace.note(packing=0.5, sending=0.05)
        assert pace.effort is expected


def bomb() -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(1 << 26))


@pytest.mark.parametrize(
    ("codec", "payload", "raw"),
    [
        (ZSTD, bomb(), 1000),
        (ZSTD, bomb(), 1 << 26),
        (ZSTD, b"not zstd", 8),
        (ZSTD, b"", 0),
        (NONE, b"12345", 4),
        (ZERO, b"1", 1),
        (ZERO, b"", MAX_RAW + 1),
        ("lz4", b"12345", 5),
        (NONE, b"12345", -1),
        (NONE, b"12345", 5),
    ],
)
def test_a_lying_frame_is_refused(codec: str, payload: bytes, raw: int) -> None:
    with pytest.raises(Permanent, match="cannot accept a frame"):
        unpack(codec, payload, raw, hash_of(b"something else"))


def test_a_frame_without_its_content_size_is_refused() -> None:
    stream = zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)
    with pytest.raises(Permanent, match="not the announced one"):
        unpack(ZSTD, stream, len(TEXT), hash_of(TEXT))


def test_the_digest_ignores_order_repetition_and_codec() -> None:
    one = {"t": "chunk", "tree": "a", "path": b"x", "offset": 0, "raw": 1, "hash": b"1"}
    two = one | {"offset": 1}
    first, second, third = Digest(), Digest(), Digest()
    for digest, headers in (
        (first, [one, two]),
        (second, [two | {"codec": "zstd"}, one, one]),
        (third, [one, two | {"hash": b"2"}]),
    ):
        for header in headers:
            digest.add(header)
    assert first.hex() == second.hex() != third.hex()
    assert len(first) == len(second) == 2
    assert first.seen(one)
    assert not first.seen(one | {"path": b"y"})
