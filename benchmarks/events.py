"""`make bench-events`: streams of events and requests at once, and a replica of the API that dies.

Two replicas of the API, as they run when distributed, share one database. Streams of events are
spread over both, GETs of many kinds come by the clock, and events are written all the while, some
in transactions that overlap or are rolled back. Halfway one replica is killed (SIGKILL); its
streams go on at the other. In the end every stream must have heard every event that is in the
database, each once and in order; otherwise the exit code is 1. How long requests took is printed.

    python -m benchmarks.events [--streams 500] [--seconds 60] [--database postgresql]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import psutil
import sqlalchemy as sa

import porter
from benchmarks.asking import Asked, ask
from benchmarks.listening import Stream
from benchmarks.writing import write
from porter.db import tables as t
from porter.db.database import Database
from porter.db.happenings import SETTLE
from tests.integration.services import folder, free_port, postgresql, program, wait_until
from tests.scale import seed

WEB = [sys.executable, "-m", "porter.cli.up", "web"]
PATHS = (
    "/v1/overview",
    "/v1/hosts?limit=50",
    "/v1/workloads?limit=50",
    "/v1/workloads/{workload}",
    "/v1/migrations?limit=20",
    "/v1/migrations/{migration}",
    "/v1/migrations/{migration}/receipt",
    "/v1/events?limit=50",
    "/v1/sites",
    "/healthz",
)
OPENING = 25
"""So many streams are opened at once in the beginning."""
WINDOW_S = 5
LAST_WORDS_S = SETTLE + 15.0


@dataclass(frozen=True)
class Load:
    streams: int
    seconds: float
    requests: float
    """A second."""
    events: float
    """A second."""
    given_up: int = 400
    """Each so many-th event's transaction is rolled back, which leaves a gap in the numbers."""
    hosts: int = 100
    workloads: int = 1000


@dataclass
class Proof:
    """What was seen. `wrong` is empty if every stream heard everything once and in order."""

    events: int
    heard: int
    reconnected: int
    lag_ms: list[float]
    asked: Asked
    cpu: float
    """Processor seconds of the surviving replica for each second in which it was alone."""
    wrong: list[str] = field(default_factory=list)


