"""A proposal and a run as a fleet of some size would get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from porter.db import tables as t
from porter.db.base import InstanceRecord
from porter.db.database import Database
from porter.db.proposals import ProposalRecord, ProposalState
from porter.db.rebalances import Outcome, RebalanceRecord, Trigger
from porter.schedule.authority import new_run
from tests.unit.web.offered import example

NEW = "aws:eu-west-1/c6i.large/spot#1"
LIST = {"unit": "hour", "as_of": "2026-11-26", "source": "aws price list"}
OLD = {"item": "m5.xlarge", "amount": "0.192", "currency": "USD", "terms": "on_demand", **LIST}
FORETOLD = "expected 0.0335 USD/h over 48 h (now 0.0321), from 312 prices over 13 days"
SPOT = {"item": "c6i.large", "amount": "0.0321", "currency": "USD", "terms": "spot", **LIST}
SPOT = {**SPOT, "expected": {"amount": "0.033500", "why": FORETOLD}}
TRAFFIC = {
    "item": "egress",
    "amount": "0.184",
    "currency": "USD",
    "unit": "move",
    "terms": "on_demand",
    "as_of": "2026-11-01",
    "source": "/etc/porter/prices.toml",
}
MEASURED = {"source": "12 moves between these sites"}
ANSWER = {
    "cost": 61.41,
    "stay_cost": 158.24,
    "bound": 61.16,
    "gap": 0.004,
    "method": "exact",
    "seconds": 0.81,
    "would": [],
}
PROBLEM = {
    "currency": "USD",
    "horizon_s": 2592000.0,
    "jobs": 24,
    "pinned": 3,
    "nodes": 5,
    "removable": 2,
    "offers": 18,
    "most_moves": 20,
    "notes": ["gcp:europe-west1: n2-standard-2 is not offered, as it has no price"],
    "left_out": {},
}


def line(
    what: str, of: str, before: str, after: str, basis: dict[str, Any], once: bool = False
) -> dict[str, Any]:
    return {"what": what, "of": of, "before": before, "after": after, "once": once, "basis": basis}


def lines(names: Sequence[str]) -> list[dict[str, Any]]:
    found = [
        line("machine", "c5-a", "138.240000", "0", OLD),
        line("machine", NEW, "0", "23.112000", SPOT),
        line("double", "c5-a", "0", "0.021300", OLD, once=True),
    ]
    for name in names:
        found += [
            line("egress", name, "0", "0.184000", TRAFFIC, once=True),
            line("downtime", name, "0", "0.050000", MEASURED, once=True),
            line("interruptions", name, "0", "1.428571", {"source": "one in seven a month"}),
        ]
    return found


def sums(told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    before, after = (sum((Decimal(one[key]) for one in told), Decimal(0)) for key in WHEN)
    once = sum((Decimal(one["after"]) for one in told if one["once"]), Decimal(0))
    return {
        "currency": "USD",
        "horizon_s": 2592000.0,
        "before": str(before),
        "after": str(after),
        "once": str(once),
        "saving": str(before - after),
        "lines": list(told),
        "rates": [],
    }


WHEN = ("before", "after")


def rich(
    run: RebalanceRecord, names: Sequence[str], now: float, state: ProposalState, **more: Any
) -> ProposalRecord:
    """`names` leave c5-a: all but the last for a machine that is made, the last for rack-1."""
    plain = example(run.id, names[0], "default", now, state)
    move = plain.content["moves"][0]
    moves = [
        {
            **move,
            "seq": seq,
            "wave": int(seq == len(names) - 1),
            "workload": name,
            "from": "c5-a",
            "to": "rack-1" if seq == len(names) - 1 else NEW,
            "site": "onprem" if seq == len(names) - 1 else "aws:eu-west-1",
            "new": seq < len(names) - 1,
            "release": seq == len(names) - 1,
            "outlook": {
                **move["outlook"],
                "downtime_s": {"low": 0.11, "likely": 0.23, "high": 0.9},
                "total_s": {"low": 9.0, "likely": 14.2, "high": 41.0},
                "wire": {"low": 1e9, "likely": 1.9e9, "high": 2.4e9},
                "basis": MEASURED["source"],
            },
            "traffic": TRAFFIC,
        }
        for seq, name in enumerate(names)
    ]
    content = {
        **plain.content,
        "moves": moves,
        "machines": [
            {
                "name": NEW,
                "site": "aws:eu-west-1",
                "type": "c6i.large",
                "terms": "spot",
                "price": SPOT,
            }
        ],
        "ended": ["c5-a"],
        "sums": sums(lines(names)),
        "runner_up": {"what": "2 moves to rack-2", "saving": "81.600000"},
    }
    return replace(plain, content=content, created_by=run.created_by, **more)


def stood(
    database: Database,
    name: str,
    since: float,
    quote: dict[str, Any] | None = OLD,
    migration: str | None = None,
) -> None:
    """In the ledger: a machine that runs since then, and the migration for which it was made."""
    made = InstanceRecord(
        key=f"k-{name}",
        host=f"h-{name}",
        host_name=name,
        site="aws:eu-west-1",
        migration=migration,
        instance_type="m5.xlarge",
        instance=f"i-{name}",
        public_address="",
        state="running",
        token="",
        quote=quote,
        reason="",
        created=since,
        launched=since,
        empty_since=None,
        gone=None,
        wake_at=since,
        launched_at=since,
    )
    with database.write() as c:
        c.execute(sa.insert(t.instances).values(**vars(made)))


def asked(by: str, now: float, schedule: str | None = None, **more: Any) -> RebalanceRecord:
    """A run by a person, or by a schedule."""
    trigger = Trigger.MANUAL if schedule is None else Trigger.CRON
    made = new_run(trigger, schedule, None if schedule is None else now, "default", {}, by, now)
    return replace(made, **more)


def outcome(stays: dict[str, Any], proposals: Sequence[ProposalRecord]) -> Outcome:
    prices = [{"of": "c5-a", "site": "aws:eu-west-1", **OLD}]
    return Outcome(PROBLEM, ANSWER, stays, prices, proposals)


def stay(
    rule: str, why: str, remedy: str = "", other: str = "", saving: float | None = None
) -> dict[str, Any]:
    return {"rule": rule, "why": why, "remedy": remedy, "runner_up": other, "saving": saving}
