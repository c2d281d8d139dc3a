"""What people see: numbers, the receipt, the moving picture."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console, RenderableType

from porter.cli import show
from porter.cli.client import Event, parse_events
from porter.cli.progress import Board, LivePicture
from porter.client.sse import frames
from porter.domain.units import bytes_, duration, moment


def drawn(picture: RenderableType) -> str:
    console = Console(width=120, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(picture)
    return captured.get()


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (231_400_000, "231 MB")],
)
def test_bytes(count: float | None, text: str) -> None:
    assert bytes_(count) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(None, "–"), (0, "0 ms"), (0.2, "<1 ms"), (812.4, "812 ms"), (1240, "1.24 s"),
     (185_000, "3 min 5 s")],
)  # fmt: skip
def test_durations(ms: float | None, text: str) -> None:
    assert duration(ms) == text


def test_moments_come_as_numbers_and_as_iso() -> None:
    assert moment(5) == moment("5") == moment("1970-01-01T00:00:05+00:00") == 5.0
    assert moment("soon") is None
    assert moment(None) is None


def test_the_receipt_shows_what_counts() -> None:
    text = drawn(
        show.receipt(
            {
                "id": "01h", "workload": "shop", "from": "onprem", "to": "cloud",
                "state": "succeeded", "generation": 2, "downtime_ms": 812.4, "total_ms": 3000,
                "bytes": {"memory": 231_000_000, "wire": 90_000_000, "wire_frozen": 80_000_000},
                "phases": [
                    {"name": "reserve", "ms": 1000}, {"name": "handover", "ms": 2000},
                    {"name": "freeze", "ms": 12}, {"name": "transfer", "ms": 800.4},
                ],
                "connections": {"kept": 1, "closed": 0}, "verified": "ab" * 32,
            }
        )
    )  # fmt: skip
    for part in ("shop: onprem → cloud", "812 ms", "231 MB memory", "80 MB while frozen"):
        assert part in text
    rows = {line.split()[1]: line for line in text.splitlines() if "━" in line}
    assert rows["reserve"].count("━") * 2 == rows["handover"].count("━")
    assert rows["handover"].index("━") == rows["freeze"].index("━")


def test_a_receipt_of_almost_nothing_can_be_shown() -> None:
    assert "not reached" in drawn(show.receipt({"state": "failed", "reason": "cannot: no"}))


def happened(number: float, kind: str, message: str = "", **data: Any) -> Event:
    return Event(str(number), kind, str(number), message, data)


def test_the_board_knows_the_step_at_work() -> None:
    ticks = iter([0.0, 1.0, 2.0])
    board = Board(now=lambda: next(ticks))
    board.take(happened(1, "migration.pending", "move shop"))
    assert board.current is None
    board.take(happened(2, "step.started", step="preflight"))
    assert board.current is board.steps["preflight"]
    board.take(happened(3.5, "step.done", step="preflight"))
    assert board.steps["preflight"].ms == 1500
    board.take(happened(4, "step.started", step="handover"))
    for done in (0, 100, 300):
        board.take(happened(5, "progress", step="handover", phase="transfer", done=done, total=400))
    transfer = board.steps["handover"].phases["transfer"]
    assert (transfer.done, transfer.total) == (300, 400)
    assert transfer.rate == pytest.approx(0.6 * 100 + 0.4 * 200)
    text = drawn(LivePicture(board, Console()).draw())
    assert "✓ preflight" in text
    assert "300 B of 400 B" in text


def test_a_failed_step_says_why() -> None:
    board = Board()
    board.take(happened(1, "step.failed", "cannot: no room", step="reserve"))
    board.take(happened(2, "step.undone", step="preflight"))
    assert board.steps["reserve"].state == "failed"
    assert "cannot: no room" in drawn(LivePicture(board, Console()).draw())
    assert board.steps["preflight"].state == "undone"
    assert board.current is None


def test_server_sent_events() -> None:
    lines = [": alive", "", "id: 7", "event: x", 'data: {"kind": "step",', 'data: "message": "m"}',
             "", "id: 8", 'data: {"kind": "progress", "data": null}', "", "data: {}"]  # fmt: skip
    found = list(parse_events(frames(lines)))
    assert [(e.id, e.kind, e.message, e.data) for e in found] == [
        ("7", "step", "m", {}),
        ("8", "progress", "", {}),
    ]
