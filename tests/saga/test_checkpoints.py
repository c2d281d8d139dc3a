"""Kept checkpoints with simulated hosts: workers die at every write, agents and hosts at every
step, messages get lost. It never runs twice, and nothing stays busy for ever."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from porter.db.base import CheckpointChange, CheckpointClaim, CheckpointRecord, CheckpointState
from porter.db.checkpoints import AT_WORK, Checkpoints
from porter.db.listing import Listing
from porter.db.registry import Identity
from porter.db.rows import new_id
from porter.db.stores import Stores
from porter.domain.errors import Conflict, NotFound, Permanent, PorterError
from porter.domain.handover import Source, Target
from porter.domain.workload import Image
from porter.migrate.checkpoints import Keeper
from porter.migrate.custody import LIST, can_read, check_home, helper_for, may
from porter.protocol import codec
from porter.protocol.checkpoints import Checkpointed, Restored, Rewrapped, Vacated
from porter.protocol.messages import Command, HandoverState, Kind, Result
from tests.saga.simulation import Crash, SimHost, facts
from tests.saga.world import SWEEP, Died, World, fresh_database

READY, FAILED = CheckpointState.READY, CheckpointState.FAILED


@dataclass
class KeepingHost(SimHost):
    """What a real agent answers to the commands about kept checkpoints."""

    put: Callable[[str], None] = lambda key: None
    dying: set[Kind] = field(default_factory=set)
    """Its agent dies in the middle of these, once."""
    takes: set[str] = field(default_factory=set)
    """Durable: checkpoints that it has begun."""
    restores: dict[str, str] = field(default_factory=dict)
    """Durable: restore -> workload."""
    loses: bool = False
    """Tasks that it restores end behind the gate."""
    readable: set[str] = field(default_factory=set)

    def _die_in(self, kind: Kind) -> None:
        if kind in self.dying:
            self.dying.discard(kind)
            raise Crash(kind)

    def _run(self, command: Command) -> object:
        if command.kind in self.fail:
            raise self.fail[command.kind]
        payload = command.payload
        match command.kind:
            case Kind.CHECKPOINT:
                return self._take(payload["checkpoint"], payload["workload"])
            case Kind.VACATE:
                here = payload["workload"] in self.running
                return Vacated(("running",) if here else ())
            case Kind.REWRAP:
                self._die_in(Kind.REWRAP)
                return Rewrapped(len(payload["recipients"]))
            case Kind.RESTORE:
                return self._restore(payload["restore"], payload["workload"])
            case Kind.OPEN:
                return self._open(payload["migration"])
        return super()._run(command)

    def _take(self, checkpoint: str, workload: str) -> Checkpointed:
        if checkpoint in self.takes:
            raise Permanent("cannot finish the checkpoint: the agent was restarted", "make another")
        if not self.runs(workload):
            raise NotFound(f"cannot take a checkpoint of {workload}: it is not here")
        self.takes.add(checkpoint)
        self.put(f"data/{checkpoint}/parts/1")
        self._die_in(Kind.CHECKPOINT)
        self.put(f"catalog/{checkpoint}/manifest")
        image = Image("sha256:1", ("redis",), (), 1)
        return Checkpointed("identity", "digest", 5.0, 1.0, 1, 1, 2, 1, image, "10.77.1.2")

    def _restore(self, restore: str, workload: str) -> Restored:
        if restore in self.restores:
            if self.targets[restore] is Target.ACCEPTED:
                return Restored(f"c-{restore}", workload, "10.77.1.2", "digest")
            self.targets[restore] = Target.REFUSED
            raise Permanent("cannot restore: the agent was restarted on the way")
        if self.targets.get(restore) is Target.REFUSED:
            raise Permanent("cannot restore: it was refused")
        self.restores[restore] = self.workload_of[restore] = workload
        self.targets[restore] = Target.RESERVED
        self._die_in(Kind.RESTORE)
        self.targets[restore] = Target.ACCEPTED
        return Restored(f"c-{restore}", workload, "10.77.1.2", "digest")

    def _open(self, restore: str) -> HandoverState:
        self._die_in(Kind.OPEN)
        if self.loses and self.targets[restore] is Target.ACCEPTED:
            self.targets[restore] = Target.RUNNING
            return HandoverState("target", Target.RUNNING, "tasks lost: criu died", lost=True)
        self._hear_source(restore, Source.HANDED_OVER)
        return self._state(restore)

    def left(self) -> list[str]:
        """Restores that hold something here and are not running."""
        return [
            one for one in self.restores if self.targets[one] in (Target.RESERVED, Target.ACCEPTED)
        ]


class MortalBook:
    """A book whose user dies at a chosen call: around the claim or around the outcome."""

    def __init__(self, book: Checkpoints) -> None:
        self._book = book
        self.calls = 0
        self.die_at: tuple[int, str] | None = None

    def _die(self, where: str) -> None:
        if self.die_at == (self.calls, where):
            self.die_at = None
            raise Died(where)

    def claim(self, checkpoint: str, now: float, lease: float) -> CheckpointClaim | None:
        claim = self._book.claim(checkpoint, now, lease)
        self._die("after A")
        return claim

    def apply(self, claim: CheckpointClaim, change: CheckpointChange) -> bool | None:
        self._die("before B")
        news = self._book.apply(claim, change)
        try:
            self._die("after B")
        finally:
            self.calls += 1
        return news

    def runnable(self, now: float, limit: int = 200) -> list[str]:
        return self._book.runnable(now, limit)


class KeepWorld(World):
    """A world that keeps checkpoints in a directory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.book = Checkpoints(self.database)
        self.mortal = MortalBook(self.book)
        self.due: list[str] = []
        depots = self.machines.depots
        self.keeper = Keeper(self.mortal, depots, lambda: self.now, self._enqueue_checkpoint)

    def _enqueue_checkpoint(self, checkpoint: str) -> None:
        for _ in range(2 if self.rng.random() < self.double else 1):
            if self.rng.random() >= self.loss:
                self.due.append(checkpoint)

    def add_store(self, path: Path) -> None:
        book = self.machines.depots._book
        book.add("shelf", f"file://{path}", {"durable": "no"}, "", self.now)  # type: ignore[attr-defined]
        self.store = self.machines.depots.open("shelf")

    def blobs(self) -> list[str]:
        return [blob.key for blob in self.store.list("")]

    def keeping(self, name: str) -> KeepingHost:
        host_id = f"h-{name}"
        identity = Identity("1", "1", f"certificate of {name}")
        self.registry.enrol(host_id, name, "lab", identity, facts(name), self.now)
        put = lambda key: self.store.put(key, b"sealed")  # noqa: E731
        sim = KeepingHost(host_id, name, self.hosts, self._linked, put=put)
        self.hosts[host_id] = sim
        self.resume.add(host_id)
        return sim

    def tick(self) -> None:
        if self.now - self.swept >= SWEEP - 0.5:
            self.keeper.sweep()
        super().tick()
        pending, self.due = self.due, []
        for checkpoint in pending:
            try:
                self.keeper.advance(checkpoint)
            except Died:
                self.deaths += 1

    def _report(self, host: SimHost, command: Command, result: Result) -> None:
        try:
            super()._report(host, command, result)
        except NotFound:
            return  # nobody waits for it any more
        checkpoint = self.book.wake(command.id, self.now)
        if checkpoint is not None:
            self._enqueue_checkpoint(checkpoint)

    # requests

    def take(self, workload: str, *readers: str) -> str:
        found, host = self.moves.source(workload)
        others = [self.registry.host(name) for name in readers]
        made = self.book.create(found, host, "shelf", [host, *others], self.now)
        self._enqueue_checkpoint(made)
        return made

    def restore(self, checkpoint: str, to: str) -> None:
        record, target = self.book.get(checkpoint), self.registry.host(to)
        home = self.book.home(record.workload)
        last = None if home is None or home.host is None else self.registry.host(home.host)
        check_home(home, last, self.now)
        if not can_read(record, target):
            helper_for(record, self.registry.hosts(), self.now)
        task = {"key": new_id("t"), "restore": new_id("r")}
        task |= {"target": target.id, "target_name": target.name}
        self.book.begin(checkpoint, CheckpointState.RESTORING, (READY,), task, self.now)
        self._enqueue_checkpoint(checkpoint)

    def remove(self, checkpoint: str) -> None:
        task = {"key": new_id("t")}
        since = (READY, FAILED)
        self.book.begin(checkpoint, CheckpointState.REMOVING, since, task, self.now)

    def kept(self) -> list[CheckpointRecord]:
        return Listing(self.database).checkpoints(None, 100).items

    def rest(self, checkpoint: str, seconds: float = 200.0) -> CheckpointRecord:
        """Once nothing is being done with it."""
        self.until(lambda: self.book.get(checkpoint).state not in AT_WORK, seconds)
        return self.book.get(checkpoint)

    def lose(self, host: SimHost, workload: str) -> None:
        host.running.pop(workload)
        self.until(lambda: self.gone(workload))

    def gone(self, workload: str) -> bool:
        home = self.book.home(workload)
        return home is not None and home.state == "gone"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[KeepWorld]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory)) if memory.is_dir() else tmp_path
    database = fresh_database(folder)
    world = KeepWorld(database)
    world.add_store(folder / "store")
    yield world
    database.close()
    shutil.rmtree(folder)


