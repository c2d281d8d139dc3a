"""A migration's bars: where they begin, how long they are, and which are the pause."""

from __future__ import annotations

from typing import Any

import pytest

from porter.web.pages.waterfall import LEAST, WIDTH, waterfall


def step(
    kind: str, begun: float | None, ended: float | None, state: str = "done"
) -> dict[str, Any]:
    return {"kind": kind, "state": state, "started_at": begun, "ended_at": ended, "error": ""}


ENDED = {
    "state": "succeeded",
    "steps": [
        step("preflight", 100.0, 101.0),
        step("handover", 101.0, 109.0),
        step("settle", 109.0, 110.0),
    ],
}
RECEIPT = {
    "downtime_ms": 2000.0,
    "phases": [
        {"name": "preflight", "ms": 1000.0},
        {"name": "handover", "ms": 8000.0},
        {"name": "freeze", "ms": 500.0},
        {"name": "restore", "ms": 1500.0},
        {"name": "settle", "ms": 1000.0},
    ],
}


def test_steps_lie_where_they_were_and_the_pause_ends_with_the_handover() -> None:
    picture = waterfall(ENDED, RECEIPT, now=500.0)
    assert [bar.name for bar in picture.bars] == [
        *("preflight", "handover", "freeze", "restore", "settle")
    ]
    assert picture.total_ms == pytest.approx(10_000)
    by_name = {bar.name: bar for bar in picture.bars}
    assert (by_name["handover"].x, by_name["handover"].width) == (10.0, 80.0)
    assert (by_name["freeze"].x, by_name["freeze"].width) == (70.0, 5.0)
    assert (by_name["restore"].x, by_name["restore"].width) == (75.0, 15.0)
    assert [bar.part for bar in picture.bars] == [False, False, True, True, False]
    assert picture.pause_ms == 2000.0


def test_a_running_step_grows_until_now_and_the_next_has_not_begun() -> None:
    running = {
        "state": "running",
        "steps": [step("preflight", 100.0, 101.0), step("handover", 101.0, None, "running"),
                  step("settle", None, None, "pending")],
    }  # fmt: skip
    early, late = (waterfall(running, {}, now).bars for now in (102.0, 111.0))
    assert early[1].ms == pytest.approx(1000)
    assert late[1].ms == pytest.approx(10_000)
    assert late[1].width > early[1].width
    assert late[2].ms is None
    assert late[2].state == "pending"


def test_no_bar_is_too_narrow_to_see_or_leaves_the_picture() -> None:
    long = {
        "state": "rolled_back",
        "steps": [step("sync", 0.0, 3600.0), step("settle", 3600.0, 3600.0),
                  step("publish", None, None, "pending")],
    }  # fmt: skip
    bars = waterfall(long, {}, now=9999.0).bars
    assert bars[1].width == LEAST
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in bars)
    assert bars[2].state == "skipped"


@pytest.mark.parametrize("span", [0.004, 0.3, 2.0, 47.0, 900.0, 86_400.0])
def test_the_axis_has_a_few_round_marks(span: float) -> None:
    whole = {"state": "succeeded", "steps": [step("sync", 0.0, span)]}
    ticks = waterfall(whole, {}, now=1.0).ticks
    assert 2 <= len(ticks) <= 7
    assert ticks[0] == (0.0, "0")


def test_nothing_begun_is_no_error() -> None:
    fresh = {"state": "pending", "steps": [step("preflight", None, None, "pending")]}
    assert waterfall(fresh, {}, now=5.0).bars[0].ms is None


def test_of_a_handover_that_was_undone_the_parts_begin_with_it_and_the_rest_is_told() -> None:
    undone = {"state": "rolled_back", "steps": [step("handover", 100.0, 110.0, "undone")]}
    pause = {"downtime_ms": 6000.0, "phases": [{"name": "freeze", "ms": 1000.0}]}
    whole, freeze, frozen = waterfall(undone, pause, now=500.0).bars
    assert (freeze.x, freeze.width) == (whole.x, 10.0)
    assert (frozen.title, frozen.ms) == ("stay frozen", 5000.0)
    assert (frozen.x, frozen.width) == (10.0, 50.0)
