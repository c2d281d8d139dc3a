"""A control plane with a hand-set clock and a lossy queue, over simulated hosts."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.db.base import Change, Claim, HostRecord, NewMigration, WorkloadRecord
from porter.db.database import Database
from porter.db.desk import Desk
from porter.db.found import Found
from porter.db.journal import Journal
from porter.db.ledger import Ledger
from porter.db.moves import Moves, Story
from porter.db.registry import Identity, Registry
from porter.db.rows import new_id
from porter.db.sites import Sites
from porter.db.stores import Stores
from porter.domain.migration import Mode
from porter.migrate.depots import Depots
from porter.migrate.engine import Engine
from porter.migrate.places import Places
from porter.migrate.plan import Options, kinds, make_steps, plan, plan_hash
from porter.migrate.ports import Machines
from porter.migrate.reaper import Reaper
from porter.protocol.messages import Command, Result
from porter.providers.base import InstanceState
from porter.providers.fake import WORLDS
from porter.providers.fake import World as Cloud
from porter.providers.registry import open_site
from porter.store.registry import open_blobs
from tests.saga.simulation import SimHost, facts
from tests.schema import upgrade

TICK = 0.5
SWEEP = 2.0
LEASE = 6.0
IDLE = 30.0


class Died(BaseException):
    """The worker was killed: nothing after this point ran."""


class MortalJournal:
    """A journal whose user dies at a chosen call: before A, after A, before B or after B."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.calls = 0
        self.die_at: tuple[int, str] | None = None

    def _die(self, where: str) -> None:
        if self.die_at == (self.calls, where):
            self.die_at = None
            raise Died(where)

    def claim(self, migration_id: str, now: float, lease: float) -> Claim | None:
        self._die("before A")
        claim = self._journal.claim(migration_id, now, lease)
        self._die("after A")
        return claim

    def renew(self, migration_id: str, token: str, until: float) -> bool:
        return self._journal.renew(migration_id, token, until)

    def apply(self, claim: Claim, change: Change) -> bool | None:
        self._die("before B")
        news = self._journal.apply(claim, change)
        try:
            self._die("after B")
        finally:
            self.calls += 1
        return news

    def runnable(self, now: float, limit: int = 200) -> list[str]:
        return self._journal.runnable(now, limit)


