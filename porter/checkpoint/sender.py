"""The source's half: ship CRIU's images while CRIU writes them, and the trees beside them.

CRIU only appends to `pages-*.img`, so what is there can go; its other images may be rewritten
until it ends and are small. The container is frozen, so its files hold still: they are read while
the dump runs. Every byte is read once, by a pool of threads that hash, compress and send it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from porter.checkpoint.base import IMAGES, Frames, Manifest
from porter.checkpoint.beneath import explained
from porter.checkpoint.codec import CHUNK, effort_for
from porter.checkpoint.pool import Pool, Source, Stopped, Task, read_exactly
from porter.checkpoint.trees import FILE, SMALL, Extent, Node, TreeReader, extents
from porter.domain.container import Tree

_POLL_S = 0.003
_BATCH_NODES = 2000
_BATCH_HEAD = 128 << 10
_SKIPPED = (".log", ".pid")


class StateSender:
    """Sends one checkpoint at a time over any `Frames`.

    `link_bytes_per_second` is what the link can carry; None if unknown, which counts as slow.
    Holds at most about 4 MiB per thread besides what `frames` keeps.
    """

    def __init__(
        self, link_bytes_per_second: int | None = None, threads: int | None = None
    ) -> None:
        self._effort = effort_for(link_bytes_per_second)
        # One more than processors: a thread that waits for the link leaves its processor idle.
        self._threads = threads or min(8, (os.cpu_count() or 1) + 1)

    def send(
        self,
        dump: Callable[[], None],
        images: Path,
        trees: tuple[Tree, ...],
        frames: Frames,
        progress: Callable[[int], None],
    ) -> Manifest:
        """See `base.Sender`."""
        pool = Pool(frames, progress, self._effort, self._threads)
        dumping = Task("porter-dump", dump)
        walking = Task("porter-files", lambda: _ship_trees(pool, trees))
        try:
            with explained(f"read {images}"):
                _ship_images(pool, images, dumping)
            walking.join()
        except BaseException as error:  # noqa: BLE001 - raised below, once nothing runs
            pool.fail(error)
        finally:
            dumping.join()
            walking.join()
            pool.close()
        for failure in (dumping.error, walking.error, pool.error):
            if failure is not None and not isinstance(failure, Stopped):
                raise failure
        return pool.manifest()


# -- what to ship ---------------------------------------------------------------------------


class _Batch:
    """Collects the nodes of one tree into frames."""

    def __init__(self, pool: Pool, tree: str) -> None:
        self._pool = pool
        self._tree = tree
        self._reset()

    def _reset(self) -> None:
        self._nodes: list[Node] = []
        self._contents = bytearray()
        self._head = 0

    def add(self, node: Node, content: bytes = b"") -> None:
        if len(self._contents) + len(content) > CHUNK:
            self.flush()
        self._nodes.append(node)
        self._contents += content
        self._head += len(node.path) + len(node.link) + sum(map(len, node.xattrs.values()))
        if len(self._nodes) >= _BATCH_NODES or self._head > _BATCH_HEAD:
            self.flush()

    def flush(self) -> None:
        if self._nodes:
            nodes, contents = self._nodes, self._contents
            self._reset()
            self._pool.nodes(self._tree, nodes, contents)


def _ship_trees(pool: Pool, trees: tuple[Tree, ...]) -> None:
    try:
        for tree in trees:
            _ship_tree(pool, tree)
    except Stopped:
        return
    except BaseException as error:
        pool.fail(error)
        raise


def _ship_tree(pool: Pool, tree: Tree) -> None:
    with explained(f"read {tree.path}"), closing(TreeReader(tree.path)) as reader:
        batch = _Batch(pool, tree.name)
        with closing(reader.walk()) as nodes:
            for node in nodes:
                if node.kind != FILE:
                    batch.add(node)
                else:
                    _ship_file(pool, batch, reader.open_file(node.path), tree.name, node)
        batch.flush()


def _ship_file(pool: Pool, batch: _Batch, fd: int, tree: str, node: Node) -> None:
    """Queue a file and its data; takes over the descriptor."""
    if not node.inline:
        batch.add(node)
        _ship_data(pool, fd, tree, node)
        return
    try:
        batch.add(node, _small(fd, node))
    finally:
        os.close(fd)


def _small(fd: int, node: Node) -> bytes:
    if node.size == 0:
        return b""
    content = os.read(fd, node.size)
    if len(content) != node.size:
        buffer = bytearray(node.size)
        read_exactly(fd, buffer, Extent(0, node.size), node.path)
        return bytes(buffer)
    return content


def _ship_data(pool: Pool, fd: int, tree: str, node: Node) -> None:
    """Queue the data of a large file; takes over the descriptor."""
    source = Source(fd)
    try:
        for extent in extents(fd, node.size):
            for at in range(extent.offset, extent.offset + extent.length, CHUNK):
                length = min(CHUNK, extent.offset + extent.length - at)
                pool.chunk(source, tree, node.path, Extent(at, length))
    finally:
        source.release()


def _ship_images(pool: Pool, images: Path, dumping: Task) -> None:
    """Follow the page images while the dump runs, then send what is left and all other images."""
    tails: dict[str, _Tail] = {}
    try:
        while True:
            running = dumping.running()  # asked first, so the last look sees everything
            if dumping.error is not None:
                pool.fail(dumping.error)
            if pool.error is not None:
                raise Stopped
            for entry in os.scandir(images):
                if entry.name.startswith("pages-") and entry.name not in tails:
                    tails[entry.name] = _Tail(images / entry.name)
            for tail in tails.values():
                tail.ship(pool, whole=not running)
            if not running:
                break
            time.sleep(_POLL_S)
        _ship_small_images(pool, images, tails)
    finally:
        for tail in tails.values():
            tail.close()


class _Tail:
    """A file that grows by appending, and how much of it has been sent."""

    def __init__(self, path: Path) -> None:
        self._path = os.fsencode(path.name)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        # The images lie in memory: what has been read makes room for what CRIU writes next. If the
        # move fails the container still has its own memory, and a new dump makes new images.
        self._source = Source(fd, consume=True)
        self._sent = 0

    def ship(self, pool: Pool, whole: bool) -> None:
        """Send all complete chunks, or with `whole` everything."""
        size = os.fstat(self._source.fd).st_size
        while size - self._sent >= CHUNK or (whole and size > self._sent):
            length = min(CHUNK, size - self._sent)
            pool.chunk(self._source, IMAGES, self._path, Extent(self._sent, length))
            self._sent += length

    def close(self) -> None:
        self._source.release()


def _ship_small_images(pool: Pool, images: Path, tails: dict[str, _Tail]) -> None:
    batch = _Batch(pool, IMAGES)
    for entry in sorted(os.scandir(images), key=lambda e: e.name):
        info = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(info.st_mode):
            continue
        if entry.name.endswith(_SKIPPED) or entry.name.startswith("stats-"):
            continue
        path = os.fsencode(entry.name)
        inline = entry.name not in tails and info.st_size <= SMALL
        node = Node(path, FILE, 0o600, 0, 0, info.st_mtime_ns, info.st_size, b"", inline)
        if entry.name in tails:
            batch.add(node)
            continue
        fd = os.open(images / entry.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        _ship_file(pool, batch, fd, IMAGES, node)
    batch.flush()
