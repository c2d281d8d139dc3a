"""TCP sockets left in repair mode by a dying CRIU: there the kernel neither sends nor receives."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterable, Iterator

_PIDFD_GETFD = 438
_TCP_REPAIR = 19
_libc = ctypes.CDLL(None, use_errno=True)


def end_repair(pids: Iterable[int]) -> int:
    """Take the TCP sockets of these processes out of repair mode; how many were in it."""
    mended = 0
    for pid in pids:
        for own in _tcp_sockets(pid):
            with own:
                if own.getsockopt(socket.IPPROTO_TCP, _TCP_REPAIR):
                    own.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 0)
                    # Repair mode overwrites this option. Servers set it, so that they can restart.
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    mended += 1
    return mended


def _tcp_sockets(pid: int) -> Iterator[socket.socket]:
    """Duplicates of the process's TCP sockets."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if not os.readlink(entry.path).startswith("socket:"):
                    continue
                fd = _libc.syscall(_PIDFD_GETFD, process, int(entry.name), 0)
                if fd < 0:
                    continue
                one = socket.socket(fileno=fd)
                if one.family in (socket.AF_INET, socket.AF_INET6) and one.proto == 6:
                    yield one
                else:
                    one.close()
    finally:
        os.close(process)
