"""A fleet as large as Porter is made for, written straight into the tables."""

from __future__ import annotations

import json
import random
import time

import sqlalchemy as sa

from porter.db import tables as t
from porter.db.database import Database
from porter.protocol import codec
from tests.saga.simulation import facts

SITES = ("onprem", "aws:eu-west-1", "azure:westeurope", "gcp:europe-west1", "openstack:one")
KINDS = ("preflight", "reserve", "sync", "handover", "rewire", "settle")
BATCH = 1000


def seed(
    database: Database,
    hosts: int = 1000,
    workloads: int = 10_000,
    migrations: int = 5000,
    active: int = 100,
    checkpoints: int = 2000,
) -> None:
    """Fill empty tables. The same numbers give the same fleet, but for the clock."""
    dice, now = random.Random(4), time.time()
    homes = [_host(number, now) for number in range(hosts)]
    _write(database, t.sites, [_site(name, now) for name in SITES[1:]])
    _write(database, t.hosts, homes)
    _write(database, t.instances, [_machine(home, now) for home in homes if _made(home)])
    living = [_workload(number, homes, dice, now) for number in range(workloads)]
    _write(database, t.workloads, living)
    moves = [
        _migration(number, living, homes, dice, now, number < active)
        for number in range(migrations)
    ]
    _write(database, t.migrations, moves)
    _write(database, t.steps, [step for move in moves for step in _steps(move)])
    _write(database, t.events, [_progress(move, n) for move in moves[:active] for n in range(20)])
    _write(database, t.checkpoints, [_checkpoint(n, living, now) for n in range(checkpoints)])


def _write(database: Database, table: sa.Table, rows: list[dict[str, object]]) -> None:
    with database.write() as c:
        for begin in range(0, len(rows), BATCH):
            c.execute(sa.insert(table), rows[begin : begin + BATCH])


def _host(number: int, now: float) -> dict[str, object]:
    told = codec.dump(facts(f"host-{number:04}"))
    told |= {"memory_total": 64 * 2**30, "memory_free": (number % 60) * 2**30}
    return {
        "id": f"h{number:08}",
        "name": f"host-{number:04}",
        "site": SITES[number % len(SITES)],
        "range": f"10.{77 + number // 250}.{number % 250}.0/24",
        "serial": f"s{number}",
        "fingerprint": f"f{number}",
        "facts": json.loads(json.dumps(told)),
        # Every fiftieth is silent; the others are heard of for as long as a test may take.
        "last_seen": now - 900 if number % 50 == 0 else now + 600,
        "joined_at": now - 86400,
        "certificate": None,
    }


def _site(name: str, now: float) -> dict[str, object]:
    kind, _, region = name.partition(":")
    return {
        "name": name,
        "kind": kind,
        "region": region,
        "settings": {},
        "sealed": "",
        "created": now,
    }


def _made(home: dict[str, object]) -> bool:
    return home["site"] != "onprem"


def _machine(home: dict[str, object], now: float) -> dict[str, object]:
    return {
        "key": f"key-{home['id']}",
        "host": home["id"],
        "host_name": home["name"],
        "site": home["site"],
        "instance_type": "standard-4",
        "instance": f"i-{home['id']}",
        "public_address": "",
        "state": "running",
        "token": "",
        "quote": {"amount": "0.1664", "currency": "USD", "unit": "hour", "item": "standard-4"},
        "reason": "",
        "created": now,
        "wake_at": now,
    }


def _workload(
    number: int, homes: list[dict[str, object]], dice: random.Random, now: float
) -> dict[str, object]:
    home = dice.choice(homes)
    return {
        "id": f"w{number:08}",
        "name": f"shop-{number:05}",
        "host": home["id"],
        "container": f"{number:064x}",
        "container_name": f"shop-{number:05}",
        "generation": 1,
        "address": f"10.99.{number // 250 % 250}.{number % 250}",
        "image": "docker.io/library/redis:7",
        "memory_bytes": dice.randrange(2**20, 2**33),
        "state": "paused" if number % 97 == 0 else "running",
        "rival": homes[0]["id"] if number in (5, 6) else None,
        "seen_at": now,
        "endpoints": [],
        "project": f"team-{number % 10}",
    }


def _migration(
    number: int,
    living: list[dict[str, object]],
    homes: list[dict[str, object]],
    dice: random.Random,
    now: float,
    active: bool,
) -> dict[str, object]:
    workload, target = living[number % len(living)], dice.choice(homes)
    state = ("held" if number % 20 == 0 else "running") if active else "succeeded"
    began = now - number * 60
    return {
        "id": f"m{number:08}",
        "workload_id": workload["id"],
        "workload": workload["name"],
        "project": workload["project"],
        "source": workload["host"],
        "source_name": f"host-{int(str(workload['host'])[1:]):04}",
        "target": target["id"],
        "target_name": target["name"],
        "mode": "live",
        "generation": 1,
        "plan": {"steps": list(KINDS)},
        "plan_hash": f"{number:064x}",
        "state": state,
        "reason": "the target does not answer" if state == "held" else "",
        "news": 0,
        "request_hash": "",
        "cancel_requested": False,
        "receipt": None if active else {"id": f"m{number:08}", "downtime_ms": 210.0},
        "created": began,
        "started": began,
        "finished": None if active else began + 40,
    }


def _steps(move: dict[str, object]) -> list[dict[str, object]]:
    ended = move["finished"] is not None
    return [
        {
            "migration": move["id"],
            "seq": seq,
            "kind": kind,
            "state": "done" if ended or seq < 2 else "running" if seq == 2 else "pending",
            "attempt": 1,
            "memory": {},
            "output": None,
            "error": "",
            "started": move["started"],
            "ended": move["finished"],
        }
        for seq, kind in enumerate(KINDS)
    ]


def _progress(move: dict[str, object], number: int) -> dict[str, object]:
    return {
        "at": time.time(),
        "migration": move["id"],
        "workload": move["workload"],
        "project": move["project"],
        "kind": "progress",
        "message": "round 1",
        "data": {"step": "sync", "phase": "round 1", "done": number * 2**20, "total": 20 * 2**20},
    }


def _checkpoint(number: int, living: list[dict[str, object]], now: float) -> dict[str, object]:
    workload = living[number % len(living)]
    return {
        "id": f"k{number:08}",
        "workload": workload["name"],
        "project": workload["project"],
        "host": workload["host"],
        "host_name": f"host-{int(str(workload['host'])[1:]):04}",
        "store": "shelf",
        "state": "ready",
        "reason": "",
        "recipients": [],
        "task": {"key": "t", "kind": "create", "outcome": "succeeded"},
        "created": now - number,
        "finished": now - number,
        "news": 0,
    }
