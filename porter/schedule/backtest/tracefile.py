"""Trace files: one JSON record a line. `docs/economics.md` describes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

from porter.domain.errors import Invalid
from porter.schedule.backtest.measured import MoveCosts
from porter.schedule.backtest.traces import (
    Host,
    MachineType,
    Outage,
    Priced,
    Rate,
    Trace,
    Workload,
    check,
    key,
)
from porter.schedule.series import Series

VERSION = 1


def write(trace: Trace, path: Path) -> None:
    """Raises Invalid if the file cannot be written."""
    try:
        path.write_text("".join(f"{json.dumps(one)}\n" for one in _records(trace)))
    except OSError as error:
        raise Invalid(f"cannot write {path}: {error.strerror}", "name another file") from error


def read(path: Path) -> Trace:
    """Raises Invalid, with the number of the line that is wrong."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read the trace {path}: {error}", "name a trace file") from error
    return parse(text)


def parse(text: str) -> Trace:
    """Raises Invalid, with the number of the line that is wrong."""
    parts = _Parts()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            parts.take(json.loads(line))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            wrong = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise Invalid(f"cannot read line {number} of the trace: {wrong}") from error
    return check(parts.trace())


class _Parts:
    """What has been read so far."""

    def __init__(self) -> None:
        self.head: Mapping[str, Any] | None = None
        self.notices: dict[str, float] = {}
        self.types: list[MachineType] = []
        self.prices: dict[str, Priced] = {}
        self.egress: dict[tuple[str, str], Rate] = {}
        self.hosts: list[Host] = []
        self.workloads: list[Workload] = []
        self.outages: list[Outage] = []
        self.moving: MoveCosts | None = None
        self._takers: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "trace": self._head,
            "site": self._site,
            "offer": self._offer,
            "price": self._price,
            "egress": self._rate,
            "host": self._host,
            "workload": self._workload,
            "outage": self._outage,
            "moves": self._moves,
        }

    def take(self, record: Mapping[str, Any]) -> None:
        taker = self._takers.get(record["kind"])
        if taker is None:
            raise ValueError(f"no record is called {record['kind']}")
        taker(record)

    def trace(self) -> Trace:
        if self.head is None or self.moving is None:
            raise Invalid("cannot use this trace", "it needs one `trace` and one `moves` record")
        head = self.head
        return Trace(
            head["currency"],
            _seconds(head["from"]),
            _seconds(head["to"]),
            float(head["step_s"]),
            head.get("note", ""),
            self.notices,
            tuple(self.types),
            self.prices,
            self.egress,
            tuple(self.hosts),
            tuple(self.workloads),
            tuple(sorted(self.outages, key=lambda one: one.at)),
            self.moving,
        )

    def _head(self, record: Mapping[str, Any]) -> None:
        if record["version"] != VERSION:
            raise ValueError(f"version {record['version']} is not known")
        str(record["currency"]), _seconds(record["from"]), _seconds(record["to"])
        float(record["step_s"])
        self.head = record

    def _site(self, record: Mapping[str, Any]) -> None:
        self.notices[record["name"]] = float(record["notice_s"])

    def _offer(self, record: Mapping[str, Any]) -> None:
        place = (record["site"], record["type"], int(record["memory"]), float(record["cpus"]))
        self.types.append(MachineType(*place, float(record["boot_s"]), int(record["most"])))

    def _price(self, record: Mapping[str, Any]) -> None:
        place = (record["site"], record["type"], record["terms"])
        if key(*place) in self.prices:
            raise ValueError(f"the price of {key(*place)} is told twice")
        told = (str(record["source"]), str(record["as_of"]))
        self.prices[key(*place)] = Priced(*place, _series(record), *told)

    def _rate(self, record: Mapping[str, Any]) -> None:
        told = (str(record["source"]), str(record["as_of"]))
        self.egress[record["from"], record["to"]] = Rate(float(record["per_gb"]), *told)

    def _host(self, record: Mapping[str, Any]) -> None:
        names = (record["name"], record["site"], record["type"], record["terms"])
        self.hosts.append(Host(*names, int(record["memory"]), float(record["cpus"])))

    def _workload(self, record: Mapping[str, Any]) -> None:
        departs = record.get("departs")
        self.workloads.append(
            Workload(
                record["name"],
                record["site"],
                record.get("host", ""),
                int(record["limit"]),
                float(record["cpus"]),
                int(record.get("files", 0)),
                bool(record["spot"]),
                record.get("near", ""),
                record.get("apart", ""),
                _seconds(record["arrives"]),
                inf if departs is None else _seconds(departs),
                _series(record),
            )
        )

    def _outage(self, record: Mapping[str, Any]) -> None:
        span = (_seconds(record["at"]), _seconds(record["until"]))
        self.outages.append(Outage(record["site"], record["type"], *span))

    def _moves(self, record: Mapping[str, Any]) -> None:
        values = {name: value for name, value in record.items() if name != "kind"}
        self.moving = MoveCosts(**values)


def _series(record: Mapping[str, Any]) -> Series:
    begin = _seconds(record["since"])
    points = [(begin + float(after), float(value)) for after, value in record["points"]]
    return Series(tuple(time for time, _ in points), tuple(value for _, value in points))


def _seconds(text: str) -> float:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} says no time zone")
    return at.timestamp()


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")


def _points(series: Series) -> dict[str, Any]:
    """Only where the value changes."""
    begin, last = series.times[0], None
    points = []
    for time, value in zip(series.times, series.values, strict=True):
        if value != last:
            points.append([round(time - begin, 3), value])
            last = value
    return {"since": _iso(begin), "points": points}


def _records(trace: Trace) -> Iterator[dict[str, Any]]:
    yield {
        "kind": "trace",
        "version": VERSION,
        "currency": trace.currency,
        "from": _iso(trace.start),
        "to": _iso(trace.end),
        "step_s": trace.step_s,
        "note": trace.note,
    }
    for name, notice in trace.notices.items():
        yield {"kind": "site", "name": name, "notice_s": notice}
    for offer in trace.types:
        yield {"kind": "offer", **asdict(offer)}
    for one in trace.prices.values():
        place = {"site": one.site, "type": one.type, "terms": one.terms}
        told = {"source": one.source, "as_of": one.as_of}
        yield {"kind": "price", **place, **told, **_points(one.series)}
    for (source, target), rate in trace.egress.items():
        yield {"kind": "egress", "from": source, "to": target, **asdict(rate)}
    for host in trace.hosts:
        yield {"kind": "host", **asdict(host)}
    for load in trace.workloads:
        yield _workload(load)
    for outage in trace.outages:
        span = {"at": _iso(outage.at), "until": _iso(outage.until)}
        yield {"kind": "outage", "site": outage.site, "type": outage.type, **span}
    yield {"kind": "moves", **asdict(trace.moving)}


def _workload(load: Workload) -> dict[str, Any]:
    record = {name: value for name, value in vars(load).items() if name != "memory"}
    record["arrives"] = _iso(load.arrives)
    record["departs"] = None if load.departs == inf else _iso(load.departs)
    return {"kind": "workload", **record, **_points(load.memory)}
