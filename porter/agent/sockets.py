"""The TCP connections of a container, as its network namespace shows them."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

from porter.domain.errors import Transient

_CLONE_NEWNET = 0x40000000
_ESTABLISHED = "01"
_LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def established(netns: str) -> frozenset[str]:
    """Each established connection with another machine, as `local remote` in the kernel's notation.

    Raises Transient if the namespace is gone.
    """
    result: list[frozenset[str]] = []
    failed: list[OSError] = []

    def look() -> None:
        try:
            _enter(netns)
            result.append(parse(*(_read(f"/proc/thread-self/net/{name}") for name in _TABLES)))
        except OSError as error:
            failed.append(error)

    # A thread of its own: the namespace is changed for this one thread, which then ends.
    thread = threading.Thread(target=look, name="netns", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise Transient(f"cannot count connections in {netns}: {failed[0].strerror}")
    return result[0]


_TABLES = ("tcp", "tcp6")


def parse(*tables: str) -> frozenset[str]:
    """Established connections in the text of /proc/net/tcp and tcp6, loopback left out."""
    found = set()
    for table in tables:
        for line in table.splitlines()[1:]:
            words = line.split()
            if len(words) > 3 and words[3] == _ESTABLISHED and not words[2].startswith(_LOOPBACK):
                found.add(f"{words[1]} {words[2]}")
    return frozenset(found)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""  # a kernel without IPv6


def _enter(netns: str) -> None:
    descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)