@pytest.fixture
def hosts(world: KeepWorld) -> tuple[KeepingHost, KeepingHost]:
    source, target = world.keeping("onprem"), world.keeping("cloud")
    world.start("shop", source)

    def never_two() -> None:
        assert len(world.runners("shop")) <= 1, "it runs twice"

    world.watch.append(never_two)
    return source, target


Hosts = tuple[KeepingHost, KeepingHost]


def test_taken_restored_removed(world: KeepWorld, hosts: Hosts) -> None:
    made = world.take("shop", "cloud")
    record = world.rest(made)
    assert record.state is READY
    assert record.result is not None
    assert world.runners("shop") == ["onprem"]
    with pytest.raises(Conflict, match="running on onprem"):
        world.restore(made, "cloud")
    world.lose(hosts[0], "shop")
    world.restore(made, "cloud")
    assert world.rest(made).task["outcome"] == "succeeded"
    assert world.runners("shop") == ["cloud"]
    found = world.found.workload("shop")
    assert (found.host, found.generation, found.state) == ("h-cloud", 2, "running")
    assert not [seen for seen in hosts[1].seen if "rewrap" in seen]
    assert world.desk.read(f"{made}.") == ()
    world.remove(made)
    world.until(lambda: not world.kept())
    assert world.blobs() == []


