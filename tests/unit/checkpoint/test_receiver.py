"""The receiver against a source that lies: nothing outside the trees is ever touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.checkpoint.base import IMAGES, Manifest
from porter.checkpoint.codec import NONE, Digest, hash_of
from porter.checkpoint.receiver import StateReceiver
from porter.checkpoint.trees import DIR, FILE, HARDLINK, SYMLINK, WHITEOUT, Node, pack_nodes
from porter.domain.container import Tree
from porter.domain.errors import Permanent, Transient

ROOT = Node(b"", DIR, 0o755, 0, 0, 10**18)


class Target:
    """A receiver, the frames it was given, and a place outside that must stay as it is."""

    def __init__(self, tmp: Path) -> None:
        self.images, self.volume, self.outside = tmp / "images", tmp / "volume", tmp / "outside"
        for path in (self.images, self.volume, self.outside):
            path.mkdir()
        (self.outside / "precious").write_text("precious")
        self.receiver = self.again()

    def again(self) -> StateReceiver:
        self.digest = Digest()
        self.receiver = StateReceiver(self.images, (Tree("volume:data", self.volume),))
        return self.receiver

    def send(self, header: dict[str, Any], payload: bytes) -> None:
        header = {"raw": len(payload), "codec": NONE, "hash": hash_of(payload)} | header
        self.receiver.frame(header, payload)
        self.digest.add(header)

    def chunk(self, path: object, data: bytes = b"evil", offset: int = 0) -> None:
        self.send({"t": "chunk", "tree": "volume:data", "path": path, "offset": offset}, data)

    def nodes(self, *nodes: Node, contents: bytes = b"") -> None:
        head = pack_nodes(list(nodes))
        self.send({"t": "nodes", "tree": "volume:data", "head": len(head)}, head + contents)

    def finish(self, **changes: Any) -> str:
        said = {"digest": self.digest.hex(), "chunks": len(self.digest)} | changes
        return self.receiver.finish(Manifest(memory_bytes=0, file_bytes=0, wire_bytes=0, **said))

    def unharmed(self) -> bool:
        return [p.name for p in self.outside.iterdir()] == ["precious"] and (
            self.outside / "precious"
        ).read_text() == "precious"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    made = Target(tmp_path)
    yield made
    made.receiver.close()
    assert made.unharmed()


@pytest.mark.parametrize(
    "path",
    [
        b"../outside/precious",
        b"a/../../outside/precious",
        b"/etc/porter-was-here",
        b"a//b",
        b"./a",
        b"a/",
        b"a\0b",
        b"a" * 5000,
        b"..",
        "text",
        None,
        7,
    ],
)
def test_paths_that_lead_out_are_refused(target: Target, path: object) -> None:
    with pytest.raises(Permanent, match="cannot accept"):
        target.chunk(path)
    with pytest.raises(Permanent, match="cannot accept"):
        target.nodes(Node(path, DIR, 0o755, 0, 0, 0))  # type: ignore[arg-type]


def test_a_symbolic_link_sent_first_is_not_followed(target: Target) -> None:
    target.nodes(
        ROOT,
        Node(b"way", SYMLINK, 0o777, 0, 0, 0, 0, os.fsencode(target.outside)),
        Node(b"file", SYMLINK, 0o777, 0, 0, 0, 0, os.fsencode(target.outside / "precious")),
    )
    for path in (b"way/precious", b"way/new", b"way/deep/new", b"file"):
        with pytest.raises(Permanent, match="symbolic link"):
            target.chunk(path)
    for bad in (
        Node(b"way/dir", WHITEOUT, 0, 0, 0, 0),
        Node(b"way/file", FILE, 0o644, 0, 0, 0, 0, b"", True),
    ):
        with pytest.raises(Permanent, match="cannot write"):
            target.nodes(bad)
    with pytest.raises(Permanent, match="a frame was refused"):
        target.finish()


@pytest.mark.parametrize(
    "node",
    [
        Node(b"way/dir", DIR, 0o755, 0, 0, 0),
        Node(b"way/precious", FILE, 0o777, 0, 0, 0, 0),
        Node(b"hard", HARDLINK, 0o644, 0, 0, 0, 0, b"way/precious"),
        Node(b"way/hard", HARDLINK, 0o644, 0, 0, 0, 0, b"file"),
        Node(b"hard", HARDLINK, 0o644, 0, 0, 0, 0, b"../outside/precious"),
        Node(b"way", DIR, 0o700, 0, 0, 0),
    ],
)
def test_what_waits_for_the_end_does_not_follow_links_either(target: Target, node: Node) -> None:
    link = Node(b"way", SYMLINK, 0o777, 0, 0, 0, 0, os.fsencode(target.outside))
    target.nodes(ROOT, link, Node(b"file", FILE, 0o644, 0, 0, 0, 1, b"", True), contents=b"x")
    target.nodes(node)
    with pytest.raises(Permanent, match="cannot"):
        target.finish()


@pytest.mark.parametrize(
    "node",
    [
        Node(b"sda", "block", 0o600, 0, 0, 0),
        Node(b"null", "char", 0o600, 0, 0, 0),
        Node(b"x", FILE, 0o200000, 0, 0, 0),
        Node(b"x", FILE, -1, 0, 0, 0),
        Node(b"x", FILE, 0o644, 2**32 - 1, 0, 0),
        Node(b"x", FILE, 0o644, 0, 0, 0, -5),
        Node(b"x", FILE, 0o644, 0, 0, 0, 9, b"", True),
        Node(b"x", DIR, 0o644, 0, 0, 0, 0, b"", True),
        Node(b"x", SYMLINK, 0o644, 0, 0, 0, 0, b"a\0b"),
        Node(b"x", FILE, 0o644, 0, 0, 0, 0, b"", False, {"user.\0": b""}),
        Node(b"x", FILE, 0o644, 0, 0, 2**63),
        Node(b"x", FILE, True, 0, 0, 0),
    ],
)
def test_malformed_nodes_are_refused(target: Target, node: Node) -> None:
    with pytest.raises(Permanent, match="cannot accept"):
        target.nodes(node)


@pytest.mark.parametrize("head", [b"\xc1", b"", b"\x93\x01", b"\x91\x91\x01", b"\x01", b"\x91\xc0"])
def test_garbage_instead_of_nodes_is_refused(target: Target, head: bytes) -> None:
    with pytest.raises(Permanent, match="cannot accept"):
        target.send({"t": "nodes", "tree": "volume:data", "head": len(head)}, head)


@pytest.mark.parametrize(
    "change",
    [
        {"tree": "volume:other"},
        {"tree": None},
        {"t": "exec"},
        {"offset": -1},
        {"offset": "0"},
        {"offset": True},
        {"raw": 5},
        {"codec": None},
        {"hash": None},
        {"hash": bytes(32)},
    ],
)
def test_malformed_headers_are_refused(target: Target, change: dict[str, Any]) -> None:
    header = {"t": "chunk", "tree": "volume:data", "path": b"a", "offset": 0}
    with pytest.raises(Permanent, match="cannot accept"):
        target.send(header | change, b"data")


def test_a_deep_tree_is_made_and_emptied_again(target: Target) -> None:
    deep = b"/".join([b"d"] * 2000)
    target.chunk(deep + b"/file", b"x")
    target.receiver.close()
    target.again()
    assert list(target.volume.iterdir()) == []


def test_stale_content_goes_and_the_gate_stays(target: Target) -> None:
    target.receiver.close()
    (target.volume / "old").mkdir()
    (target.volume / "old" / "file").write_text("stale")
    (target.volume / "way").symlink_to(target.outside)
    (target.images / "pages-1.img").write_text("stale")
    (target.images / "porter.gate").mkdir()
    (target.images / "porter.gate" / "bell").touch()
    target.again()
    target.nodes(ROOT, Node(b"new", DIR, 0o700, 0, 0, 0))
    (target.volume / "made-by-the-engine").mkdir()
    (target.volume / "new").mkdir()
    (target.volume / "new" / "made-by-the-engine").touch()
    target.finish()
    assert [str(p.relative_to(target.volume)) for p in target.volume.rglob("*")] == ["new"]
    assert [p.name for p in target.images.iterdir()] == ["porter.gate"]
    assert (target.images / "porter.gate" / "bell").exists()


def test_a_later_receiver_of_the_same_directory_takes_over(target: Target) -> None:
    first = target.receiver
    target.again()
    with pytest.raises(Transient, match="its transfer is over"):
        first.frame({"t": "chunk"}, b"")
    target.nodes(ROOT)
    target.finish()


def test_the_digest_must_be_that_of_the_source(target: Target) -> None:
    target.nodes(ROOT)
    with pytest.raises(Permanent, match="1 frames came of 2"):
        target.finish(chunks=2)
    with pytest.raises(Permanent, match="the digest is"):
        target.finish(digest="00")


def test_a_directory_nobody_spoke_of_is_an_error(target: Target) -> None:
    target.nodes(ROOT, Node(b"dir/file", FILE, 0o644, 0, 0, 0, 1, b"", True), contents=b"x")
    with pytest.raises(Permanent, match="no word of directory"):
        target.finish()


def test_a_file_can_be_shorter_than_its_chunks_and_longer(target: Target) -> None:
    target.nodes(ROOT, Node(b"short", FILE, 0o4755, 5, 6, 7, 2), Node(b"long", FILE, 0, 0, 0, 7, 9))
    target.chunk(b"short", b"12345")
    target.chunk(b"short", b"12345")
    target.chunk(b"long", b"x", offset=1)
    target.finish()
    assert (target.volume / "short").read_bytes() == b"12"
    assert (target.volume / "long").read_bytes() == b"\0x" + bytes(7)
    info = (target.volume / "short").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns) == (
        0o4755,
        5,
        6,
        7,
    )


def test_images_have_no_root_node_and_need_no_trees(tmp_path: Path) -> None:
    receiver = StateReceiver(tmp_path, ())
    digest, data = Digest(), b"pages"
    header: dict[str, Any] = {"t": "chunk", "tree": IMAGES, "path": b"pages-1.img", "offset": 3}
    header |= {"raw": len(data), "codec": NONE, "hash": hash_of(data)}
    receiver.frame(header, data)
    digest.add(header)
    head = pack_nodes([Node(b"pages-1.img", FILE, 0o600, 0, 0, 0, 8)])
    header = {"t": "nodes", "tree": IMAGES, "head": len(head), "raw": len(head)}
    header |= {"codec": NONE, "hash": hash_of(head)}
    receiver.frame(header, head)
    digest.add(header)
    assert receiver.finish(Manifest(digest.hex(), 2, 8, 0, 0)) == digest.hex()
    assert (tmp_path / "pages-1.img").read_bytes() == b"\0\0\0pages"
