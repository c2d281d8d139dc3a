"""Tables and the receipt, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import exp
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from porter.domain.migration import StepKind
from porter.domain.units import bytes_, clock, duration

STATE_STYLES = {
    "succeeded": "green",
    "rolled_back": "yellow",
    "held": "bold red",
    "failed": "red",
    "undoing": "yellow",
    "running": "cyan",
    "pending": "dim",
}
_BAR_WIDTH = 48
_DOWNTIME = "yellow"
_STEPS = frozenset(str(kind) for kind in StepKind)


def state(name: str) -> Text:
    return Text(name.replace("_", " "), style=STATE_STYLES.get(name, ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> RenderableType:
    """A plain table, or one sentence if there is nothing to show."""
    found = list(rows)
    if not found:
        return Text(empty, style="dim")
    picture = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        picture.add_column(column, overflow="fold")
    for row in found:
        picture.add_row(*(cell if isinstance(cell, Text) else _text(cell) for cell in row))
    return picture


def pairs(rows: Iterable[tuple[str, Any]]) -> Table:
    """Names and values, one below the other."""
    picture = Table.grid(padding=(0, 2))
    picture.add_column(style="dim", justify="right")
    picture.add_column(overflow="fold")
    for name, value in rows:
        picture.add_row(name, value if isinstance(value, Table | Text) else _text(value))
    return picture


def _text(value: Any) -> str:
    return "–" if value is None or value == "" else str(value)


def hosts(found: Iterable[dict[str, Any]]) -> RenderableType:
    def row(host: dict[str, Any]) -> list[Any]:
        facts = host.get("facts") or {}
        alive = bool(host.get("alive"))
        criu = facts.get("criu_version") or []
        return [
            host.get("name"),
            host.get("site"),
            Text("up", style="green") if alive else Text("down", style="red"),
            facts.get("kernel"),
            ".".join(map(str, criu)) if criu and criu != [0] else "–",
            bytes_(facts.get("memory_free")),
            host.get("range"),
            ", ".join(map(_name, host.get("workloads") or ())),
        ]

    columns = ("HOST", "SITE", "STATE", "KERNEL", "CRIU", "FREE MEMORY", "RANGE", "WORKLOADS")
    return table(columns, map(row, found), "No hosts yet; 'porter host token' lets one join.")


def _name(item: Any) -> str:
    return str(item.get("name")) if isinstance(item, dict) else str(item)


def workloads(found: Iterable[dict[str, Any]]) -> RenderableType:
    def row(workload: dict[str, Any]) -> list[Any]:
        return [
            workload.get("name"),
            workload.get("host"),
            workload.get("state"),
            workload.get("address"),
            bytes_(workload.get("memory_bytes")),
            workload.get("generation"),
            workload.get("image"),
        ]

    columns = ("WORKLOAD", "HOST", "STATE", "ADDRESS", "MEMORY", "GENERATION", "IMAGE")
    empty = "No workloads; start a container with the labels porter.enable=true and porter.name=…"
    return table(columns, map(row, found), empty)


def sites(found: Iterable[dict[str, Any]]) -> RenderableType:
    def row(site: dict[str, Any]) -> list[Any]:
        missing = site.get("missing") or []
        rights = Text(f"{len(missing)} missing", style="red") if missing else ""
        if not missing and site.get("verified_at"):
            rights = Text("verified", style="green")
        here = [", ".join(site["hosts"]), len(site["workloads"])]
        return [site["name"], site.get("kind"), *here, ", ".join(site.get("can") or ()), rights]

    columns = ("SITE", "KIND", "HOSTS", "WORKLOADS", "PORTER CAN", "RIGHTS")
    return table(columns, map(row, found), "No sites yet: no host has joined.")


def offers(found: Iterable[dict[str, Any]]) -> RenderableType:
    """Machines that could be made."""

    def row(offer: dict[str, Any]) -> list[Any]:
        price = f"{offer['amount']} {offer['currency']}" if offer["amount"] else "unknown"
        size = bytes_(offer["memory_bytes"])
        return [offer["type"], offer["cpus"], size, price, offer["as_of"][:10], offer["source"]]

    columns = ("MACHINE", "CPUS", "MEMORY", "PRICE/HOUR", "AS OF", "SOURCE")
    return table(columns, map(row, found), "No machines.")


def _cost(cost: dict[str, Any]) -> str:
    """Traffic paid once, and the new machine by the hour; what is unknown says why."""
    moved, hourly = cost.get("egress") or {}, cost.get("target") or {}
    parts = []
    if moved:
        known = moved.get("amount") is not None
        price = f"{moved['amount']} {moved['currency']}".strip() if known else "unknown"
        parts.append(f"traffic {price} ({moved.get('source')})")
    if hourly:
        amount = hourly.get("amount")
        price = f"{amount} {hourly.get('currency')}" if amount else "unknown"
        parts.append(f"{hourly.get('item')} {price} an hour ({hourly.get('source')})")
    return "; ".join(parts)


def migrations(found: Iterable[dict[str, Any]]) -> RenderableType:
    def row(migration: dict[str, Any]) -> list[Any]:
        return [
            migration.get("id"),
            migration.get("workload"),
            f"{migration.get('from')} → {migration.get('to')}",
            migration.get("mode"),
            state(str(migration.get("state"))),
            clock(migration.get("started_at") or migration.get("created_at")),
            migration.get("reason"),
        ]

    columns = ("ID", "WORKLOAD", "MOVE", "MODE", "STATE", "STARTED", "REASON")
    return table(columns, map(row, found), "No migrations yet.")


def blockers(found: Sequence[dict[str, Any]]) -> RenderableType:
    """What stands in the way, and what to do about each."""
    lines: list[RenderableType] = []
    for blocker in found:
        lines.append(Text.assemble(("✗ ", "red"), str(blocker.get("message"))))
        if blocker.get("remedy"):
            lines.append(Text(f"  → {blocker['remedy']}", style="dim"))
    return Group(*lines)


def receipt(document: dict[str, Any]) -> RenderableType:
    """What really happened, measured."""
    name = str(document.get("state"))
    moved = document.get("bytes") or {}
    kept = document.get("connections") or {}
    rows: list[tuple[str, Any]] = [
        ("migration", document.get("id")),
        ("state", state(name)),
        ("mode", document.get("mode")),
        ("generation", document.get("generation")),
        ("downtime", Text(duration(document.get("downtime_ms")), style="bold reverse")),
        ("total", duration(document.get("total_ms"))),
        ("moved", _moved(moved)),
        ("on the wire", _wire(moved)),
        ("connections", f"{kept.get('kept', 0)} kept, {kept.get('closed', 0)} closed"),
        ("verified", _digest(document.get("verified"))),
        ("cost", _cost(document.get("cost") or {})),
        *([("forecast", told)] if (told := _foretold(document)) else []),
        ("endpoints", "\n".join(document.get("endpoints") or ())),
        ("started", clock(document.get("started_at"))),
    ]
    if document.get("reason"):
        rows.append(("reason", Text(str(document["reason"]), style=STATE_STYLES.get(name, ""))))
    body: list[RenderableType] = [pairs(rows)]
    measured = [p for p in document.get("phases") or () if p.get("ms") is not None]
    if measured:
        body += [Text(""), phases(measured)]
    title = f"{document.get('workload')}: {document.get('from')} → {document.get('to')}"
    style = STATE_STYLES.get(name, "")
    return Panel(Group(*body), title=title, border_style=style, expand=False, padding=(1, 2))


def ranged(told: dict[str, Any], unit: Callable[[float], str]) -> str:
    """`610 ms (420 ms to 1.10 s)`."""
    return f"{unit(told['likely'])} ({unit(told['low'])} to {unit(told['high'])})"


def forecast(told: dict[str, Any] | None) -> list[tuple[str, Any]]:
    """Rows for what a move is expected to come to; none where nothing is."""
    if not told:
        return []
    cost = told["cost"]
    price = f"unknown: {cost['source']}"
    if cost["likely"] is not None:
        plain = (f"{cost['likely']} ({cost['low']} to {cost['high']})", cost["currency"])
        price = " ".join(filter(None, plain)) if float(cost["high"]) else "0"
        price += f", {cost['source']}"
    guess = "" if told["known"] else "a guess: "
    return [
        ("downtime", Text(ranged(told["downtime_ms"], duration), style="bold")),
        ("total", ranged(told["total_ms"], duration)),
        ("on the wire", ranged(told["wire"], bytes_)),
        ("traffic", price),
        ("fails", f"in {told['failure']:.1%} of such moves"),
        ("rests on", f"{guess}{told['basis']}"),
    ]


def _foretold(document: dict[str, Any]) -> str:
    """What the receipt's forecast said, and how far off it was."""
    said, off = document.get("forecast"), document.get("forecast_error") or {}
    if not said:
        return ""
    parts = [f"downtime {ranged(said['downtime_ms'], duration)}"]
    parts.append(f"total {ranged(said['total_ms'], duration)}")
    if off:
        parts.append(", ".join(f"{name} came to {ratio:g} × that" for name, ratio in off.items()))
    return "; ".join(parts)


