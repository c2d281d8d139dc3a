"""Checkpoints in a store: what comes out is what went in, or a clear error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from porter.domain.errors import Conflict, Denied, Invalid, NotFound, Permanent, Transient
from porter.store import model
from porter.store.base import Blob
from porter.store.catalog import State, finish_removals, list_checkpoints, remove, rewrap
from porter.store.crypt import SALT
from porter.store.memory import MemoryBlobs
from porter.store.model import PART
from porter.store.reader import CheckpointReader
from porter.store.writer import CheckpointWriter
from tests.unit.store.hosts import Host, content, make_host

SIZE = 3 * PART + 12_345


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return make_host(tmp_path)


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


def write(blobs: MemoryBlobs, host: Host, folder: Path, size: int = SIZE, name: str = "c") -> str:
    with CheckpointWriter(blobs, name, [host.certificate], folder) as writer:
        writer.layer("memory", content(size))
        writer.layer("files", [b"hello ", b"", b"world"])
        writer.layer("empty", [])
        writer.close({"image": "redis", "n": 3})
        return writer.identity


def read(blobs: MemoryBlobs, host: Host, layer: str = "memory", **more: float) -> bytes:
    with CheckpointReader(blobs, "c", host.key, patience=more.get("patience", 0.2)) as reader:
        return b"".join(reader.read(layer))


def parts(blobs: MemoryBlobs) -> list[str]:
    return [one.key for one in blobs.list("data/c/parts/")]


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, SIZE])
def test_what_goes_in_comes_out(blobs: MemoryBlobs, host: Host, tmp_path: Path, size: int) -> None:
    identity = write(blobs, host, tmp_path, size)
    whole = b"".join(content(size))
    with CheckpointReader(blobs, "c", host.pem, identity) as reader:
        assert b"".join(reader.read("memory")) == whole
        assert b"".join(reader.read("files")) == b"hello world"
        assert b"".join(reader.read("empty")) == b""
        assert reader.meta == {"image": "redis", "n": 3}
        assert [one.name for one in reader.layers()] == ["memory", "files", "empty"]
        assert reader.layers()[0].digest == blake3(whole).hexdigest()
        assert list(reader.follow()) == ["memory", "files", "empty"]
        with pytest.raises(NotFound):
            next(reader.read("no such layer"))
    assert not (tmp_path / "c.journal").exists()


def test_the_store_learns_nothing(blobs: MemoryBlobs, host: Host, tmp_path: Path) -> None:
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        writer.layer("layer-name", [b"top secret" * 1000])
        writer.close({"meta": "secret too"})
    everything = b"".join(blobs.blobs.values()) + "".join(blobs.blobs).encode()
    for word in (b"secret", b"layer-name"):
        assert word not in everything


def test_the_same_content_twice_is_never_the_same_bytes(
    blobs: MemoryBlobs, host: Host, tmp_path: Path
) -> None:
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        writer.layer("a", [bytes(PART), bytes(PART)])
        writer.layer("b", [bytes(PART), bytes(PART)])
    assert len(parts(blobs)) == 4


def test_parts_are_named_by_their_bytes_and_compressed(
    blobs: MemoryBlobs, host: Host, tmp_path: Path
) -> None:
    write(blobs, host, tmp_path)
    for key in parts(blobs):
        assert key.rpartition("/")[2] == blake3(blobs.get(key)).hexdigest()
    assert sum(len(blobs.get(key)) for key in parts(blobs)) < SIZE * 0.5


def test_another_host_cannot_read_until_it_may(
    blobs: MemoryBlobs, host: Host, tmp_path: Path
) -> None:
    write(blobs, host, tmp_path)
    other = make_host(tmp_path, "other")
    before = dict(blobs.blobs)
    with pytest.raises(NotFound):
        read(blobs, other)
    rewrap(blobs, "c", host.key, [other.certificate])
    assert read(blobs, other) == b"".join(content(SIZE))
    changed = {key for key in blobs.blobs if blobs.blobs[key] != before.get(key)}
    assert len(changed) == 1
    # A key wrapped for one host is of no use to another, nor to another checkpoint.
    (mine,) = changed
    theirs = next(key for key in before if "/keys/" in key)
    blobs.put(mine, before[theirs])
    with pytest.raises(Denied):
        read(blobs, other)
    blobs.put(theirs.replace("catalog/c/", "catalog/d/"), before[theirs])
    with pytest.raises(Denied):
        CheckpointReader(blobs, "d", host.key)


def test_two_recipients(blobs: MemoryBlobs, host: Host, tmp_path: Path) -> None:
    other = make_host(tmp_path, "other")
    with CheckpointWriter(blobs, "c", [host.certificate, other.certificate], tmp_path) as writer:
        writer.layer("memory", [b"x"])
        writer.close()
    assert read(blobs, host) == read(blobs, other) == b"x"


def test_who_has_no_certificate_is_refused(blobs: MemoryBlobs, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        CheckpointWriter(blobs, "c", ["no certificate"], tmp_path)


@pytest.mark.parametrize("what", ["turned", "cut", "longer", "empty", "swapped", "lost"])
def test_other_parts_are_caught(blobs: MemoryBlobs, host: Host, tmp_path: Path, what: str) -> None:
    write(blobs, host, tmp_path)
    first, second = parts(blobs)[:2]
    data = blobs.blobs[first]
    if what == "lost":
        del blobs.blobs[first]
    else:
        blobs.blobs[first] = {
            "turned": data[:20] + bytes([data[20] ^ 1]) + data[21:],
            "cut": data[:-1],
            "longer": data + b"\0",
            "empty": b"",
            "swapped": blobs.blobs[second],
        }[what]
    with pytest.raises(Permanent, match=r"cannot read part \d of"):
        [read(blobs, host, layer) for layer in ("memory", "files", "empty")]


@pytest.mark.parametrize("what", ["catalog/c/manifest", "data/c/index/00000000"])
@pytest.mark.parametrize("how", ["turned", "cut", "empty", "another's"])
def test_other_words_are_caught(
    blobs: MemoryBlobs, host: Host, tmp_path: Path, what: str, how: str
) -> None:
    write(blobs, host, tmp_path)
    write(blobs, host, tmp_path, name="d")
    data = blobs.blobs[what]
    blobs.blobs[what] = {
        "turned": data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "cut": data[:-1],
        "empty": b"",
        "another's": blobs.blobs[what.replace("/c/", "/d/")],
    }[how]
    with pytest.raises(Permanent, match="cannot open"):
        with CheckpointReader(blobs, "c", host.key, patience=0.2) as reader:
            reader.layers()


def test_a_lost_piece_of_the_index_is_noticed(
    blobs: MemoryBlobs, host: Host, tmp_path: Path
) -> None:
    write(blobs, host, tmp_path)
    last = [one.key for one in blobs.list("data/c/index/")][-1]
    del blobs.blobs[last]
    with pytest.raises(Permanent, match="the store lost piece"):
        read(blobs, host, "empty")


def test_another_checkpoint_of_the_name_is_noticed(
    blobs: MemoryBlobs, host: Host, tmp_path: Path
) -> None:
    identity = write(blobs, host, tmp_path)
    CheckpointReader(blobs, "c", host.key, identity)
    remove(blobs, "c")
    assert write(blobs, host, tmp_path) != identity
    with pytest.raises(Denied, match="another checkpoint"):
        CheckpointReader(blobs, "c", host.key, identity)


def test_an_unfinished_checkpoint_is_none(blobs: MemoryBlobs, host: Host, tmp_path: Path) -> None:
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        writer.layer("memory", [b"x"])
    with CheckpointReader(blobs, "c", host.key, patience=0.1) as reader:
        assert b"".join(reader.read("memory")) == b"x"
        with pytest.raises(Transient, match="nothing new"):
            reader.layers()
    assert [one.state for one in list_checkpoints(blobs)] == [State.OPEN]


def test_a_reader_follows_the_writer(blobs: MemoryBlobs, host: Host, tmp_path: Path) -> None:
    """The writer may go on only when the reader has what was written so far."""
    seen, step = threading.Semaphore(0), list(content(6 * PART, piece=PART))

    def slowly() -> Iterator[bytes]:
        for number, piece in enumerate(step):
            yield piece
            # The cutter holds one part back: it may be the last.
            if 1 <= number < 5:
                assert seen.acquire(timeout=20), "the reader saw nothing"

    got: list[bytes] = []

    def reading() -> None:
        with CheckpointReader(blobs, "c", host.key, patience=20) as reader:
            for name in reader.follow():
                for piece in reader.read(name):
                    got.append(piece)
                    seen.release()

    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        thread = threading.Thread(target=reading)
        thread.start()
        writer.layer("memory", slowly())
        writer.close()
        thread.join(20)
    assert b"".join(got) == b"".join(step)


class Falters(MemoryBlobs):
    """A store whose every seventh call fails, and that breaks for good after some parts."""

    def __init__(self, breaks: int | None = None) -> None:
        super().__init__()
        self._calls = 0
        self.left = breaks
        self.puts: list[str] = []

    def put(self, key: str, data: bytes) -> None:
        self._calls += 1
        if self._calls % 7 == 0:
            raise Transient("cannot put: try again")
        if self.left is not None and "/parts/" in key:
            self.left -= 1
            if self.left < 0:
                raise Permanent("cannot put: broken")
        super().put(key, data)
        self.puts.append(key)

    def get(self, key: str) -> bytes:
        self._calls += 1
        if self._calls % 7 == 0:
            raise Transient("cannot get: try again")
        return super().get(key)


def test_a_faltering_store_is_asked_again(host: Host, tmp_path: Path) -> None:
    blobs = Falters()
    write(blobs, host, tmp_path)
    assert read(blobs, host, patience=5) == b"".join(content(SIZE))


@pytest.mark.parametrize("broken_after", [0, 1, 4, 7, 10])
def test_a_writer_goes_on_where_it_stopped(host: Host, tmp_path: Path, broken_after: int) -> None:
    size = 10 * PART + 1
    blobs = Falters(broken_after)
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        with pytest.raises(Permanent, match="broken"):
            writer.layer("memory", content(size))
    there = set(parts(blobs))
    salts = {blobs.blobs[key][:SALT] for key in there}
    blobs.left = None
    blobs.puts.clear()
    write(blobs, host, tmp_path, size)
    assert not there & set(blobs.puts), "a part was sent again"
    # Another key than the first run's: no nonce is used twice, whatever the content.
    later = {blobs.blobs[key][:SALT] for key in set(parts(blobs)) - there}
    assert later
    assert not salts & later
    assert read(blobs, host, patience=5) == b"".join(content(size))


def test_a_resumed_layer_must_be_the_same(host: Host, tmp_path: Path) -> None:
    blobs = Falters(4)
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        with pytest.raises(Permanent):
            writer.layer("memory", content(10 * PART))
    blobs.left = None
    for other in (content(10 * PART, 1), content(PART)):
        with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
            with pytest.raises(Conflict, match="has changed"):
                writer.layer("memory", other)
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        with pytest.raises(Conflict, match="not written yet"):
            writer.close()


@pytest.mark.parametrize("how", ["lost", "cut", "turned"])
def test_what_the_store_lost_meanwhile_is_noticed(host: Host, tmp_path: Path, how: str) -> None:
    blobs = Falters()
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        writer.layer("memory", content(2 * PART))
    key = parts(blobs)[0]
    data = blobs.blobs.pop(key)
    if how != "lost":
        blobs.blobs[key] = data[:-1] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(Permanent, match="the store lost or changed"):
        CheckpointWriter(blobs, "c", [host.certificate], tmp_path)


def test_a_torn_journal_is_read_as_far_as_it_goes(host: Host, tmp_path: Path) -> None:
    blobs = MemoryBlobs()
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        writer.layer("memory", content(2 * PART))
    journal = tmp_path / "c.journal"
    assert journal.stat().st_mode & 0o077 == 0
    journal.write_bytes(journal.read_bytes() + b"\0\0\0\x09half a rec")
    write(blobs, host, tmp_path, 2 * PART)
    assert read(blobs, host) == b"".join(content(2 * PART))


def test_one_writer_at_a_time(blobs: MemoryBlobs, host: Host, tmp_path: Path) -> None:
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path / "a"):
        for folder, why in (("a", "another writer"), ("b", "has a checkpoint")):
            with pytest.raises(Conflict, match=why):
                CheckpointWriter(blobs, "c", [host.certificate], tmp_path / folder)


def test_layers_in_parallel(blobs: MemoryBlobs, host: Host, tmp_path: Path) -> None:
    with CheckpointWriter(blobs, "c", [host.certificate], tmp_path) as writer:
        threads = [
            threading.Thread(target=writer.layer, args=(f"l{n}", content(2 * PART + n, n)))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        writer.close()
    for n in range(4):
        assert read(blobs, host, f"l{n}") == b"".join(content(2 * PART + n, n))


@pytest.mark.parametrize("left", ["nothing", "half", "longer", "damaged", "whole", "other"])
def test_a_reader_keeps_what_it_has(
    blobs: MemoryBlobs, host: Host, tmp_path: Path, left: str
) -> None:
    write(blobs, host, tmp_path)
    whole = b"".join(content(SIZE))
    path = tmp_path / "saved"
    damaged = whole[: 2 * PART + 5] + b"?" + whole[2 * PART + 6 :]
    path.write_bytes(
        {
            "nothing": b"",
            "half": whole[: PART + 100],
            "longer": whole + b"more",
            "damaged": damaged,
            "whole": whole,
            "other": bytes(SIZE),
        }[left]
    )
    got: list[str] = []

    class Counting(MemoryBlobs):
        def get(self, key: str) -> bytes:
            got.append(key)
            return super().get(key)

    counting = Counting()
    counting.blobs = blobs.blobs
    with CheckpointReader(counting, "c", host.key, patience=1) as reader:
        info = reader.save("memory", path)
    assert path.read_bytes() == whole
    assert info.digest == blake3(whole).hexdigest()
    fetched = sum("/parts/" in key for key in got)
    wanted = {"nothing": 4, "half": 3, "longer": 1, "damaged": 2, "whole": 0, "other": 4}
    assert fetched == wanted[left]


class Stops(MemoryBlobs):
    def __init__(self, removals: int) -> None:
        super().__init__()
        self.removals = removals

    def remove(self, key: str) -> None:
        self.removals -= 1
        if self.removals < 0:
            raise Permanent("cannot remove: stopped")
        super().remove(key)


@pytest.mark.parametrize("removals", range(9))
def test_an_interrupted_removal_is_finished_next_time(
    host: Host, tmp_path: Path, removals: int
) -> None:
    blobs = Stops(removals)
    write(blobs, host, tmp_path)
    blobs.put("data/other/parts/1", b"not ours")
    with pytest.raises(Permanent):
        remove(blobs, "c")
    assert [one.state for one in list_checkpoints(blobs)] == [State.REMOVING]
    if removals:
        assert model.manifest_key("c") not in blobs.blobs
        with pytest.raises((Transient, Permanent, NotFound)):
            CheckpointReader(blobs, "c", host.key, patience=0.05).layers()
    blobs.removals = 1000
    assert finish_removals(blobs) == ["c"]
    assert list(blobs.list("")) == [Blob("data/other/parts/1", 8)]
    remove(blobs, "c")
