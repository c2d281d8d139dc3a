"""A store in a directory: a disk, or a share that both hosts have mounted."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from porter.domain.errors import Denied, NotFound, Permanent, PorterError, Transient
from porter.store.answers import check_method
from porter.store.base import Blob, Ticket, check_key

_SUFFIX = ".blob"
_FRESH = ".fresh-"
_PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN)


class DirectoryBlobs:
    """`Blobs` and `Tickets` in a directory. A blob `a/b` is the file `a/b.blob`, so that `a` and
    `a/b` may both be.

    `durable`: a blob that was put survives a power cut. Without it puts are quicker, and a tunnel
    needs no more.
    """

    def __init__(self, root: Path, durable: bool = True) -> None:
        self._root = root
        self._durable = durable

    def put(self, key: str, data: bytes) -> None:
        write_file(self._path(key), data, self._durable)

    def get(self, key: str) -> bytes:
        with _errors(f"get {key}"):
            return self._path(key).read_bytes()

    def list(self, prefix: str) -> Iterator[Blob]:
        with _errors(f"list {prefix}"):
            yield from self._walk(self._root, "", prefix)

    def remove(self, key: str) -> None:
        path = self._path(key)
        remove_file(path)
        for parent in path.parents:
            if parent == self._root:
                break
            try:
                parent.rmdir()
            except OSError:
                break  # It is in use, or another remover was quicker.

    def ticket(self, method: str, key: str, seconds: int) -> Ticket:
        """The file itself: whoever may write to the directory needs no leave, and none ends."""
        return Ticket(check_method(method), self._path(key).absolute().as_uri())

    def close(self) -> None:
        """Nothing is kept open."""

    def _path(self, key: str) -> Path:
        return self._root / (check_key(key) + _SUFFIX)

    def _walk(self, folder: Path, before: str, prefix: str) -> Iterator[Blob]:
        try:
            with os.scandir(folder) as entries:
                found = sorted(_named(entry) for entry in entries if _is_ours(entry))
        except FileNotFoundError:
            return
        for name in found:
            key = before + name
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(folder / name, key, prefix)
            elif key.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):
                    yield Blob(key, (folder / (name + _SUFFIX)).stat().st_size)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() or (entry.name.endswith(_SUFFIX) and not entry.name.startswith("."))


def _named(entry: os.DirEntry[str]) -> str:
    """A name by which sorting a directory sorts all keys beneath it."""
    return entry.name + "/" if entry.is_dir() else entry.name[: -len(_SUFFIX)]


def write_file(path: Path, data: bytes, durable: bool = True) -> None:
    """The whole file or none: others see it only once all of it is there."""
    fresh = path.with_name(f"{_FRESH}{uuid.uuid4().hex}")
    with _errors(f"put {path.name}"):
        for attempt in range(20):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                break
            except FileNotFoundError:
                # A remover took the directory away as it was empty.
                if attempt == 19:
                    raise
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                if durable:
                    os.fdatasync(file.fileno())
            os.replace(fresh, path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        if durable:
            _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_file(path: Path) -> None:
    """Absent is success."""
    with _errors(f"remove {path.name}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _meaning(error, doing) from error


def _meaning(error: OSError, doing: str) -> PorterError:
    why = f"cannot {doing}: {error.strerror}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(why)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied(why, "let this user write to the store's directory")
    return Transient(why) if error.errno in _PASSING else Permanent(why)