def accuracy(found: dict[str, Any]) -> RenderableType:
    """How good forecasts were."""

    def row(name: str) -> list[Any]:
        figure = found[name]
        if not figure["count"]:
            return [name, 0, "", "", ""]
        half, most = exp(figure["median"]), exp(figure["p90"])
        return [
            name,
            figure["count"],
            f"{half:.2f} ×",
            f"{most:.2f} ×",
            f"{figure['inside']:.0%} (of {found['share']:.0%})",
        ]

    columns = ("FORECAST OF", "MOVES", "HALF WITHIN", "NINE OF TEN WITHIN", "INSIDE THE RANGE")
    names = ("downtime", "total", "wire", "cost") if found["moves"] else ()
    return table(columns, map(row, names), "No move with a forecast has succeeded yet.")


def _moved(moved: dict[str, Any]) -> str:
    parts = [f"{bytes_(moved.get(kind, 0))} {kind}" for kind in ("memory", "files", "image")]
    return ", ".join(parts)


def _wire(moved: dict[str, Any]) -> str:
    frozen = bytes_(moved.get("wire_frozen", 0))
    return f"{bytes_(moved.get('wire', 0))}, of it {frozen} while frozen"


def _digest(value: Any) -> str:
    return f"digests agree ({str(value)[:16]}…)" if value else "not reached"


