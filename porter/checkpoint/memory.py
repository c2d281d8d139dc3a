"""Memory made ready before a freeze, so that none need be found and zeroed during it.

A page that nobody has used lately is dear: the kernel zeroes it, and under a hypervisor the first
touch costs ten times as much. What is asked for here is a hint: too little memory is no error.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

MOST = 4 << 30
"""More than this would make people wait longer than it saves."""


def _spare() -> int:
    """Bytes that can be had without pushing anything out."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _allocate(fd: int, size: int) -> None:
    size = min(size, MOST)
    if 0 < 2 * size < _spare():
        # A tmpfs that is too small refuses as a whole: then it is done without.
        with contextlib.suppress(OSError):
            os.posix_fallocate(fd, 0, size)


def provide(file: Path, size: int) -> None:
    """Give a file on tmpfs `size` bytes of memory, which what is written to it will use."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _allocate(fd, size)
    finally:
        os.close(fd)


class Reserve:
    """`size` bytes of memory, held until `release`: whoever asks next finds them ready for use.

    Held, for a hypervisor takes free memory back within seconds. `directory` is on tmpfs.
    """

    def __init__(self, directory: Path, size: int) -> None:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._close = weakref.finalize(self, os.close, fd)
        _allocate(fd, size)

    def release(self) -> None:
        """Give it up. Harmless to repeat."""
        self._close()