def story(world: KeepWorld, hosts: Hosts, died: tuple[int, str] | None) -> str:
    """Take, lose, restore where it cannot be read yet; a worker may die on the way."""
    world.mortal.die_at = died
    made = world.take("shop")
    assert world.rest(made).state is READY
    world.lose(hosts[0], "shop")
    world.restore(made, "cloud")
    assert world.rest(made).task["outcome"] == "succeeded", world.book.get(made)
    return made


@pytest.mark.parametrize("where", ["after A", "before B", "after B"])
def test_a_worker_that_dies_anywhere_changes_nothing(
    world: KeepWorld, hosts: Hosts, where: str
) -> None:
    call = 0
    while True:
        deaths = world.deaths
        made = story(world, hosts, (call, where))
        if world.deaths == deaths:
            break
        assert world.runners("shop") == ["cloud"]
        assert [one["name"] for one in world.book.get(made).recipients] == ["onprem", "cloud"]
        world.lose(hosts[1], "shop")
        world.start("shop", hosts[0])
        world.until(lambda: world.runners("shop") == ["onprem"] and not world.gone("shop"))
        world.mortal.calls, call = 0, call + 1
    assert call >= 6


@pytest.mark.parametrize("seed", range(12))
def test_messages_lost_and_doubled(world: KeepWorld, hosts: Hosts, seed: int) -> None:
    world.rng.seed(seed)
    world.loss, world.double = 0.4, 0.4
    story(world, hosts, None)
    assert world.runners("shop") == ["cloud"]
    assert world.found.workload("shop").generation == 2


def test_an_agent_killed_while_it_takes_one(world: KeepWorld, hosts: Hosts) -> None:
    hosts[0].dying.add(Kind.CHECKPOINT)
    made = world.take("shop", "cloud")
    world.until(lambda: not hosts[0].alive)
    assert world.blobs() != []
    world.revive(hosts[0])
    record = world.rest(made)
    assert record.state is FAILED
    assert "restarted" in record.reason
    assert world.blobs() == []
    assert world.rest(world.take("shop")).state is READY


