"""What runs and proposals say, put into words and pictures. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from porter.web.pages.words import cost, exact

WHAT = {
    "machine": "Machine",
    "double": "Paid while it empties",
    "egress": "Traffic",
    "downtime": "What the pause is worth",
    "failure": "Risk that the move fails",
    "interruptions": "Risk of interruptions",
}
"""Kinds of lines in sums and accounts."""
TRIGGERS = {
    "manual": "asked for",
    "cron": "by the clock",
    "catch-up": "missed, and caught up with",
    "price": "as prices changed",
    "interruption": "as a machine is about to be taken away",
}
METHODS = {
    "exact": "solved exactly",
    "aggregated": "solved with like machines taken together",
    "greedy": "found by trying",
}
STEPS = ("done", "skipped")
WIDE = 100.0
BEST = 0.0005
"""A gap below this is none."""
UNPROVEN = 0.995
"""A gap from here on says nothing."""


def proven(answer: Mapping[str, Any] | None) -> str:
    """How good an answer is: `proven within 0.4 % of the best`; empty for none."""
    if not answer:
        return ""
    gap = float(answer["gap"])
    if gap < BEST:
        return "proven to be the best"
    if gap >= UNPROVEN:
        return "how good it is, is not proven"
    return f"proven within {gap * 100:.1f} % of the best"


def method(answer: Mapping[str, Any] | None) -> str:
    """By what means an answer was found; empty for none."""
    return "" if not answer else METHODS.get(answer["method"], str(answer["method"]))


def title(content: Mapping[str, Any]) -> str:
    """`3 moves save 182.40 USD`."""
    count, sums = len(content["moves"]), content["sums"]
    saving = Decimal(sums["saving"])
    moves = f"{count} move{'' if count == 1 else 's'}"
    if saving < 0:
        return f"{moves} cost{'s' if count == 1 else ''} {cost(-saving, sums['currency'])} more"
    return f"{moves} save{'s' if count == 1 else ''} {cost(saving, sums['currency'])}"


def who(content: Mapping[str, Any], most: int = 4) -> str:
    """`Move shop, mail and 2 more`."""
    names = [str(one["workload"]) for one in content["moves"]]
    if len(names) > most:
        return f"Move {', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    last = names.pop()
    return f"Move {', '.join(names)} and {last}" if names else f"Move {last}"


def route(content: Mapping[str, Any]) -> str:
    """From where to where: `rack-1 → aws:eu-west-1/c6i.large/spot#1 (new), rack-2; rack-1 ends`."""
    sources = dict.fromkeys(str(one["from"]) for one in content["moves"])
    targets = dict.fromkeys(
        f"{one['to']} (new)" if one["new"] else str(one["to"]) for one in content["moves"]
    )
    ended = content["ended"]
    ends = f"; {', '.join(ended)} end{'s' if len(ended) == 1 else ''}" if ended else ""
    return f"{', '.join(sources)} → {', '.join(targets)}{ends}"


@dataclass(frozen=True)
class Part:
    """A piece of a bar: where it begins and how wide it is, in hundredths of the longest bar."""

    kind: str
    """`machines`, `risk` or `once`."""
    x: float
    width: float


@dataclass(frozen=True)
class Bar:
    label: str
    total: str
    parts: tuple[Part, ...]


def bars(sums: Mapping[str, Any]) -> list[Bar]:
    """What it costs over the horizon if nothing is done, and if everything is."""
    found = []
    longest = max(Decimal(sums["before"]), Decimal(sums["after"]), Decimal("0.000001"))
    for label, when in (("If nothing moves", "before"), ("If it is carried out", "after")):
        amounts = {"machines": Decimal(0), "risk": Decimal(0), "once": Decimal(0)}
        for line in sums["lines"]:
            amounts[_kind(line)] += Decimal(line[when])
        parts, x = [], 0.0
        for kind, amount in amounts.items():
            width = float(amount / longest) * WIDE
            if width > 0:
                parts.append(Part(kind, round(x, 2), round(width, 2)))
                x += width
        found.append(Bar(label, cost(sums[when], sums["currency"]), tuple(parts)))
    return found


def _kind(line: Mapping[str, Any]) -> str:
    if line["once"]:
        return "once"
    return "machines" if line["what"] == "machine" else "risk"


def price(basis: Mapping[str, Any]) -> str:
    """`0.02 USD an hour, on demand`; empty where a line rests on no price."""
    if basis.get("amount") is None:
        return ""
    unit = {"hour": " an hour", "GB": " per GB", "month": " a month"}.get(basis["unit"], "")
    terms = str(basis.get("terms") or "").replace("_", " ") if basis["unit"] == "hour" else ""
    return f"{exact(basis['amount'], basis['currency'])}{unit}{', ' if terms else ''}{terms}"


@dataclass(frozen=True)
class Wave:
    number: int
    moves: tuple[dict[str, Any], ...]
    """Each as the API tells it, with `wish` (of the content) and `at` (of its migration)."""


def waves(proposal: Mapping[str, Any], under_way: Mapping[str, Mapping[str, Any]]) -> list[Wave]:
    """`under_way`: migrations by id, those whose moves have begun and not ended."""
    found: dict[int, list[dict[str, Any]]] = {}
    for wish, move in zip(proposal["content"]["moves"], proposal["moves"], strict=True):
        at = under_way.get(move["migration"] or "")
        told = {**move, "wish": wish, "at": None if at is None else progress(at)}
        found.setdefault(move["wave"], []).append(told)
    return [Wave(number + 1, tuple(moves)) for number, moves in sorted(found.items())]


def progress(migration: Mapping[str, Any]) -> dict[str, Any]:
    """How far a migration has come, in steps."""
    steps: Sequence[Mapping[str, Any]] = migration["steps"]
    return {
        "done": sum(step["state"] in STEPS for step in steps),
        "of": len(steps),
        "phase": migration["phase"] or migration["state"],
    }


def reasons(stays: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Rule -> how many workloads it binds, the most frequent first."""
    count: dict[str, int] = {}
    for one in stays.values():
        count[one["rule"]] = count.get(one["rule"], 0) + 1
    return sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))


def staying(stays: Mapping[str, Any], q: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of a run's that hold all the words, by name."""
    words = q.lower().split()
    for name, one in sorted(stays.items()):
        text = f"{name} {one['rule']} {one['why']} {one['remedy']}".lower()
        if all(word in text for word in words):
            yield name, one