def phases(measured: Sequence[dict[str, Any]]) -> RenderableType:
    """Phases as bars laid end to end: length and position are time.

    Steps follow one another; what follows the handover and is no step is a part of it, and of the
    downtime, and is drawn below it.
    """
    steps = [phase for phase in measured if phase["name"] in _STEPS] or measured
    total = sum(float(phase["ms"]) for phase in steps) or 1.0
    picture = Table.grid(padding=(0, 1))
    picture.add_column(justify="left")
    picture.add_column(width=_BAR_WIDTH, no_wrap=True)
    picture.add_column(justify="right")
    end = inner = 0.0
    for phase in measured:
        name, ms = str(phase["name"]), float(phase["ms"])
        if phase in steps:
            inner, begun, end = end, end, end + ms
            label, style = Text(name, style="dim"), "cyan"
        else:
            begun, inner = inner, inner + ms
            label, style = Text(f"  {name}", style="dim"), _DOWNTIME
        picture.add_row(label, _bar(begun / total, ms / total, style), duration(ms))
    return picture


def _bar(begun: float, length: float, style: str) -> Text:
    left = min(_BAR_WIDTH - 1, int(begun * _BAR_WIDTH))
    right = max(left + 1, min(_BAR_WIDTH, round((begun + length) * _BAR_WIDTH)))
    return Text(" " * left).append("━" * (right - left), style=style)
