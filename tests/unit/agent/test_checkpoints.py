"""Kept checkpoints between two agents and a store in memory, killed at every record they write."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from porter.agent import checkpoint_frames, checkpoints
from porter.agent.checkpoint_frames import LayerFrames, frames_of
from porter.domain.errors import Conflict, Permanent, PorterError, Transient, Unsupported
from porter.domain.handover import Target
from porter.domain.workload import Blocker
from porter.protocol import codec
from porter.protocol.checkpoints import (
    Checkpointed,
    RestoreCheckpoint,
    Restored,
    Rewrap,
    TakeCheckpoint,
    Vacate,
    Vacated,
)
from porter.protocol.messages import HandoverState, Inspect, Kind, Progress, Query
from porter.store.base import Blobs
from porter.store.memory import MemoryBlobs
from porter.store.reader import CheckpointReader
from porter.store.writer import CheckpointWriter
from tests.unit.agent.fakes import ADDRESS, WORKLOAD, Container, Crashed
from tests.unit.agent.nodes import MEMORY, Node, Pair


def wire(node: Node, blobs: Blobs) -> None:
    """Give an agent the store, and let nothing stand in the way of a restore."""
    parts = replace(node.context.parts, blockers=lambda *_: ())
    object.__setattr__(node.context, "open_store", lambda checkpoint: blobs)
    object.__setattr__(node.context, "parts", parts)
    node.host.layers.update(("layer-a", "layer-b"))
    for one in (node.operations, node.source, node.target):
        one._parts = parts


def take(node: Node, name: str = "k1", *readers: Node) -> Checkpointed:
    certificates = tuple(one.credentials.certificate.read_text() for one in readers)
    order = TakeCheckpoint(name, WORKLOAD, certificates)
    return codec.load(Checkpointed, node.do(Kind.CHECKPOINT, order, None))


def restore(node: Node, taken: Checkpointed, name: str = "r1") -> Restored:
    order = RestoreCheckpoint(name, "k1", WORKLOAD, 2, taken.identity)
    return codec.load(Restored, node.do(Kind.RESTORE, order, None))


def state(node: Node, kind: Kind, name: str = "r1") -> HandoverState:
    return codec.load(HandoverState, node.do(kind, Query(name), None))


@pytest.fixture
def store(pair: Pair) -> MemoryBlobs:
    blobs = MemoryBlobs()
    wire(pair.a, blobs)
    wire(pair.b, blobs)
    return blobs


def nothing_left(node: Node) -> None:
    scratch = node.settings.scratch
    assert not scratch.exists() or list(scratch.iterdir()) == []
    assert node.host.twins == {}
    assert [one for one in node.context.ledger.open() if one.applied != one.state] == []


def lost(pair: Pair) -> None:
    """The workload is removed as a person would."""
    pair.a.host.containers.clear()


def test_it_runs_on_and_comes_back_elsewhere(pair: Pair, store: MemoryBlobs) -> None:
    taken = take(pair.a, "k1", pair.b)
    assert pair.assert_one_runs() == "host-a"
    assert taken.memory_bytes == len(MEMORY)
    assert 0 < taken.downtime_ms < 5000
    assert [phase.name for phase in taken.phases] == ["freeze", "dump", "resume"]
    assert taken.image.names == ("web:1",)
    assert pair.a.host.replayed == [b"a caught packet"]
    nothing_left(pair.a)
    assert not [blob for blob in store.blobs.values() if MEMORY[:24].encode() in blob]
    with CheckpointReader(store, "k1", pair.b.credentials.key.read_bytes()) as reader:
        spec = reader.meta["spec"]
    assert spec["image"]["id"] == "sha256:config"
    assert spec["image"]["layers"] == ["layer-a", "layer-b"]
    assert take(pair.a, "k1", pair.b) == taken, "asked again, it says the same"

    lost(pair)
    restored = restore(pair.b, taken)
    assert restored.digest == taken.digest
    assert pair.world.running() == [], "it waits at the gate"
    assert restore(pair.b, taken) == restored
    vacate = Vacate(WORKLOAD, ADDRESS, "127.0.0.1")
    assert codec.load(Vacated, pair.a.do(Kind.VACATE, vacate, None)).here == ()
    assert pair.a.host.yielded == {ADDRESS: "127.0.0.1"}
    for _ in range(2):
        assert state(pair.b, Kind.OPEN).state == Target.RUNNING
    assert pair.assert_one_runs() == "host-b"
    assert ADDRESS in pair.b.host.claimed
    assert pair.b.host.released == ["r1"]
    nothing_left(pair.b)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 6))
def test_killed_while_it_is_taken_it_runs_on(
    pair: Pair, store: MemoryBlobs, at: int, after: bool
) -> None:
    pair.a.journal.die_at, pair.a.journal.die_after_write = at, after
    with pytest.raises(Crashed):
        take(pair.a)
    pair.a.restart()
    wire(pair.a, store)
    pair.a.recovery.tend()
    assert pair.assert_one_runs() == "host-a"
    if at == 5 and after:
        assert take(pair.a).memory_bytes == len(MEMORY), "it was whole, and that was written down"
    elif at > 1 or after:
        with pytest.raises(Permanent, match="restarted while it was made"):
            take(pair.a)
    take(pair.a, "k2")
    assert pair.assert_one_runs() == "host-a"
    nothing_left(pair.a)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 8))
def test_killed_while_it_is_restored_it_runs_once_or_not_at_all(
    pair: Pair, store: MemoryBlobs, at: int, after: bool
) -> None:
    taken = take(pair.a, "k1", pair.b)
    lost(pair)
    pair.b.journal.die_at, pair.b.journal.die_after_write = at, after
    try:
        restore(pair.b, taken)
    except (Crashed, PorterError):
        assert pair.world.running() == []
    pair.b.restart()
    wire(pair.b, store)
    pair.b.recovery.tend()
    assert pair.world.running() == []
    known = pair.b.context.ledger.find("r1")
    if known is not None and known.state == Target.ACCEPTED:
        assert state(pair.b, Kind.OPEN).state == Target.RUNNING
        assert pair.assert_one_runs() == "host-b"
        return
    if known is not None:
        with pytest.raises(Permanent):
            restore(pair.b, taken)
    assert state(pair.b, Kind.REFUSE).state == Target.REFUSED
    assert pair.b.host.containers == {}
    nothing_left(pair.b)
    restore(pair.b, taken, "r2")
    assert state(pair.b, Kind.OPEN, "r2").state == Target.RUNNING
    assert pair.assert_one_runs() == "host-b"


def test_refused_it_leaves_nothing(pair: Pair, store: MemoryBlobs) -> None:
    taken = take(pair.a, "k1", pair.b)
    lost(pair)
    restore(pair.b, taken)
    assert state(pair.b, Kind.REFUSE).state == Target.REFUSED
    assert state(pair.b, Kind.OPEN).state == Target.REFUSED, "refused is for ever"
    assert pair.b.host.containers == {}
    nothing_left(pair.b)


def test_tasks_lost_behind_the_gate_are_removed(pair: Pair, store: MemoryBlobs) -> None:
    taken = take(pair.a, "k1", pair.b)
    lost(pair)
    restore(pair.b, taken)
    pair.b.host.fail["restored"] = Permanent("cannot restore: criu died")
    answer = state(pair.b, Kind.OPEN)
    assert answer.lost
    assert "criu died" in answer.note
    assert pair.b.host.containers == {}
    nothing_left(pair.b)


def test_what_the_target_lacks_is_said_before_anything_is_touched(
    pair: Pair, store: MemoryBlobs
) -> None:
    taken = take(pair.a, "k1", pair.b)
    lost(pair)
    pair.b.host.layers.discard("layer-b")
    with pytest.raises(Unsupported, match=r"image-missing.*lacks 1 layers of web:1") as raised:
        restore(pair.b, taken)
    assert "pull web:1" in raised.value.remedy
    pair.b.host.layers.add("layer-b")
    blocker = Blocker("cpu-features", "it lacks avx", "choose another")
    object.__setattr__(
        pair.b.context, "parts", replace(pair.b.context.parts, blockers=lambda *_: (blocker,))
    )
    with pytest.raises(Unsupported, match="cpu-features: it lacks avx"):
        restore(pair.b, taken)
    assert pair.b.context.ledger.find("r1") is None
    assert pair.b.host.containers == {}


@pytest.mark.parametrize("what", ["data", "catalog/k1/manifest", "data/k1/index"])
def test_a_spoilt_store_is_refused(pair: Pair, store: MemoryBlobs, what: str) -> None:
    taken = take(pair.a, "k1", pair.b)
    lost(pair)
    for key in [key for key in store.blobs if key.startswith(what)]:
        blob = bytearray(store.blobs[key])
        blob[-1] ^= 1
        store.blobs[key] = bytes(blob)
    with pytest.raises(Permanent):
        restore(pair.b, taken)
    assert pair.b.host.containers == {}
    nothing_left(pair.b)


def test_another_checkpoint_of_the_name_is_refused(pair: Pair, store: MemoryBlobs) -> None:
    taken = take(pair.a, "k1", pair.b)
    with pytest.raises(PorterError, match="another checkpoint of this name"):
        restore(pair.b, replace(taken, identity="0" * 64))
    assert pair.b.context.ledger.find("r1") is None


def test_a_host_reads_it_once_another_has_let_it(pair: Pair, store: MemoryBlobs) -> None:
    taken = take(pair.a)
    lost(pair)
    with pytest.raises(PorterError, match="none for this host"):
        restore(pair.b, taken)
    certificate = pair.b.credentials.certificate.read_text()
    pair.a.do(Kind.REWRAP, Rewrap("k1", (certificate,)), None)
    assert restore(pair.b, taken).address == ADDRESS


def test_a_failed_dump_lets_it_run_on(pair: Pair, store: MemoryBlobs) -> None:
    pair.a.host.fail["dump"] = Permanent("cannot dump: a device is open")
    with pytest.raises(Permanent, match="a device is open"):
        take(pair.a)
    assert pair.assert_one_runs() == "host-a"
    nothing_left(pair.a)
    assert "catalog/k1/manifest" not in store.blobs


class FullStore(MemoryBlobs):
    """Takes keys and nothing else."""

    def put(self, key: str, data: bytes) -> None:
        if "/parts/" in key:
            raise Permanent("cannot put: the store is full")
        super().put(key, data)


def test_a_store_that_fails_lets_it_run_on(pair: Pair) -> None:
    wire(pair.a, FullStore())
    with pytest.raises(Permanent, match="full"):
        take(pair.a)
    assert pair.assert_one_runs() == "host-a"
    nothing_left(pair.a)


class StuckStore(MemoryBlobs):
    """Takes nothing large until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def put(self, key: str, data: bytes) -> None:
        if "/parts/" in key:
            self.free.wait(30)
        super().put(key, data)


