"""What a tunnel leaves in the store: numbered segments, each removed by the one who reads it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag

from blake3 import blake3

from porter.domain.errors import Permanent
from porter.store.base import MAX_BLOB

SEGMENT = 4 << 20
"""Bytes of the largest segment's content."""
BULK = 256 << 10
"""What is smaller waits while two segments are under way already."""
WINDOW = 32
"""Segments that may be unread."""
_HEAD = struct.Struct(">BQ16s")
assert SEGMENT + _HEAD.size <= MAX_BLOB


class Flag(IntFlag):
    NONE = 0
    SYN = 1
    """The first segment of a connection."""
    FIN = 2
    """No more content comes from this side."""
    RST = 4
    """The connection is broken."""


@dataclass(frozen=True)
class Segment:
    flags: Flag
    acked: int
    """How many segments of the other direction were read."""
    data: bytes = b""


@dataclass(frozen=True)
class Pace:
    """Times of a tunnel, in seconds."""

    shortest: float = 0.005
    longest: float = 0.2
    """How often to look for the next segment: soon after traffic, and when idle."""
    beat: float = 5
    """After so long without a segment, send an empty one."""
    dead: float = 30
    """After so long without any, the other side is dead."""
    parallel: int = 4
    """Segments of one connection that are sent, and read ahead, at a time."""


def connection_key(prefix: str, connection: int) -> str:
    return f"{prefix}/{connection:08}"


def segment_key(direction: str, number: int) -> str:
    return f"{direction}/{number:010}"


def pack(key: str, segment: Segment) -> bytes:
    """The blob of a segment; its checksum binds it to its place."""
    total = _sum(key, segment.flags, segment.acked, segment.data)
    return _HEAD.pack(segment.flags, segment.acked, total) + segment.data


def unpack(key: str, blob: bytes) -> Segment:
    """Raises Permanent if these are not the bytes put there."""
    if len(blob) < _HEAD.size:
        raise Permanent(f"cannot read {key}: it is cut off")
    flags, acked, total = _HEAD.unpack_from(blob)
    data = blob[_HEAD.size :]
    if _sum(key, flags, acked, data) != total:
        raise Permanent(f"cannot read {key}: the store gives other bytes than were put")
    return Segment(Flag(flags), acked, data)


def _sum(key: str, flags: int, acked: int, data: bytes) -> bytes:
    digest = blake3(f"{key} {flags:d} {acked} ".encode())
    digest.update(data)
    return digest.digest(length=16)