def test_a_host_that_never_comes_back(world: KeepWorld, hosts: Hosts) -> None:
    hosts[0].dying.add(Kind.CHECKPOINT)
    record = world.rest(world.take("shop", "cloud"))
    assert record.state is FAILED
    assert "went away" in record.reason
    assert world.blobs() == []
    world.remove(record.id)
    world.until(lambda: not world.kept())


@pytest.mark.parametrize("kind", [Kind.RESTORE, Kind.REWRAP])
def test_killed_before_the_commit_it_is_taken_back(
    world: KeepWorld, hosts: Hosts, kind: Kind
) -> None:
    made = world.take("shop")
    world.rest(made)
    world.lose(hosts[0], "shop")
    for host in hosts:
        host.dying.add(kind)
    world.restore(made, "cloud")
    world.until(lambda: not all(host.alive for host in hosts))
    for host in hosts:
        if not host.alive:
            world.revive(host)
    outcome = world.rest(made).task["outcome"]
    assert outcome == ("failed" if kind is Kind.RESTORE else "succeeded")
    if kind is Kind.RESTORE:
        assert world.runners("shop") == []
        assert hosts[1].left() == []
        assert world.gone("shop")
        world.restore(made, "cloud")
        assert world.rest(made).task["outcome"] == "succeeded"
    assert world.runners("shop") == ["cloud"]


def test_killed_after_the_commit_it_is_asked_until_it_runs(world: KeepWorld, hosts: Hosts) -> None:
    made = world.take("shop", "cloud")
    world.rest(made)
    world.lose(hosts[0], "shop")
    hosts[1].dying.add(Kind.OPEN)
    world.restore(made, "cloud")
    world.until(lambda: not hosts[1].alive)
    for _ in range(300):
        world.tick()
    record = world.book.get(made)
    assert record.state is CheckpointState.RESTORING, "nobody may guess"
    assert "waiting for cloud" in record.reason
    with pytest.raises(Conflict):
        world.restore(made, "onprem")
    world.revive(hosts[1])
    assert world.rest(made).task["outcome"] == "succeeded"
    assert world.runners("shop") == ["cloud"]


def test_a_target_that_went_away_before_the_commit_clears_up_later(
    world: KeepWorld, hosts: Hosts
) -> None:
    third = world.keeping("third")
    made = world.take("shop", "cloud", "third")
    world.rest(made)
    world.lose(hosts[0], "shop")
    hosts[1].dying.add(Kind.RESTORE)
    world.restore(made, "cloud")
    record = world.rest(made)
    assert record.task["outcome"] == "failed"
    assert "went away" in record.task["why"]
    world.restore(made, "third")
    assert world.rest(made).task["outcome"] == "succeeded"
    world.revive(hosts[1])
    world.until(lambda: hosts[1].left() == [])
    for _ in range(40):
        world.tick()
    assert world.runners("shop") == ["third"]
    assert third.left() == []


def test_tasks_lost_behind_the_gate(world: KeepWorld, hosts: Hosts) -> None:
    made = world.take("shop", "cloud")
    world.rest(made)
    world.lose(hosts[0], "shop")
    hosts[1].loses = True
    world.restore(made, "cloud")
    record = world.rest(made)
    assert record.task["outcome"] == "failed"
    assert "criu died" in record.task["why"]
    assert world.gone("shop")
    hosts[1].loses = False
    world.restore(made, "onprem")
    assert world.rest(made).task["outcome"] == "succeeded"
    assert world.runners("shop") == ["onprem"]
    assert world.found.workload("shop").generation == 3


def test_the_host_that_had_it_last_has_a_say(world: KeepWorld, hosts: Hosts) -> None:
    made = world.take("shop", "cloud")
    world.rest(made)
    world.lose(hosts[0], "shop")
    # Started again, and no heartbeat has told of it yet.
    world.cut_off.add(hosts[0].id)
    hosts[0].running["shop"] = "c-shop"
    world.restore(made, "cloud")
    world.cut_off.discard(hosts[0].id)
    record = world.rest(made)
    assert record.task["outcome"] == "failed"
    assert "running on onprem" in record.task["why"]
    assert world.runners("shop") == ["onprem"]
    assert hosts[1].left() == []
    hosts[0].running.clear()
    world.until(lambda: world.gone("shop"))
    world.kill(hosts[0])
    world.until(lambda: not world.registry.host("onprem").alive(world.now))
    with pytest.raises(Conflict, match="does not answer"):
        world.restore(made, "cloud")


