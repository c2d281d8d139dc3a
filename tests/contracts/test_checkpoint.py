"""What every pair of sender and receiver must do: the target becomes what the source is."""

from __future__ import annotations

import gc
import os
import random
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from porter.checkpoint.base import Manifest, Receiver, Sender
from porter.checkpoint.receiver import StateReceiver
from porter.checkpoint.sender import StateSender
from porter.domain.container import Tree
from porter.domain.errors import Permanent, PorterError, Transient, Unsupported

SENDERS: list[Callable[[], Sender]] = [
    StateSender,
    lambda: StateSender(link_bytes_per_second=1 << 40),
    lambda: StateSender(link_bytes_per_second=300_000_000, threads=1),
]
RECEIVERS: list[Callable[[Path, tuple[Tree, ...]], Receiver]] = [StateReceiver]


class Stored:
    """Frames kept as they would travel, to be delivered in any order."""

    def __init__(self) -> None:
        self.kept: list[tuple[bytes, bytes]] = []
        self.fail_after = 1 << 30

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        if len(self.kept) >= self.fail_after:
            raise Transient("cannot send: the link is down")
        self.kept.append((msgpack.packb(header), bytes(payload)))

    def deliver(self, receiver: Receiver, threads: int = 3) -> None:
        """All frames shuffled, some twice, from several threads."""
        chance = random.Random(len(self.kept))
        frames = self.kept + self.kept[::5]
        chance.shuffle(frames)
        errors: list[PorterError] = []

        def work(mine: list[tuple[bytes, bytes]]) -> None:
            try:
                for header, payload in mine:
                    receiver.frame(msgpack.unpackb(header), payload)
            except PorterError as error:
                errors.append(error)

        workers = [
            threading.Thread(target=work, args=(frames[n::threads],)) for n in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if errors:
            raise errors[0]


def picture(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything that can be seen of a tree, by path."""
    seen: dict[bytes, tuple[Any, ...]] = {}
    inodes: dict[int, bytes] = {}
    base = os.fsencode(root)
    for directory, names, files in os.walk(base):
        for path in [directory, *(os.path.join(directory, n) for n in sorted(names + files))]:
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            data: bytes = b""
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    data = file.read()
            elif kind == stat.S_IFLNK:
                data = os.readlink(path)
            first = inodes.setdefault(info.st_ino, path) if kind != stat.S_IFDIR else path
            names_ = sorted(os.listxattr(path, follow_symlinks=False))
            seen[os.path.relpath(path, base)] = (
                info.st_mode,
                info.st_uid,
                info.st_gid,
                info.st_mtime_ns,
                info.st_rdev,
                data,
                os.path.relpath(first, base) if info.st_nlink > 1 else b"",
                [(n, os.getxattr(path, n, follow_symlinks=False)) for n in names_],
            )
    return seen


def make_everything(root: Path) -> None:
    """A directory with every kind of node a container can leave in it."""
    root.chmod(0o1777)
    chance = random.Random(1)
    (root / "empty").mkdir(mode=0o750)
    (root / "small").write_bytes(b"small")
    (root / "nothing").touch()
    (root / "large").write_bytes(chance.randbytes(5_000_001))
    (root / "text").write_bytes(b"the same again, " * 400_000)
    with (root / "sparse").open("wb") as sparse:
        sparse.truncate(64 << 20)
        for at in (1 << 20, 40 << 20):
            sparse.seek(at)
            sparse.write(b"island")
    with (root / "hole").open("wb") as hole:
        hole.truncate(10 << 20)
    (root / "zeros").write_bytes(bytes(3_000_000))
    deep = root / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")
    os.link(root / "large", deep / "large-again")
    os.link(root / "small", root / "small-again")
    (root / "link").symlink_to("a/b/c/file")
    (root / "dangling").symlink_to("/does/not/exist")
    os.link(root / "link", root / "link-again", follow_symlinks=False)
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "deleted", stat.S_IFCHR | 0o000, 0)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    (Path(os.fsdecode(os.fsencode(root) + b"/not-\xff-utf8"))).write_bytes(b"bytes")
    program = root / "program"
    program.write_bytes(b"#!")
    os.chown(program, 999, 1000)
    program.chmod(0o6755)
    os.setxattr(program, "security.capability", bytes.fromhex("0100000200040000" + "00" * 12))
    os.setxattr(root / "empty", "trusted.overlay.opaque", b"y")
    os.setxattr(root / "small", "user.note", b"\0bytes\xff")
    os.setxattr(root / "dangling", "trusted.note", b"on a link", follow_symlinks=False)
    os.setxattr(root, "user.root", b"yes")
    os.chown(root / "link", 5, 6, follow_symlinks=False)
    os.chown(root / "a", 7, 8)
    (root / "a").chmod(0o500)
    for number, name in enumerate(sorted(os.listdir(os.fsencode(root)))):
        at = 10**18 + number * 1_234_567_891
        os.utime(os.fsencode(root) + b"/" + name, ns=(at, at), follow_symlinks=False)
    os.utime(root, ns=(10**18, 10**18))


@pytest.fixture(params=range(len(SENDERS)))
def sender(request: pytest.FixtureRequest) -> Sender:
    return SENDERS[request.param]()


class Pair:
    """A source with images and one volume, and an empty target."""

    def __init__(self, tmp: Path, make: Callable[[Path, tuple[Tree, ...]], Receiver]) -> None:
        self.images, self.volume = tmp / "images", tmp / "volume"
        self.new_images, self.new_volume = tmp / "new-images", tmp / "new-volume"
        for path in (self.images, self.volume, self.new_images, self.new_volume):
            path.mkdir()
        self.trees = (Tree("volume:data", self.volume),)
        self.frames = Stored()
        self._make = make

    def send(self, sender: Sender, dump: Callable[[], None] = lambda: None) -> Manifest:
        return sender.send(dump, self.images, self.trees, self.frames, lambda done: None)

    def receive(self, manifest: Manifest) -> str:
        receiver = self._make(self.new_images, (Tree("volume:data", self.new_volume),))
        self.frames.deliver(receiver)
        return receiver.finish(manifest)


@pytest.fixture(params=range(len(RECEIVERS)))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    return Pair(tmp_path, RECEIVERS[request.param])


def test_a_tree_of_everything_arrives_as_it_was(sender: Sender, pair: Pair) -> None:
    make_everything(pair.volume)
    (pair.new_volume / "small").mkdir()
    (pair.new_volume / "small" / "stale").touch()
    manifest = pair.send(sender)
    assert pair.receive(manifest) == manifest.digest
    assert picture(pair.new_volume) == picture(pair.volume)
    for name in ("sparse", "hole", "zeros"):
        assert (pair.new_volume / name).stat().st_blocks < 1000, f"{name} has lost its holes"
    assert manifest.file_bytes < 20 << 20


def test_a_second_attempt_over_the_first_arrives_too(sender: Sender, pair: Pair) -> None:
    make_everything(pair.volume)
    pair.receive(pair.send(sender))
    (pair.volume / "large").unlink()
    (pair.volume / "large").mkdir()
    (pair.volume / "empty").rmdir()
    (pair.volume / "empty").symlink_to("a")
    pair.frames = Stored()
    manifest = pair.send(sender)
    assert pair.receive(manifest) == manifest.digest
    assert picture(pair.new_volume) == picture(pair.volume)


def test_many_small_files_take_few_frames(sender: Sender, pair: Pair) -> None:
    for number in range(1000):
        directory = pair.volume / f"{number % 30}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number}").write_bytes(b"%d" % number * 400)
    manifest = pair.send(sender)
    assert manifest.chunks < 20
    pair.receive(manifest)
    assert picture(pair.new_volume) == picture(pair.volume)


def test_images_are_sent_while_they_are_written(sender: Sender, pair: Pair) -> None:
    pages = random.Random(2).randbytes(9_000_123)
    shipped_meanwhile = threading.Event()

    def dump() -> None:
        (pair.images / "inventory.img").write_bytes(b"first version")
        with (pair.images / "pages-1.img").open("wb", buffering=0) as file:
            for at in range(0, len(pages), 1_000_000):
                file.write(pages[at : at + 1_000_000])
        assert shipped_meanwhile.wait(20)
        (pair.images / "inventory.img").write_bytes(b"last version")
        (pair.images / "pages-2.img").write_bytes(b"late")
        (pair.images / "empty.img").touch()
        (pair.images / "descriptors.json").write_text("[]")
        (pair.images / "dump.log").write_text("not sent")
        (pair.images / "stats-dump").write_text("not sent")
        os.mkfifo(pair.images / "fifo")
        (pair.images / "porter.gate").mkdir()

    def progress(done: int) -> None:
        if done > 3_000_000:
            shipped_meanwhile.set()

    manifest = sender.send(dump, pair.images, (), pair.frames, progress)
    pair.receive(manifest)
    got = {path.name: path.read_bytes() for path in pair.new_images.iterdir()}
    assert got == {
        "inventory.img": b"last version",
        "pages-1.img": pages,
        "pages-2.img": b"late",
        "empty.img": b"",
        "descriptors.json": b"[]",
    }
    assert manifest.memory_bytes >= len(pages)
    assert manifest.wire_bytes >= sum(len(payload) for _, payload in pair.frames.kept)


def test_a_failed_dump_is_what_the_caller_hears(sender: Sender, pair: Pair) -> None:
    make_everything(pair.volume)

    def dump() -> None:
        (pair.images / "pages-1.img").write_bytes(bytes(10_000_000))
        raise Unsupported("cannot dump: io_uring is in use")

    with pytest.raises(Unsupported, match="io_uring"):
        pair.send(sender, dump)


def test_a_broken_link_ends_the_sending_but_not_before_the_dump(sender: Sender, pair: Pair) -> None:
    make_everything(pair.volume)
    pair.frames.fail_after = 2
    ended = threading.Event()

    def dump() -> None:
        with (pair.images / "pages-1.img").open("wb") as file:
            for _ in range(30):
                file.write(os.urandom(1_000_000))
        ended.set()

    with pytest.raises(Transient, match="the link is down"):
        pair.send(sender, dump)
    assert ended.is_set()


def test_a_missing_or_changed_frame_is_noticed(sender: Sender, pair: Pair) -> None:
    make_everything(pair.volume)
    manifest = pair.send(sender)
    lost = pair.frames.kept.pop(1)
    # Depending on which came second, what builds upon it is noticed first.
    with pytest.raises(Permanent, match=r"frames came of|cannot write a frame"):
        pair.receive(manifest)
    header = msgpack.unpackb(lost[0])
    flipped = bytes([lost[1][0] ^ 1]) + lost[1][1:] if lost[1] else b"x"
    pair.frames.kept.append((msgpack.packb(header), flipped))
    with pytest.raises(Permanent, match="cannot accept a frame"):
        pair.receive(manifest)


def test_a_device_node_is_refused_by_name(sender: Sender, pair: Pair) -> None:
    os.mknod(pair.volume / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 99))
    with pytest.raises(Unsupported, match="device node 'disk'"):
        pair.send(sender)


def test_no_thread_and_no_descriptor_is_left(sender: Sender, pair: Pair) -> None:
    make_everything(pair.volume)
    gc.collect()  # earlier tests' leavings would go meanwhile
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")))
    pair.receive(pair.send(sender))
    pair.frames.fail_after = 0
    with pytest.raises(Transient):
        pair.send(sender)
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
