"""A proposal as the optimiser's answers become one, without any optimiser."""

from __future__ import annotations

from typing import Any

from porter.db.proposals import ProposalRecord, ProposalState

OUTLOOK = {
    "downtime_s": {"low": 0.1, "likely": 0.2, "high": 1.0},
    "total_s": {"low": 1.0, "likely": 5.0, "high": 600.0},
    "wire": {"low": 1.0, "likely": 2.0, "high": 3.0},
    "fails": 0.01,
    "basis": "measured",
    "doubt": "",
}
LINE = {
    "what": "machine",
    "of": "cloud-1",
    "before": "14.4",
    "after": "0",
    "once": False,
    "basis": {
        "item": "small",
        "amount": "0.02",
        "currency": "USD",
        "unit": "hour",
        "terms": "on_demand",
        "as_of": "2026-01-01",
        "source": "fake",
    },
}


def example(
    run: str,
    workload: str,
    project: str,
    now: float,
    state: ProposalState = ProposalState.WAITING,
    **basis: Any,
) -> ProposalRecord:
    """One move; it rests on nothing unless `basis` says more."""
    move = {
        "seq": 0,
        "wave": 0,
        "workload": workload,
        "from": "onprem",
        "to": "cloud",
        "site": "lab",
        "new": False,
        "release": False,
        "instance_type": "",
        "terms": "",
        "needs_bytes": 1 << 20,
        "outlook": OUTLOOK,
        "traffic": {"amount": "0", "currency": "USD", "source": "both are at one site"},
    }
    content = {
        "rebalance": run,
        "moves": [move],
        "machines": [],
        "ended": [],
        "sums": {
            "currency": "USD",
            "horizon_s": 2592000.0,
            "before": "14.4",
            "after": "0",
            "once": "0",
            "saving": "14.4",
            "lines": [LINE],
            "rates": [],
        },
        "urgent": [],
        "runner_up": {"what": "everything stays as it is", "saving": "0"},
        "by": "u-x",
        "made_at": "2026-01-01T00:00:00+00:00",
        "expires_at": "2026-01-02T00:00:00+00:00",
    }
    demand = {"policy": "p", "rule": "approval", "why": "it is asked for", "workload": workload}
    return ProposalRecord(
        id=f"o-{project}",
        hash="a" * 64,
        rebalance=run,
        project=project,
        state=state,
        content=content,
        basis={"workloads": basis, "prices": []},
        demands=[demand] if state == ProposalState.WAITING else [],
        created=now,
        created_by="u-x",
        decided=None,
        decided_by="",
        reason="",
        expires=now + 86400,
        checked=now,
        started=None,
        started_by="",
        ended=None,
        stopping="",
    )
