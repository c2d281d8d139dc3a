"""Rebuilding a directory tree from frames that come in any order from a host not trusted.

Whatever the frames say, nothing outside the tree is touched: the kernel resolves every path below
the tree's directory without following a symbolic link or entering a mount.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

from porter.checkpoint.beneath import open_beneath, start_writeback, sync_filesystem
from porter.checkpoint.trees import (
    DIR,
    FIFO,
    FILE,
    HARDLINK,
    LOCAL_XATTRS,
    SOCKET,
    SYMLINK,
    WHITEOUT,
    Node,
    checked_path,
)
from porter.domain.errors import Permanent

_TYPES = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, WHITEOUT: stat.S_IFCHR}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_WRITEBACK = 1 << 20


class TreeWriter:
    """Writes one tree. `add` and `write` are thread-safe; `finish` comes after all of them.

    Empties the directory when made: what an earlier attempt left must not mix with the new.
    Names in `keep` directly below the directory are neither removed nor expected.
    """

    def __init__(self, root: Path, keep: frozenset[bytes] = frozenset()) -> None:
        self.root = root
        self._keep = keep
        self._fd = os.open(root, _DIRECTORY | os.O_CLOEXEC)
        self.device = os.fstat(self._fd).st_dev
        # Also when nobody closes: an aborted transfer just drops its receiver.
        self.close = weakref.finalize(self, os.close, self._fd)
        self._later: list[Node] = []
        self._names: dict[bytes, set[bytes]] = {}
        self._lock = threading.Lock()
        try:
            self._empty(b"", keep)
        except BaseException:
            self.close()
            raise

    # -- while frames come ------------------------------------------------------------------

    def write(self, path: bytes, offset: int, data: bytes | memoryview) -> None:
        """Put bytes of a regular file where they belong; the file and its parents are made."""
        checked_path(path)
        fd = self._create(path)
        try:
            _write_all(fd, data, offset)
            if len(data) >= _WRITEBACK:
                # The disk works while the rest is on its way, so the sync at the end is short.
                start_writeback(fd, offset, len(data))
        finally:
            os.close(fd)

    def add(self, nodes: Iterable[Node], contents: memoryview) -> None:
        """Make nodes. The contents of the inline files among them follow one another."""
        at = 0
        later = []
        names: dict[bytes, set[bytes]] = {}
        for node in nodes:
            directory, _, name = checked_path(node.path).rpartition(b"/")
            if name:
                names.setdefault(directory, set()).add(name)
            if node.inline:
                self._small_file(node, contents[at : at + node.size])
                at += node.size
            elif node.kind in (FILE, DIR, HARDLINK):
                later.append(node)
            else:
                self._special(node)
        with self._lock:
            self._later += later
            for directory, found in names.items():
                self._names.setdefault(directory, set()).update(found)

    def _small_file(self, node: Node, data: memoryview) -> None:
        fd = self._create(node.path)
        try:
            _write_all(fd, data, 0)
            self._dress(fd, node)
        finally:
            os.close(fd)

    def _special(self, node: Node) -> None:
        parent, name = self._parent(node.path)
        try:
            if node.kind == SYMLINK:
                os.symlink(node.link, name, dir_fd=parent)
            else:
                os.mknod(name, _TYPES[node.kind] | node.mode, 0, dir_fd=parent)
            os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)
            where = os.fsencode(f"/proc/self/fd/{parent}/") + name
            if node.kind != SYMLINK:
                os.chmod(where, node.mode)
            for key, value in node.xattrs.items():
                os.setxattr(where, key, value, follow_symlinks=False)
            times = (node.mtime_ns, node.mtime_ns)
            os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(parent)

    def _dress(self, fd: int, node: Node) -> None:
        # In this order: a change of owner clears setuid and file capabilities.
        os.fchown(fd, node.uid, node.gid)
        os.fchmod(fd, node.mode)
        for key, value in node.xattrs.items():
            os.setxattr(fd, key, value)
        os.utime(fd, ns=(node.mtime_ns, node.mtime_ns))

    # -- opening ----------------------------------------------------------------------------

    def _create(self, path: bytes) -> int:
        return self._with_parents(path, lambda: self._open_file(path))

    def _open_file(self, path: bytes) -> int:
        # Not blocking: a FIFO of that name must be an error, not a wait.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK
        try:
            return self._open(path, flags | os.O_EXCL, 0o600)
        except FileExistsError:
            fd = self._open(path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Permanent(f"cannot write {os.fsdecode(path)!r}: it is not a regular file")
        return fd

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        directory, _, name = path.rpartition(b"/")
        if not name:
            raise Permanent("cannot accept a node: the tree's own directory must be a directory")
        return self._with_parents(path, lambda: self._open(directory, _DIRECTORY)), name

    def _open(self, path: bytes, flags: int, mode: int = 0) -> int:
        return open_beneath(self._fd, path, flags, mode, one_filesystem=True)

    def _with_parents(self, path: bytes, attempt: Callable[[], int]) -> int:
        try:
            return attempt()
        except FileNotFoundError:
            self._make_directory(path.rpartition(b"/")[0])
            return attempt()

    def _make_directory(self, path: bytes) -> None:
        """Make a directory and its parents, closed to all but root until `finish`."""
        fd = os.dup(self._fd)
        try:
            for name in path.split(b"/") if path else ():
                try:
                    os.mkdir(name, 0o700, dir_fd=fd)
                except FileExistsError:
                    pass  # if it is no directory, opening it says so
                inner = open_beneath(fd, name, _DIRECTORY, one_filesystem=True)
                os.close(fd)
                fd = inner
        finally:
            os.close(fd)

    # -- at the end -------------------------------------------------------------------------

    def finish(self) -> None:
        """Sizes, links, removals, then directories: what touches a directory changes its time."""
        for node in self._later:
            if node.kind == FILE:
                self._large_file(node)
        directories = [node for node in self._later if node.kind == DIR]
        for node in directories:
            self._make_directory(node.path)
        for node in self._later:
            if node.kind == HARDLINK:
                self._hard_link(node)
        known = {node.path for node in directories} | {b""}
        if strays := self._names.keys() - known:
            raise Permanent(f"cannot finish {self.root}: no word of directory {min(strays)!r}")
        for node in directories:
            self._close_directory(node)
        if not directories:
            self._remove_strays(b"")

    def _close_directory(self, node: Node) -> None:
        fd = self._open(node.path, _DIRECTORY)
        try:
            self._remove_strays(node.path)
            if not node.path:  # the only directory that was here before
                for key in os.listxattr(fd):
                    if key not in node.xattrs and key not in LOCAL_XATTRS:
                        os.removexattr(fd, key)
            self._dress(fd, node)
        finally:
            os.close(fd)

    def _large_file(self, node: Node) -> None:
        fd = self._create(node.path)
        try:
            os.ftruncate(fd, node.size)
            self._dress(fd, node)
        finally:
            os.close(fd)

    def _hard_link(self, node: Node) -> None:
        old_parent, old = self._parent(checked_path(node.link))
        try:
            new_parent, new = self._parent(node.path)
            try:
                os.link(
                    old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent, follow_symlinks=False
                )
            finally:
                os.close(new_parent)
        finally:
            os.close(old_parent)

    def _remove_strays(self, path: bytes) -> None:
        expected = self._names.get(path, set())
        self._empty(path, frozenset(expected) if path else self._keep | expected)

    def sync(self) -> None:
        """Block until the tree survives a power cut. Costs nothing on tmpfs."""
        sync_filesystem(self._fd)

    def _empty(self, path: bytes, keep: frozenset[bytes]) -> None:
        """Remove what is below a directory except names in `keep`; never enters a mount."""
        waiting, emptied = self._unlink_files(path, keep), []
        while waiting:
            inner = waiting.pop()
            emptied.append(inner)
            waiting += self._unlink_files(inner, frozenset())
        for inner in reversed(emptied):
            parent, name = self._parent(inner)
            try:
                os.rmdir(name, dir_fd=parent)
            finally:
                os.close(parent)

    def _unlink_files(self, path: bytes, keep: frozenset[bytes]) -> list[bytes]:
        """Unlink all in one directory but `keep` and directories; the latter are the answer."""
        prefix = path + b"/" if path else b""
        directories = []
        fd = self._open(path, _DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                doomed = [e for e in entries if os.fsencode(e.name) not in keep]
            for entry in doomed:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(prefix + os.fsencode(entry.name))
                else:
                    os.unlink(entry.name, dir_fd=fd)
        finally:
            os.close(fd)
        return directories


def _write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    done = 0
    with memoryview(data) as view:
        while done < len(view):
            done += os.pwrite(fd, view[done:], offset + done)
