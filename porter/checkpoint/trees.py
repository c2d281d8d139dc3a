"""Walking a directory tree: every kind of node, with all that makes it what it is.

What travels: regular files (holes stay holes), directories, symbolic and hard links, FIFOs,
sockets, overlay whiteouts; owners as numbers, modes with setuid, times in nanoseconds and
extended attributes. Other device nodes do not: the target would have to trust the source with them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack

from porter.checkpoint.beneath import open_beneath
from porter.domain.errors import Permanent, Unsupported

SMALL = 256 << 10
"""Files up to this many bytes travel inside a `nodes` frame."""

DIR = "dir"
FILE = "file"
SYMLINK = "symlink"
HARDLINK = "hardlink"
FIFO = "fifo"
SOCKET = "socket"
WHITEOUT = "whiteout"
"""A character device 0/0: "this name is deleted" in an overlay's upper directory."""

_KINDS = {
    stat.S_IFDIR: DIR,
    stat.S_IFREG: FILE,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
}

_ALL_KINDS = frozenset([*_KINDS.values(), HARDLINK, WHITEOUT])

# They mean something only in the filesystem or under the security policy that made them.
_LOCAL_OVERLAY = ("origin", "impure", "uuid", "nlink", "upper")
LOCAL_XATTRS = frozenset(
    [f"{space}.overlay.{name}" for space in ("trusted", "user") for name in _LOCAL_OVERLAY]
    + ["security.selinux", "security.ima", "security.evm"]
)
"""Attributes that stay where they are."""


class Node(NamedTuple):
    """One name in a tree, as it travels (a msgpack list in this order).

    `path` is relative, empty for the tree's own directory. `link` is a symbolic link's text, or
    for `hardlink` the path of the same tree that it shares its file with. `inline` says that the
    contents (`size` bytes) are in the same frame.
    """

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    link: bytes = b""
    inline: bool = False
    xattrs: dict[str, bytes] = {}  # noqa: RUF012 - shared, never changed


class Extent(NamedTuple):
    """A range of a file that holds data, in bytes."""

    offset: int
    length: int


class TreeReader:
    """Reads one tree of a frozen container. Not thread-safe, except `open_file`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._seen: dict[tuple[int, int], bytes] = {}

    def close(self) -> None:
        os.close(self._fd)

    def open_file(self, path: bytes) -> int:
        """A descriptor for reading the regular file at `path`; the caller closes it."""
        return open_beneath(self._fd, path, os.O_RDONLY | os.O_NONBLOCK)

    def walk(self) -> Generator[Node, None, None]:
        """Every node, a directory before what is in it, the tree's own directory first.

        Raises Unsupported for device nodes other than overlay whiteouts.
        """
        own = os.fstat(self._fd)
        yield self._node(b"", own, f"/proc/self/fd/{self._fd}/.")
        waiting = [b""]
        while waiting:
            directory = waiting.pop()
            fd = open_beneath(self._fd, directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                prefix = directory + b"/" if directory else b""
                with os.scandir(fd) as entries:
                    for entry in entries:
                        path = prefix + os.fsencode(entry.name)
                        info = entry.stat(follow_symlinks=False)
                        node = self._node(path, info, f"/proc/self/fd/{fd}/{entry.name}")
                        if node.kind == DIR:
                            waiting.append(path)
                        yield node
            finally:
                os.close(fd)

    def _node(self, path: bytes, info: os.stat_result, where: str) -> Node:
        kind = _KINDS.get(stat.S_IFMT(info.st_mode)) or self._device(path, info)
        link = b""
        if info.st_nlink > 1 and kind != DIR:
            first = self._seen.setdefault((info.st_dev, info.st_ino), path)
            if first != path:
                kind, link = HARDLINK, first
        if kind == SYMLINK:
            link = os.fsencode(os.readlink(where))
        size = info.st_size if kind == FILE else 0
        return Node(
            path,
            kind,
            stat.S_IMODE(info.st_mode),
            info.st_uid,
            info.st_gid,
            info.st_mtime_ns,
            size,
            link,
            kind == FILE and size <= SMALL,
            {} if kind == HARDLINK else _xattrs(where),
        )

    def _device(self, path: bytes, info: os.stat_result) -> str:
        if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
            return WHITEOUT
        raise Unsupported(
            f"cannot move the device node {os.fsdecode(path)!r} in {self.root}: the target would "
            "have to trust the source with its devices",
            "remove it, or give the container the device with --device",
        )


def _xattrs(where: str) -> dict[str, bytes]:
    try:
        names = os.listxattr(where, follow_symlinks=False)
        if not names:
            return {}
        return {
            name: os.getxattr(where, name, follow_symlinks=False)
            for name in names
            if name not in LOCAL_XATTRS
        }
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):  # a filesystem or node without any
            return {}
        raise


def extents(fd: int, size: int) -> Iterator[Extent]:
    """The parts of an open file that hold data; holes are skipped without being read."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            raise
        if start >= size:
            return
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield Extent(start, at - start)


def checked_path(path: object) -> bytes:
    """`path` if it is a clean relative path, as every path in a frame must be.

    Raises Permanent otherwise. The kernel checks again when the path is used.
    """
    if not isinstance(path, bytes):
        raise Permanent("cannot accept a path: it is not a byte string")
    parts = path.split(b"/") if path else []
    if len(path) > 4095 or b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise Permanent(f"cannot accept the path {path!r}: it is not a clean relative path")
    return path


def pack_nodes(nodes: list[Node]) -> bytes:
    """The list of nodes as it stands at the head of a `nodes` frame."""
    packed: bytes = msgpack.packb(nodes, unicode_errors="surrogateescape")
    return packed


def unpack_nodes(data: bytes | memoryview, contents: int) -> list[Node]:
    """The nodes of a frame with `contents` bytes of inline files. Hostile input: every field is
    checked. Raises Permanent."""
    try:
        items = msgpack.unpackb(data, unicode_errors="surrogateescape")
        nodes = [_checked_node(item) for item in items]
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Permanent(f"cannot accept a frame: its nodes are malformed ({error})") from error
    if sum(node.size for node in nodes if node.inline) != contents:
        raise Permanent("cannot accept a frame: its contents do not match its nodes")
    return nodes


def _checked_node(item: list[object]) -> Node:
    node = Node(*item)  # type: ignore[arg-type]
    checked_path(node.path)
    numbers = (
        (node.mode, 0o7777),
        (node.uid, 2**32 - 2),
        (node.gid, 2**32 - 2),
        (node.size, 2**60),
    )
    good = (
        node.kind in _ALL_KINDS
        and all(type(number) is int and 0 <= number <= top for number, top in numbers)
        and type(node.mtime_ns) is int
        and abs(node.mtime_ns) < 2**63
        and type(node.link) is bytes
        and b"\0" not in node.link
        and type(node.inline) is bool
        and (not node.inline or node.kind == FILE)
        and type(node.xattrs) is dict
        and all(
            type(key) is str and "\0" not in key and type(value) is bytes
            for key, value in node.xattrs.items()
        )
    )
    if not good:
        raise Permanent(f"cannot accept the node {node.path!r}: a field is out of range")
    return node