class Replica:
    def __init__(self, running: ExitStack, state: Path, database: str | None, name: str) -> None:
        port, agents = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        env = {
            "PYTHONPATH": str(Path(porter.__file__).parents[1]),
            "PORTER_STATE": str(state),
            "PORTER_LISTEN": f"127.0.0.1:{port}",
            "PORTER_AGENTS": f"127.0.0.1:{agents}",
        }
        if database:
            env["PORTER_DATABASE_URL"] = database
        self.log = state.parent / f"{name}.log"
        self.process = running.enter_context(program(WEB, self.log, env))
        wait_until(f"the API of {name}", self._answers)

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        return False

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)

    def cpu(self) -> float:
        """Processor seconds that it has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def _database(kind: str, home: Path) -> Iterator[tuple[str | None, str]]:
    """The setting, and the URL that is used without it."""
    if kind == "sqlite":
        yield None, f"sqlite:///{home / 'state' / 'porter.sqlite3'}"
        return
    with postgresql() as url:
        yield url, url


def prove(load: Load, database: str, home: Path) -> Proof:
    """Start everything below `home`, load it, kill a replica halfway; everything is ended again."""
    with ExitStack() as running:
        setting, url = running.enter_context(_database(database, home))
        state = home / "state"
        state.mkdir()
        replicas = [Replica(running, state, setting, name) for name in ("one", "two")]
        known = Database(url)
        running.callback(known.close)
        seed(known, load.hosts, load.workloads, migrations=load.workloads // 2, active=10)
        token = _token(replicas[0].url, (state / "api-token").read_text().strip())
        # One process each, so that nobody's slowness is taken for the API's.
        pool = running.enter_context(ProcessPoolExecutor(2, get_context("spawn")))
        return asyncio.run(_load(load, replicas, known, url, token, pool))


def _token(url: str, root: str) -> str:
    """A token as programs use it: looked up in the database with every request."""
    asked = {"name": "load", "scopes": ["read"]}
    headers = {"Authorization": f"Bearer {root}"}
    answer = httpx.post(f"{url}/v1/tokens", json=asked, headers=headers, trust_env=False)
    answer.raise_for_status()
    return str(answer.json()["token"])


async def _load(
    load: Load,
    replicas: list[Replica],
    known: Database,
    url: str,
    token: str,
    pool: ProcessPoolExecutor,
) -> Proof:
    loop = asyncio.get_running_loop()
    base = _newest(known)
    urls = [replica.url for replica in replicas]
    streams = [Stream(urls, number, token, base) for number in range(load.streams)]
    running = []
    for begin in range(0, len(streams), OPENING):
        some = streams[begin : begin + OPENING]
        running += [loop.create_task(stream.run()) for stream in some]
        async with asyncio.timeout(60):
            await asyncio.gather(*(stream.open.wait() for stream in some))
    paths = [path.format(**_names(known)) for path in PATHS]
    writing = loop.run_in_executor(pool, write, url, load.events, load.seconds, load.given_up)
    asking = loop.run_in_executor(pool, ask, urls, token, paths, load.requests, load.seconds)
    await asyncio.sleep(load.seconds / 2)
    replicas[0].kill()
    killed, used = time.monotonic(), replicas[1].cpu()
    asked, written = await asyncio.gather(asking, writing)
    used = (replicas[1].cpu() - used) / (time.monotonic() - killed)
    last, until = _newest(known), time.monotonic() + LAST_WORDS_S
    while time.monotonic() < until and not all(s.heard and s.heard[-1] == last for s in streams):
        await asyncio.sleep(0.1)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    told = _written(known, base)
    assert len(told) == written, "somebody else writes events, too"
    return _judged(streams, told, asked, used)


def _newest(known: Database) -> int:
    with known.read() as c:
        return int(c.execute(sa.select(sa.func.max(t.events.c.id))).scalar() or 0)


def _written(known: Database, base: int) -> dict[int, float]:
    """Number and time of every event after `base`."""
    query = sa.select(t.events.c.id, t.events.c.at).where(t.events.c.id > base)
    with known.read() as c:
        return {int(row.id): float(row.at) for row in c.execute(query.order_by(t.events.c.id))}


def _names(known: Database) -> dict[str, str]:
    with known.read() as c:
        ended = sa.select(t.migrations.c.id).where(t.migrations.c.state == "succeeded").limit(1)
        workload = sa.select(t.workloads.c.name).limit(1)
        return {
            "migration": str(c.execute(ended).scalar_one()),
            "workload": str(c.execute(workload).scalar_one()),
        }


def _judged(
    streams: Sequence[Stream], written: dict[int, float], asked: Asked, cpu: float
) -> Proof:
    expected, wrong, lags = list(written), [f"a request: {why}" for why in asked.wrong], []
    for number, stream in enumerate(streams):
        if list(stream.heard) != expected:
            wrong.append(f"stream {number}: {_difference(stream.heard, expected)}")
        lags += [
            (at - written[event]) * 1000
            for event, at in zip(stream.heard, stream.at, strict=True)
            if event in written
        ]
    return Proof(
        events=len(expected),
        heard=sum(len(stream.heard) for stream in streams),
        reconnected=sum(stream.connections > 1 for stream in streams),
        lag_ms=lags,
        asked=asked,
        cpu=cpu,
        wrong=wrong,
    )


def _difference(heard: Sequence[int], expected: Sequence[int]) -> str:
    missing = len(set(expected) - set(heard))
    doubled = len(heard) - len(set(heard))
    order = "in order" if list(heard) == sorted(heard) else "out of order"
    return f"{missing} of {len(expected)} events missing, {doubled} doubled, {order}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _told(proof: Proof) -> Iterator[str]:
    answers = proof.asked.answers
    ms = [one for _, _, one in answers]
    yield f"events written {proof.events}, heard {proof.heard}; reconnected {proof.reconnected}"
    yield f"requests {len(ms)}, {proof.asked.again} sent again: {_spread(ms)}"
    yield f"the surviving replica used {proof.cpu:.0%} of a processor"
    yield f"load average of the machine {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors"
    yield f"from an event's time until it was heard: {_spread(proof.lag_ms)}"
    for begin in range(0, int(answers[-1][1]) + 1, WINDOW_S):
        own = [one for _, at, one in answers if begin <= at < begin + WINDOW_S]
        yield f"  {f'from second {begin}':<44} {_spread(own)}"
    for path in dict.fromkeys(path for path, _, _ in answers):
        own = [one for where, _, one in answers if where == path]
        yield f"  {path.split('?')[0]:<44} {_spread(own)}"
    yield from (f"WRONG {why}" for why in proof.wrong[:20])


def _spread(ms: Sequence[float]) -> str:
    middle, most = statistics.median(ms), max(ms)
    return f"median {middle:.0f} ms, p99 {percentile(ms, 0.99):.0f} ms, worst {most:.0f} ms"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Streams and requests at once; a replica dies.")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--requests", type=float, default=50.0, help="a second")
    parser.add_argument("--events", type=float, default=20.0, help="a second")
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    given: dict[str, Any] = vars(parser.parse_args(argv))
    kind = given.pop("database")
    with folder() as home:
        proof = prove(Load(**given), kind, home)
    print("\n".join(_told(proof)))
    return 1 if proof.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
