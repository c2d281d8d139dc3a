"""What a store's HTTP answers mean to Porter, the same for all of them."""

from __future__ import annotations

from collections.abc import Iterator

from porter.domain.errors import (
    Denied,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
)
from porter.store.base import METHODS

_DAMAGED = ("digest", "checksum", "md5", "crc32c", "sha256", "unprocessable")


def meaning(status: int, doing: str, detail: str = "") -> PorterError:
    """The error for an answer that is no success. `doing`: "get KEY"; `detail`: the store's code.

    A refused checksum is Transient: what was sent is right, what arrived was not.
    """
    why = f"cannot {doing}: the store answers {status} {detail}".rstrip()
    if status == 404:
        return NotFound(why)
    if status in (401, 403) or (status == 400 and "expired" in detail.lower()):
        return Denied(why, "check the store's credentials, its rights and this host's clock")
    if status in (408, 409, 422, 425, 429) or status >= 500:
        return Transient(why)
    if status == 400 and any(word in detail.lower() for word in _DAMAGED):
        return Transient(why)
    return Permanent(why)


def check_method(method: str) -> str:
    """The method itself. Raises Invalid if no ticket is given for it."""
    if method not in METHODS:
        raise Invalid(f"cannot give a ticket for {method}", f"ask for one of {', '.join(METHODS)}")
    return method


def pieces(data: bytes) -> Iterator[bytes]:
    """A body for httpx, which would copy it as a whole; `Content-Length` is to be given."""
    for start in range(0, len(data), 1 << 18):
        yield data[start : start + (1 << 18)]
