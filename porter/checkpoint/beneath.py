"""System calls that Python lacks: opening below a directory without ever leaving it, and syncfs.

Paths in a checkpoint come from another host and are hostile input. The kernel itself refuses to
resolve them outside the tree (openat2), so there is no race between a check and its use.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from porter.domain.errors import Permanent

_SYS_OPENAT2 = 437
_NO_XDEV = 0x01
_NO_MAGICLINKS = 0x02
_NO_SYMLINKS = 0x04
_BENEATH = 0x08
_INSIDE = _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_SYNC_FILE_RANGE_WRITE = 2
_KEEP_SIZE = 1
_PUNCH_HOLE = 2
_FULL = (errno.ENOSPC, errno.EDQUOT)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def open_beneath(
    root: int, path: bytes, flags: int, mode: int = 0, one_filesystem: bool = False
) -> int:
    """Open `path` relative to the directory `root` and return the new descriptor.

    No component may be a symbolic link, and none may lead out of `root`; with `one_filesystem`
    none may be a mount point either. Raises OSError: ELOOP for a symbolic link, EXDEV for a way
    out. An empty path is `root` itself.
    """
    resolve = _INSIDE | (_NO_XDEV if one_filesystem else 0)
    how = _How(flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, resolve)
    while True:
        fd = _libc.syscall(_SYS_OPENAT2, root, path or b".", ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        # EAGAIN: something was renamed meanwhile and the kernel could not be sure; ask again.
        if number not in (errno.EINTR, errno.EAGAIN):
            raise OSError(number, os.strerror(number), os.fsdecode(path))


def sync_filesystem(fd: int) -> None:
    """Block until everything written to the filesystem of `fd` is on the disk (syncfs)."""
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to begin writing this range out. A hint: failure does not matter."""
    _libc.sync_file_range(fd, offset, length, _SYNC_FILE_RANGE_WRITE)


def discard(fd: int, offset: int, length: int) -> None:
    """Give the memory or disk space of a range back; it reads as zeros, the file keeps its size.

    A hint: a filesystem that cannot punch holes keeps the space.
    """
    _libc.fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, length)


def unmount(path: str) -> None:
    """Detach the mount at `path` lazily; nothing mounted there is fine."""
    if _libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOENT):
            raise OSError(number, os.strerror(number), path)


def all_zero(buffer: bytearray, length: int) -> bool:
    """Whether the first `length` bytes are all zero. Fast in both cases; needs no copy."""
    if length == 0 or buffer[0] or buffer[length - 1] or buffer[length // 2]:
        return length == 0
    first = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    return int(_libc.memcmp(first, first + 1, length - 1)) == 0


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the kernel's refusal into a Permanent error that says what could not be done."""
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str | bytes) else b""
        where = f" {os.fsdecode(name)!r}" if name else ""
        remedy = "free some space and move it again" if error.errno in _FULL else ""
        raise Permanent(f"cannot {what}{where}: {error.strerror}", remedy) from error
