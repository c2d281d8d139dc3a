"""`porter rebalance simulate`: replays a trace on this machine and tells what it came to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from porter.cli.main import main
from porter.schedule.backtest import tracefile
from tests.unit.schedule import mini


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tracefile.write(mini.trace(hours=24), tmp_path / "day.jsonl")
    return tmp_path / "day.jsonl"


def test_a_trace_is_replayed_and_drawn(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "day.svg"
    assert main(["rebalance", "simulate", "--prices", str(file), "--picture", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert "by hand: 1 days, 1 workloads, 1 hosts, amounts in USD" in shown
    rows = {line.strip().split("  ")[0]: line.split() for line in shown.splitlines()}
    assert rows["never moving"][2:4] == ["24.00", "0.00"]
    assert rows["Porter"][3] == "100%"
    assert rows["Porter"][4] == "1"
    assert picture.read_text().startswith("<svg")


def test_the_same_as_json_for_a_part_of_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ["--from", "1970-01-01T02:00:00+00:00", "--to", "1970-01-01T12:00:00Z"]
    assert main(["rebalance", "simulate", "--prices", str(file), *span, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["contenders"]}
    assert rows["never moving"]["cost"] == pytest.approx(10.0)
    assert 0 < found["bound"] <= rows["clairvoyant"]["cost"] <= rows["Porter"]["cost"]


def test_moves_cost_what_receipts_say(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = {"memory": 10**9, "files": 0, "image": 0, "wire": 3 * 10**9}
    receipt = {"state": "succeeded", "total_ms": 9e5, "downtime_ms": 6e4, "bytes": moved}
    texts = [json.dumps({"id": f"m{n}", **receipt}) for n in range(3)]
    (tmp_path / "receipts.json").write_text("\n".join(texts))
    receipts = ["--receipts", str(tmp_path / "receipts.json"), "--json"]
    assert main(["rebalance", "simulate", "--prices", str(file), *receipts]) == 0
    rows = json.loads(capsys.readouterr().out)["contenders"]
    porter = next(row for row in rows if row["name"] == "Porter")
    assert porter["moves"] == 1
    assert porter["pause_minutes"] == pytest.approx(1.5, abs=0.01)
    assert porter["egress"] == pytest.approx(9 * 0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --prices FILE or --made-up LEVEL"),
        (["--made-up", "calm", "--from", "yesterday"], "yesterday is no time"),
        (["--made-up", "calm", "--to", "2026-11-03T00:00:00"], "no time zone"),
        (["--made-up", "calm", "--to", "2027-11-03T00:00:00Z"], "this part of the trace"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rebalance", "simulate", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_trace_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"kind": "price"}\n')
    assert main(["rebalance", "simulate", "--prices", str(tmp_path / "bad.jsonl")]) == 2
    assert "line 1" in capsys.readouterr().err