@dataclass
class World:
    """Everything but real processes. `tick` is half a second of its time."""

    database: Database
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    loss: float = 0.0
    double: float = 0.0
    now: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.messages: list[str] = []
        self.reaps: list[str] = []
        self.hosts: dict[str, SimHost] = {}
        self.parted: set[frozenset[str]] = set()
        self.cut_off: set[str] = set()
        self.resume: set[str] = set()
        self.journal = MortalJournal(Journal(self.database))
        self.desk = Desk(self.database)
        self.registry = Registry(self.database)
        self.found = Found(self.database)
        self.moves = Moves(self.database)
        self.ledger = Ledger(self.database)
        self.sites = Sites(self.database)
        self.places = Places(self.sites, lambda name, sealed: {}, open_site)
        machines = Machines(
            places=self.places,
            depots=Depots(Stores(self.database), lambda name, sealed: {}, open_blobs),
            ledger=self.ledger,
            invite=lambda key, host: f"join as {host.name}",
            owner="porter-test",
            agents_url="https://control",
            join_limit=60.0,
        )
        self.machines = machines
        self.clouds: dict[str, Cloud] = {}
        self.deaf: set[str] = set()
        self.hasty = False
        """Machines boot before their cloud says that they run."""
        self.engine = Engine(self.journal, self, lambda: self.now, make_steps(machines), LEASE)
        self.reaper = Reaper(self.places, self.ledger, lambda: self.now, IDLE, self.reaps.append)
        self.deaths = 0
        self.swept = self.now
        self.watch: list[Callable[[], None]] = []

    # the engine's queue

    def enqueue(self, migration_id: str) -> None:
        for _ in range(2 if self.rng.random() < self.double else 1):
            if self.rng.random() >= self.loss:
                self.messages.append(migration_id)

    # hosts

    def cloud(self, site: str) -> Cloud:
        """A site whose machines join as soon as they run, unless `deaf` names them by type."""
        settings = {"world": new_id("world")}
        self.sites.add(site, "fake", "", settings, "", self.now)
        self.places.open(site)
        self.clouds[site] = WORLDS[settings["world"]]
        return self.clouds[site]

    def _boot_machines(self) -> None:
        running = {
            one.name: one
            for cloud in self.clouds.values()
            for one in cloud.instances.values()
            if one.state is InstanceState.RUNNING or self.hasty
        }
        here = {host.name: host for host in self.hosts.values() if host.made}
        for name in running.keys() - here.keys():
            if running[name].instance_type not in self.deaf:
                expected = self.registry.host(name)
                self.host(name, expected.site, expected.id).made = True
        for name in here.keys() - running.keys():
            self.cut_off.add(here[name].id)
            del self.hosts[here[name].id]

    def host(self, name: str, site: str = "lab", host_id: str = "") -> SimHost:
        host_id = host_id or f"h-{name}"
        self.registry.enrol(host_id, name, site, Identity("1", "1"), facts(name), self.now)
        sim = SimHost(host_id, name, self.hosts, self._linked)
        self.hosts[host_id] = sim
        self.resume.add(host_id)
        return sim

    def _linked(self, a: str, b: str) -> bool:
        return frozenset((a, b)) not in self.parted

    def start(self, workload: str, host: SimHost) -> None:
        host.running[workload] = f"c-{workload}"
        self.beat()

    def kill(self, host: SimHost) -> None:
        host.alive = False

    def revive(self, host: SimHost) -> None:
        host.restart()
        self.resume.add(host.id)

    def beat(self) -> None:
        for host in self.hosts.values():
            if host.alive and host.id not in self.cut_off:
                self.found.heartbeat(self.registry.host(host.id), host.heartbeat(), self.now)

    # time

    def tick(self) -> None:
        self.now += TICK
        if self.now - self.swept >= SWEEP:
            self.swept = self.now
            self.engine.sweep()
            self.reaper.sweep()
        self._boot_machines()
        self.beat()
        self._work()
        self._reap()
        for host in list(self.hosts.values()):
            self._serve(host)
            for look in self.watch:
                look()

    def _work(self) -> None:
        self.rng.shuffle(self.messages)
        pending, self.messages = self.messages, []
        for message in pending:
            try:
                self.engine.advance(message)
            except Died:
                self.deaths += 1

    def _reap(self) -> None:
        pending, self.reaps[:] = list(self.reaps), []
        for key in pending:
            self.reaper.reap(key)

    def _serve(self, host: SimHost) -> None:
        if not host.alive or host.id in self.cut_off:
            return
        resume = host.id in self.resume
        self.resume.discard(host.id)
        for command in self.desk.fetch(host.id, self.now, resume):
            if not host.alive:
                return
            result = host.handle(command)
            if result is not None:
                self._report(host, command, result)
        for command, result in host.late():
            self._report(host, command, result)

    def _report(self, host: SimHost, command: Command, result: Result) -> None:
        for _ in range(2 if self.rng.random() < self.double else 1):
            migration = self.desk.finish(host.id, command.id, result, self.now)
            if migration is not None:
                self.enqueue(migration)

    def run(self, migration: str, seconds: float = 120.0) -> Story:
        """Until the migration has ended; its story."""
        until = self.now + seconds
        while self.now < until:
            story = self.moves.story(migration, commands=True)
            if story.migration.state.final:
                return story
            self.tick()
        story = self.moves.story(migration, commands=True)
        raise AssertionError(
            f"not ended after {seconds} s: {story.migration.state}: {story.migration.reason}"
        )

    def until(self, what: Callable[[], bool], seconds: float = 60.0) -> None:
        until = self.now + seconds
        while not what():
            assert self.now < until, "the moment never came"
            self.tick()

    # requests

    def provision(self, workload: str, site: str, **options: Any) -> str:
        """Move to a machine that is to be made."""
        found, source = self.moves.source(workload)
        target = self.registry.expect(f"{site}-{new_id('')}", site, self.now)
        return self._start(found, source, target, Mode.COLD, None, Options(True, **options))

    def move(
        self,
        workload: str,
        to: str,
        mode: Mode = Mode.COLD,
        key: str | None = None,
        options: Options = Options(),
    ) -> str:
        found, source, target = self.moves.resolve(workload, to, self.now)
        return self._start(found, source, target, mode, key, options)

    def _start(
        self,
        found: WorkloadRecord,
        source: HostRecord,
        target: HostRecord,
        mode: Mode,
        key: str | None,
        options: Options,
    ) -> str:
        content = plan(found.name, source.name, target.name, mode, options)
        migration = self.moves.create(
            NewMigration(
                id=new_id("m"),
                workload=found,
                source=source,
                target=target,
                mode=mode,
                plan=content,
                plan_hash=plan_hash(content),
                steps=kinds(options),
                now=self.now,
                idempotency_key=key,
                request_hash=plan_hash(content),
            )
        )
        self.enqueue(migration)
        return migration

    def cancel(self, migration: str) -> None:
        self.moves.cancel(migration, self.now)
        self.enqueue(migration)

    # what is true

    def runners(self, workload: str) -> list[str]:
        return [host.name for host in self.hosts.values() if host.runs(workload)]

    def events(self, migration: str) -> list[str]:
        return [event.kind for event in self.moves.events(migration, 0)]

    def receipt(self, migration: str) -> dict[str, Any]:
        return self.moves.story(migration).migration.receipt or {}


def fresh_database(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / 'porter.sqlite3'}")
    upgrade(database)
    return database