def test_nobody_can_read_it(world: KeepWorld, hosts: Hosts) -> None:
    made = world.take("shop")
    world.rest(made)
    world.lose(hosts[0], "shop")
    world.registry.enrol(
        "h-onprem", "onprem", "lab", Identity("2", "2", "another"), facts("onprem"), world.now
    )
    with pytest.raises(Conflict, match="none of onprem is alive"):
        world.restore(made, "cloud")


def test_one_thing_at_a_time(world: KeepWorld, hosts: Hosts) -> None:
    made = world.take("shop")
    for again in (lambda: world.take("shop"), lambda: world.remove(made)):
        with pytest.raises(Conflict):
            again()
    assert world.rest(made).state is READY
    migration = world.move("shop", "cloud")
    with pytest.raises(Conflict, match=migration):
        world.take("shop")


def test_a_move_waits_for_the_checkpoint(world: KeepWorld, hosts: Hosts) -> None:
    made = world.take("shop")
    with pytest.raises(Conflict, match=made):
        world.move("shop", "cloud")
    world.until(lambda: world.book.get(made).state == READY)
    assert world.run(world.move("shop", "cloud")).migration.state == "succeeded"
    stores = Stores(world.database)
    with pytest.raises(Conflict, match=made):
        stores.remove("shelf", world.now)
    world.remove(made)
    world.until(lambda: not world.blobs())
    world.until(lambda: all(one.id != made for one in world.kept()))
    stores.remove("shelf", world.now)


def test_an_unwilling_target_says_why(world: KeepWorld, hosts: Hosts) -> None:
    made = world.take("shop", "cloud")
    world.rest(made)
    world.lose(hosts[0], "shop")
    hosts[1].fail[Kind.RESTORE] = Permanent("cannot restore shop: image-missing", "pull redis")
    world.restore(made, "cloud")
    record = world.rest(made)
    assert record.task["why"] == "cannot restore shop: image-missing; pull redis"
    assert record.state is READY
    assert world.gone("shop")


def test_who_may_do_what_in_the_store(world: KeepWorld, hosts: Hosts) -> None:
    third = world.keeping("third")
    made = world.take("shop")
    onprem, cloud = world.registry.host("onprem"), world.registry.host("cloud")

    def can(host: object, method: str, key: str) -> bool:
        return may(world.book.get(made), host, method, key)  # type: ignore[arg-type]

    part, wrapped = f"data/{made}/parts/1", f"catalog/{made}/keys/1"
    assert can(onprem, "PUT", part)
    assert can(onprem, LIST, f"catalog/{made}/")
    assert not can(onprem, "DELETE", part)
    assert not can(onprem, "PUT", "data/another/parts/1")
    assert not can(onprem, LIST, "catalog/")
    assert not can(cloud, "GET", part)
    world.rest(made)
    assert not can(onprem, "GET", part)
    world.lose(hosts[0], "shop")
    world.restore(made, "cloud")
    assert can(cloud, "GET", part)
    assert not can(cloud, "PUT", part)
    assert can(onprem, "PUT", wrapped)
    assert not can(onprem, "GET", part)
    assert not can(world.registry.host(third.id), "GET", wrapped)


def test_a_store_that_is_away_is_waited_for(
    world: KeepWorld, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.take("shop")
    world.rest(made)
    depots = world.machines.depots

    def away(name: str) -> object:
        raise PorterError(f"cannot open {name}: it is away")

    with monkeypatch.context() as patch:
        patch.setattr(depots, "open", away)
        world.remove(made)
        world.until(lambda: "it is away" in world.book.get(made).reason)
    world.until(lambda: not world.kept())
    assert world.blobs() == []


def test_payloads_are_of_the_protocol(world: KeepWorld, hosts: Hosts) -> None:
    made = story(world, hosts, None)
    taken = codec.load(Checkpointed, world.book.get(made).result)
    assert taken.address == "10.77.1.2"
