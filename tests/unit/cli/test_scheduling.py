"""`porter rebalance`, `porter proposal`, `porter schedule`."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from porter.db.proposals import MoveRecord
from porter.domain.scheduling import HORIZON_S
from porter.web.api.proposals import ProposalOut
from tests.unit.cli.test_plans import Stub, run
from tests.unit.cli.test_plans import stub as stub  # a fixture
from tests.unit.web.offered import LINE, example

MADE = example("r1", "shop", "default", 1e9)
PROPOSAL: dict[str, Any] = json.loads(
    ProposalOut.of(
        MADE, (MoveRecord(MADE.id, 0, "shop", None, "pending", "", None, None),)
    ).model_dump_json()
)
PATH = f"/v1/proposals/{MADE.id}"
RUN: dict[str, Any] = {
    "id": "r1",
    "trigger": "manual",
    "schedule": None,
    "project": "",
    "state": "done",
    "reason": "",
    "spec": {},
    "problem": {
        "jobs": 2,
        "nodes": 3,
        "removable": 1,
        "offers": 4,
        "notes": ["west: huge is not offered: no price"],
        "left_out": {"euro": "euro is left out: it is told in EUR"},
    },
    "answer": {"method": "exact", "gap": 0.004},
    "stays": {"db": {"rule": "residency", "why": "west is forbidden", "remedy": "allow it"}},
    "prices": [],
    "proposals": [PROPOSAL],
    "created_by": "u-x",
    "started_at": None,
    "finished_at": None,
}


def test_runs(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.routes["POST", "/v1/rebalances"] = RUN
    code, out, _ = run(capsys, "rebalance", "run", "--workload", "shop-*", "--currency", "EUR")
    assert code == 0
    assert stub.seen[-1][1] == {
        "horizon": HORIZON_S,
        "most_moves": 20,
        "seconds": 5,
        "workloads": ["shop-*"],
        "currency": "EUR",
    }
    for word in (
        "exact, at most 0.4 % from the best",
        "euro is left out",
        "huge is not offered",
        "west is forbidden",
        "allow it",
        "14.4 USD in 30d",
        f"porter proposal approve {MADE.id}",
    ):
        assert word in out
    code, out, _ = run(capsys, "rebalance", "run", "--dry-run")
    assert "porter proposal" not in out
    stub.routes["GET", "/v1/rebalances"] = [RUN]
    assert "manual" in run(capsys, "rebalance", "ls")[1]
    assert "No runs yet" in run(capsys, "rebalance", "ls", "--schedule", "nightly")[1]
    stub.routes["GET", "/v1/rebalances/r1"] = RUN
    assert "west is forbidden" in run(capsys, "rebalance", "show", "r1")[1]
    assert json.loads(run(capsys, "rebalance", "show", "r1", "--json")[1]) == RUN


def test_a_proposal_is_approved_by_the_hash_that_was_seen(
    stub: Stub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.routes["GET", "/v1/proposals"] = [PROPOSAL]
    assert "shop" in run(capsys, "proposal", "ls", "--state", "waiting")[1]
    assert "No proposals" in run(capsys, "proposal", "ls", "--state", "open")[1]
    stub.routes["GET", PATH] = PROPOSAL
    code, out, _ = run(capsys, "proposal", "show", MADE.id)
    assert code == 0
    for word in ("onprem → cloud", "0.02 USD per hour (fake, 2026-01-01)", "a" * 64, "next best"):
        assert word in out
    stub.routes["POST", f"{PATH}/approve"] = PROPOSAL
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    assert run(capsys, "proposal", "approve", MADE.id)[0] == 130
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "y")
    assert run(capsys, "proposal", "approve", MADE.id, "--reason", "ok")[0] == 0
    assert stub.seen[-1][1] == {"hash": "a" * 64, "reason": "ok"}
    stub.routes["POST", f"{PATH}/decline"] = PROPOSAL
    assert run(capsys, "proposal", "decline", MADE.id)[0] == 2
    assert run(capsys, "proposal", "decline", MADE.id, "--reason", "no")[0] == 0


def test_executing_waits_for_the_end_and_shows_the_account(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = PROPOSAL | {
        "state": "stopped",
        "reason": "0 of 1 moves were made",
        "started_at": "2026-01-01T00:00:00Z",
    }
    stub.routes["POST", f"{PATH}/execute"] = stopped
    code, out, _ = run(capsys, "proposal", "execute", MADE.id)
    assert code == 1, "it did not do all that was proposed"
    assert "0 of 1 moves were made" in out
    assert "porter proposal show" in run(capsys, "proposal", "execute", MADE.id, "--detach")[1]
    account = {
        "currency": "USD",
        "started_at": "2026-01-01T00:00:00Z",
        "staying": "2.0",
        "paid": "1.25",
        "saving": "0.75",
        "lines": [{"what": "egress", "bytes": 5_000_000}],
        "unknown": [],
    }
    stub.routes["GET", PATH] = stopped
    stub.routes["GET", f"{PATH}/receipt"] = account
    out = run(capsys, "proposal", "show", MADE.id)[1]
    for word in ("0.75 USD", "1.25 USD", "5 MB"):
        assert word in out
    stub.routes["GET", f"{PATH}/receipt"] = account | {"unknown": ["the price of x: nobody"]}
    assert "unknown: the price of x" in run(capsys, "proposal", "show", MADE.id)[1]
    stub.routes["POST", f"{PATH}/stop"] = stopped | {"stopping": "Ann stopped it"}
    assert "Ann stopped it" in run(capsys, "proposal", "stop", MADE.id)[1]


def test_sums_say_what_prices_are_expected_to_be(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "expected 0.021 USD/h over 48 h (now 0.02), from 312 prices over 13 days"
    shown = copy.deepcopy(PROPOSAL)
    shown["content"]["sums"]["lines"][0]["basis"]["expected"] = {"amount": "0.021", "why": why}
    stub.routes["GET", PATH] = shown
    out = run(capsys, "proposal", "show", MADE.id)[1]
    assert " ".join(why.split()[:3]) in out
    assert "everything stays as it is (0 USD)" in out


def test_explain_names_what_binds_and_what_would_change_it(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stays = {
        "workload": "db",
        "outcome": "stays",
        "rebalance": "r1",
        "at": None,
        "rule": "residency",
        "why": "west is forbidden",
        "remedy": "allow west",
        "runner_up": "west/small/on_demand",
        "saving": 3.5,
        "currency": "USD",
        "needs": "room for 1.02 GB: what was enough for 95% of 7 days, and 2% more",
        "prices": "west/small/spot: expected 0.021 USD/h",
        "proposal": None,
        "move": None,
        "sums": None,
    }
    stub.routes["GET", "/v1/workloads/db/explanation"] = stays
    out = run(capsys, "proposal", "explain", "db")[1]
    binds, best = "residency: west is forbidden", "which would save 3.50 USD over the horizon"
    for word in (binds, "allow west", best, "room for 1.02 GB", "expected 0.021", "r1"):
        assert word in out
    moves = {
        "outcome": "moves",
        "workload": "shop",
        "why": "it saves 14.4 USD",
        "runner_up": "",
        "proposal": MADE.id,
        "move": MADE.content["moves"][0],
        "sums": MADE.content["sums"],
    }
    stub.routes["GET", "/v1/workloads/shop/explanation"] = stays | moves
    out = run(capsys, "proposal", "explain", "shop")[1]
    for word in ("moves: onprem → cloud", MADE.id, str(LINE["of"])):
        assert word in out


def test_schedules(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {
        "name": "nightly",
        "project": "",
        "cron": "0 3 * * *",
        "zone": "Europe/Berlin",
        "spec": {
            "workloads": ["*"],
            "horizon_s": 2592000.0,
            "most_moves": 5,
            "currency": "",
            "dry_run": False,
            "auto": "execute",
            "grace": 3600.0,
            "price_change": 10.0,
            "interruption": True,
        },
        "next_at": "2026-01-01T02:00:00Z",
        "updated_at": None,
        "updated_by": "u-ann",
    }
    stub.routes["PUT", "/v1/schedules/nightly"] = kept
    options = ("--auto", "execute", "--price-change", "10", "--interruption", "--most-moves", "5")
    where = ("--cron", "0 3 * * *", "--zone", "Europe/Berlin")
    code, out, _ = run(capsys, "schedule", "add", "nightly", *where, *options)
    assert code == 0
    assert "runs next at" in out
    body = stub.seen[-1][1]
    assert body is not None
    assert (body["auto"], body["price_change"], body["interruption"]) == ("execute", 10.0, True)
    stub.routes["GET", "/v1/schedules"] = [kept]
    assert "nightly" in run(capsys, "schedule", "ls")[1]
    stub.routes["GET", "/v1/schedules/nightly"] = kept
    out = run(capsys, "schedule", "show", "nightly")[1]
    for word in ("more than 10.0 %", "is to be taken away", "30d", "1h"):
        assert word in out
    stub.routes["DELETE", "/v1/schedules/nightly"] = {}
    assert "is removed" in run(capsys, "schedule", "rm", "nightly")[1]
