"""Traces: what is made up, what is written and read, and what receipts say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import pstdev

import pytest

from porter.domain.errors import Invalid
from porter.domain.site import SiteKind
from porter.providers.prices import snapshot
from porter.schedule.backtest import starts, tracefile, volatility
from porter.schedule.backtest.measured import documents, from_receipts
from porter.schedule.backtest.traces import ON_DEMAND, OWN, SPOT, Trace, check
from porter.schedule.series import Series
from tests.unit.schedule import mini

SMALL = volatility.Size(days=1.0, history_d=3.0, workloads=12)


def made(seed: int = 3, level: str = "moderate", start: str = starts.FOUND) -> Trace:
    return volatility.make(seed, volatility.LEVELS[level], start, SMALL)


def test_series_hold_their_values_until_the_next() -> None:
    series = Series((0.0, 10.0, 20.0), (1.0, 3.0, 2.0))
    assert [series.at(time) for time in (-5, 0, 9.9, 10, 25)] == [1, 1, 1, 3, 2]
    assert series.mean(5, 15) == pytest.approx(2.0)
    assert series.mean(10, 30) == pytest.approx(2.5)
    assert series.mean(-10, 10) == pytest.approx(1.0)
    assert series.top(0, 10) == 1
    assert series.top(5, 11) == 3
    assert series.until(12).times == (0.0, 10.0)


def test_a_series_is_refused_without_order() -> None:
    with pytest.raises(Invalid, match="ascend"):
        Series((1.0, 1.0), (2.0, 3.0))


def test_the_same_seed_makes_the_same_trace_and_another_seed_another() -> None:
    assert made(3) == made(3)
    assert made(3).prices != made(4).prices


def test_made_up_traces_rest_on_the_dated_snapshot() -> None:
    trace = made()
    for one in trace.prices.values():
        assert one.as_of
        assert "snapshot" in one.source
        if one.terms == ON_DEMAND:
            kind, _, region = one.site.partition(":")
            told = snapshot.quote(SiteKind(kind), region, one.type, ON_DEMAND)
            assert told is not None
            assert told.amount is not None
            assert set(one.series.values) == {float(told.amount)}


def test_spot_never_costs_more_than_on_demand_and_has_history() -> None:
    trace = made(level="rough")
    spots = [one for one in trace.prices.values() if one.terms == SPOT]
    assert len(spots) == 9
    for one in spots:
        full = trace.prices[one.key.replace("/spot", "/on_demand")].series.at(0)
        assert 0 < min(one.series.values) <= max(one.series.values) <= full
        assert one.series.times[0] == trace.start - 3 * 86400


def test_rougher_levels_fluctuate_more() -> None:
    def restless(level: str) -> float:
        spots = (one for one in made(level=level).prices.values() if one.terms == SPOT)
        logs = [[log(value) for value in one.series.values] for one in spots]
        return max(pstdev([b - a for a, b in pairwise(one)]) for one in logs)

    assert restless("calm") < restless("moderate") / 3 < restless("rough") / 6


@pytest.mark.parametrize("start", starts.STARTS)
def test_fleets_begin_within_the_limits_of_their_machines(start: str) -> None:
    trace = made(start=start)
    for host in trace.hosts:
        here = [one for one in trace.workloads if one.host == host.name]
        known = start == starts.SETTLED
        sizes = (max(one.memory.values) if known else one.limit for one in here)
        assert sum(sizes) <= host.memory
        assert sum(one.cpus for one in here) <= host.cpus
        marks = [one.apart for one in here if one.apart]
        assert len(marks) == len(set(marks))
        assert host.terms != SPOT or all(one.spot for one in here)
        assert here or host.terms == OWN
    settled = start == starts.SETTLED
    assert all(one.host for one in trace.workloads) == settled, "else some arrive later"
    assert all(one.departs > trace.end for one in trace.workloads) == settled, "else some leave"


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    trace = made()
    tracefile.write(trace, tmp_path / "week.jsonl")
    again = tracefile.read(tmp_path / "week.jsonl")
    same = {"prices": trace.prices, "workloads": trace.workloads}
    assert replace(again, **same) == trace
    for name, one in trace.prices.items():
        read = again.prices[name]
        assert (read.source, read.as_of) == (one.source, one.as_of)
        assert [read.series.at(time) for time in trace.steps()] == [
            one.series.at(time) for time in trace.steps()
        ]
    for one, other in zip(trace.workloads, again.workloads, strict=True):
        assert replace(other, memory=one.memory) == one


def _lines(tmp_path: Path) -> list[str]:
    tracefile.write(mini.trace(), tmp_path / "trace.jsonl")
    return (tmp_path / "trace.jsonl").read_text().splitlines()


def test_comments_and_empty_lines_are_left_out(tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    assert tracefile.parse("\n".join(["# recorded by hand", "", *lines])).currency == "USD"


def _without(name: str) -> Callable[[dict[str, object]], object]:
    return lambda record: record.pop(name)


@pytest.mark.parametrize(
    ("kind", "spoil", "message"),
    [
        ("trace", _without("currency"), "line 1 .*'currency' is missing"),
        ("trace", lambda record: record.update(version=9), "version 9"),
        ("trace", lambda record: record.update({"to": "2026-11-02T00:00:00"}), "time zone"),
        ("price", lambda record: record.update(points=[[0, 0]]), "not above 0"),
        ("price", lambda record: record.update(type="huge"), "no machine"),
        ("host", lambda record: record.update(kind="hsot"), "hsot"),
        ("workload", lambda record: record.update(host="n9"), "on no host"),
        ("workload", lambda record: record.update(limit=1), "takes too much"),
    ],
)
def test_what_is_wrong_with_a_trace_is_said(
    tmp_path: Path, kind: str, spoil: Callable[[dict[str, object]], object], message: str
) -> None:
    records = [json.loads(line) for line in _lines(tmp_path)]
    spoil(next(one for one in records if one["kind"] == kind))
    with pytest.raises(Invalid, match=message):
        tracefile.parse("\n".join(json.dumps(one) for one in records))


def test_a_part_of_a_trace_begins_with_the_same_fleet() -> None:
    late = mini.load("late", host="", arrives=2 * mini.HOUR)
    gone = mini.load("gone", departs=3 * mini.HOUR)
    trace = check(mini.trace(mini.load(), late, gone))
    part = trace.cut(4 * mini.HOUR, 8 * mini.HOUR)
    assert [one.name for one in part.workloads] == ["shop", "late"]
    assert part.workloads[1].arrives == part.start == 4 * mini.HOUR
    assert part.hosts == trace.hosts
    with pytest.raises(Invalid, match="part"):
        trace.cut(None, 11 * mini.HOUR)


def _receipt(name: str, memory: float, seconds: float, pause: float, **more: object) -> dict:
    moved = {"memory": memory * 1e9, "files": 1e9, "image": 0, "wire": (memory + 1) * 5e8}
    times = {"total_ms": seconds * 1000, "downtime_ms": pause * 1000}
    return {"id": name, "state": "succeeded", "bytes": moved, **times, **more}


def test_moves_cost_what_receipts_measured() -> None:
    found = [_receipt(f"m{n}", n, 20 + 8 * n, 1 + 5 * n) for n in (1, 2, 4)]
    undone = [{"id": f"u{n}", "state": "rolled_back"} for n in range(2)]
    costs = from_receipts([*found, *undone, {"id": "x", "state": "running"}], "receipts.json")
    assert costs.fixed_s == pytest.approx(20)
    assert costs.s_per_gb == pytest.approx(8)
    assert costs.downtime(2e9) == pytest.approx(11)
    assert costs.wire_per_byte == pytest.approx(0.5)
    assert costs.failure_rate == pytest.approx(3 / 7)
    assert costs.receipts == 3


def test_receipts_of_moves_alike_split_the_time_in_halves() -> None:
    costs = from_receipts([_receipt(f"m{n}", 2, 30, 4) for n in range(3)], "")
    assert (costs.fixed_s, costs.s_per_gb) == (15, 7.5)


def test_lists_and_receipts_of_the_same_moves_count_once() -> None:
    found = [_receipt(f"m{n}", n, 10 * n, n) for n in (1, 2, 3)]
    listed = [{"id": one["id"], "state": "succeeded"} for one in found]
    text = json.dumps(listed) + "\n" + "\n".join(json.dumps(one, indent=1) for one in found)
    assert from_receipts(documents(text), "").failure_rate == pytest.approx(1 / 5)


@pytest.mark.parametrize("text", ["{", "[1]", '"no"'])
def test_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="receipts"):
        documents(text)


def test_too_few_receipts_say_nothing() -> None:
    with pytest.raises(Invalid, match="2 measured moves"):
        from_receipts([_receipt(f"m{n}", 1, 10, 1) for n in range(2)], "")
    with pytest.raises(Invalid, match="'wire' is missing"):
        from_receipts([_receipt("m", 1, 1, 1, bytes={"memory": 5})], "")