def test_nobody_stands_still_for_a_store_that_is_stuck(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StuckStore()
    wire(pair.a, store)
    monkeypatch.setattr(checkpoint_frames, "STALL_S", 0.1)
    monkeypatch.setattr(checkpoints, "LayerFrames", partial(LayerFrames, room=1))
    monkeypatch.setattr("porter.store.parts.PART", 8)
    thaw = pair.a.host.thaw

    def thawed(container: str) -> None:
        thaw(container)
        store.free.set()

    monkeypatch.setattr(pair.a.host, "thaw", thawed)
    with pytest.raises(Transient, match="the store took nothing"):
        take(pair.a)
    assert store.free.is_set(), "it ran again before the store moved"
    assert pair.assert_one_runs() == "host-a"
    nothing_left(pair.a)


def test_one_thing_at_a_time(pair: Pair, store: MemoryBlobs) -> None:
    order = pair.prepare()
    seen: list[PorterError] = []

    def meanwhile() -> None:
        report = pair.hand_over(order)
        assert report is not None
        seen.append(Conflict(report.reason))

    pair.a.host.before["dumping"] = meanwhile
    take(pair.a)
    assert "k1 has it frozen here" in str(seen[0])
    assert pair.assert_one_runs() == "host-a"


def test_who_has_it_says_so(pair: Pair, store: MemoryBlobs) -> None:
    vacate = Vacate(WORKLOAD, ADDRESS, "127.0.0.1")
    assert codec.load(Vacated, pair.a.do(Kind.VACATE, vacate, None)).here == ("running",)
    pair.a.host.containers["one"] = Container("one", WORKLOAD, "", tasks=False)
    assert codec.load(Vacated, pair.a.do(Kind.VACATE, vacate, None)).here == ("exited",)
    assert pair.a.host.yielded == {}


def test_a_workload_that_cannot_be_dumped_is_not_touched(
    pair: Pair, store: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = pair.a.host.inspect(WORKLOAD)
    blocked = replace(spec, blockers=(Blocker("io-uring", "it uses io_uring", "turn it off"),))
    monkeypatch.setattr(pair.a.host, "inspect", lambda name: blocked)
    assert pair.a.do(Kind.INSPECT, Inspect(WORKLOAD))["blockers"]
    with pytest.raises(Unsupported, match="io-uring"):
        take(pair.a)
    assert store.blobs == {}


def test_without_a_control_plane_there_is_no_store(pair: Pair) -> None:
    with pytest.raises(Transient, match="no control plane"):
        take(pair.a)
    assert pair.assert_one_runs() == "host-a"


# -- frames ---------------------------------------------------------------------------------


def test_frames_survive_a_layer(pair: Pair, tmp_path: Any) -> None:
    store = MemoryBlobs()
    key = pair.a.credentials.key.read_bytes()
    sent = [({"t": "chunk", "tree": "rootfs", "n": n}, bytes([n]) * (n * 997)) for n in range(200)]
    certificate = pair.a.credentials.certificate.read_text()
    with CheckpointWriter(store, "k", [certificate], tmp_path) as writer:
        frames = LayerFrames(writer, ["rootfs"], room=100_000)
        for header, payload in sent:
            frames.send(header, payload)
        with pytest.raises(Permanent, match="no tree of this workload"):
            frames.send({"tree": "other"}, b"")
        frames.finish()
        writer.close()
    with CheckpointReader(store, "k", key) as reader:
        assert {layer.name for layer in reader.layers()} == {"images", "rootfs"}
        assert list(frames_of(reader.read("rootfs"))) == sent
        assert list(frames_of(reader.read("images"))) == []


def test_frames_in_pieces_of_every_size() -> None:
    whole = b"\0\0\0\1\0\0\0\3\x80abc" * 2
    for size in range(1, len(whole) + 1):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert list(frames_of(pieces)) == [({}, b"abc")] * 2


@pytest.mark.parametrize(
    "layer",
    [
        b"\0\0",
        b"\0\0\0\1\0\0\0\3\x80ab",
        b"\xff" * 8,
        b"\0\0\0\1\0\0\0\0\x90",
        b"\0\0\0\1\0\0\0\0\xc1",
    ],
)
def test_what_is_no_frame(layer: bytes) -> None:
    with pytest.raises(Permanent):
        list(frames_of([layer]))


def test_progress_is_told(pair: Pair, store: MemoryBlobs) -> None:
    told: list[Progress] = []
    run = pair.a.operations.run

    def listening(command: Any, tell: Any) -> Any:
        return run(command, told.append)

    pair.a.operations.run = listening  # type: ignore[method-assign]
    take(pair.a)
    assert [news.phase for news in told] == ["freeze", "dump", "store"]
