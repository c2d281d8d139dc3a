"""What a store of blobs can do. Everything else (layers, keys, resuming) stands above it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from porter.domain.errors import Invalid

MAX_BLOB = 32 << 20
"""Bytes of the largest blob. Layers are cut into smaller parts, so memory stays bounded."""


_KEY = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._=@:+-]*(/[A-Za-z0-9_][A-Za-z0-9._=@:+-]*)*")


def check_key(key: str) -> str:
    """The key itself: at most 512 characters, segments of letters, digits and `._=@:+-`, none of
    them empty, hidden, with `..` or ending in `.blob`. Raises Invalid."""
    segments = key.split("/")
    if len(key) > 512 or not _KEY.fullmatch(key) or any(s.endswith(".blob") for s in segments):
        raise Invalid(f"cannot use {key[:80]!r} as a key: {check_key.__doc__}")
    return key


@dataclass(frozen=True)
class Blob:
    key: str
    size: int


class Blobs(Protocol):
    """A flat store of immutable blobs. Thread-safe. Errors: Transient, Denied, NotFound, Permanent.

    Keys are as `check_key` says; `/` separates, as in a path.
    """

    def put(self, key: str, data: bytes) -> None:
        """Store it, whole or not at all; the store checks a checksum of what arrived. Putting the
        same key again replaces it."""
        ...

    def get(self, key: str) -> bytes:
        """The blob. Raises NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[Blob]:
        """All blobs whose keys begin with `prefix`, by key, all pages."""
        ...

    def remove(self, key: str) -> None:
        """Absent is success."""
        ...


@dataclass(frozen=True)
class Ticket:
    """Leave to do one thing to one blob for a while, without a credential of the store."""

    method: str
    """`GET`, `PUT` or `DELETE`."""
    url: str = field(repr=False)
    """`https://…` presigned, or `file:///…` for a directory that both hosts have mounted."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """To be sent as they are. Who puts adds the MD5 of the body, as `Content-MD5` (base64) and as
    `ETag` (hexadecimal): each store checks one of them and takes no offence at the other."""


class Tickets(Protocol):
    """A store that can let others in for one blob: agents never see its credentials."""

    def ticket(self, method: str, key: str, seconds: int) -> Ticket:
        """Valid for so long from now. Raises Invalid for another method, Denied without a key to
        sign with."""
        ...


@runtime_checkable
class Expecting(Protocol):
    """A store at which it saves time to say beforehand what will be asked."""

    def expect(self, method: str, keys: Sequence[str]) -> None: ...


METHODS = ("GET", "PUT", "DELETE")


@dataclass(frozen=True)
class StoreConfig:
    """A store and how to reach it. Never logged: secrets stay out of repr."""

    name: str
    url: str
    """`s3://BUCKET/PREFIX`, `azure://CONTAINER/PREFIX`, `gs://BUCKET/PREFIX`,
    `swift://CONTAINER/PREFIX` or `file:///DIRECTORY`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """endpoint, region, account …"""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
