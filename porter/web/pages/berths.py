"""The harbour's map as a value: sites, the hosts in them, what runs there, what travels.

Made of what the API says. Few hosts are shown one by one with their workloads; of many, those that
somebody should look at, and all of them as cells of a grid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CARDS = 12
"""A site with more hosts than this shows them as a grid."""
NOTABLE = 6
"""Of a grid's hosts so many stand beside it as cards."""
CONTAINERS = 12
"""So many workloads of a host are shown by name."""
COLUMNS = 25
SPANS: dict[str, tuple[float, float]] = {
    "provision": (0.0, 0.0),
    "preflight": (0.0, 0.04),
    "reserve": (0.04, 0.14),
    "sync": (0.14, 0.7),
    "handover": (0.7, 0.94),
    "rewire": (0.94, 0.97),
    "publish": (0.97, 0.985),
    "settle": (0.985, 1.0),
}
"""Which part of the way a workload travels in each step."""
Said = Mapping[str, Any]


@dataclass
class Container:
    name: str
    state: str
    bytes: int
    leaving: bool = False


@dataclass
class Berth:
    """A host."""

    name: str
    alive: bool
    used: int
    total: int
    """Bytes of memory; 0 where the host has not told."""
    count: int
    """Of its workloads."""
    containers: list[Container]
    arriving: list[str]
    busy: bool
    """Whether something leaves or arrives."""

    @property
    def more(self) -> int:
        return self.count - len(self.containers)

    @property
    def share(self) -> float:
        return self.used / self.total if self.total else 0.0

    @property
    def tone(self) -> str:
        if not self.alive:
            return "bad"
        return "warn" if self.share > 0.9 else "good"


@dataclass
class Cell:
    name: str
    tone: str
    level: int
    """Memory in use, in quarters."""
    x: int
    y: int


@dataclass
class Quay:
    """A site."""

    name: str
    hosts: int
    down: int
    workloads: int
    costs: list[Said]
    berths: list[Berth]
    cells: list[Cell] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return -(-len(self.cells) // COLUMNS)


@dataclass
class Voyage:
    """A migration under way. `done` is the part of the way, 0 to 1."""

    id: str
    workload: str
    source: str
    target: str
    state: str
    phase: str
    done: float


def voyages(moves: Iterable[Said]) -> list[Voyage]:
    """The overview's migrations."""
    told = ("id", "workload", "source", "target", "state")
    return [
        Voyage(**{key: move[key] for key in told}, phase=move["phase"] or "", done=_way(move))
        for move in moves
    ]


def _way(move: Said) -> float:
    begin, end = SPANS.get(move["phase"] or "", (0.0, 0.0))
    part = min(1.0, move["done"] / move["total"]) if move["total"] else 0.0
    return begin + (end - begin) * part


def quays(sites: Iterable[Said], workloads: Iterable[Said], moving: Sequence[Voyage]) -> list[Quay]:
    """The overview's sites; `workloads` as far as they are to be shown by name."""
    living: dict[str, list[Said]] = defaultdict(list)
    for workload in workloads:
        living[workload["host"] or ""].append(workload)
    leaving, arriving = defaultdict[str, set[str]](set), defaultdict[str, list[str]](list)
    for voyage in moving:
        leaving[voyage.source].add(voyage.workload)
        arriving[voyage.target].append(voyage.workload)
    return [
        _quay(
            site,
            [
                _berth(host, living[host["name"]], leaving[host["name"]], arriving[host["name"]])
                for host in site["hosts"]
            ],
        )
        for site in sites
    ]


def _berth(host: Said, living: Sequence[Said], leaving: set[str], arriving: list[str]) -> Berth:
    # Those that leave are always shown, then the largest.
    order = sorted(living, key=lambda one: (one["name"] not in leaving, -one["memory_bytes"]))
    shown = [
        Container(one["name"], one["state"], one["memory_bytes"], one["name"] in leaving)
        for one in order[:CONTAINERS]
    ]
    return Berth(
        name=host["name"],
        alive=host["alive"],
        used=host["used_bytes"] or 0,
        total=host["memory_bytes"] or 0,
        count=max(host["workloads"], len(living)),
        containers=sorted(shown, key=lambda one: one.name),
        # A new home's first heartbeat may be quicker than the migration's last step.
        arriving=[name for name in arriving if all(one["name"] != name for one in living)],
        busy=bool(leaving or arriving),
    )


def _quay(site: Said, berths: list[Berth]) -> Quay:
    quay = Quay(
        name=site["site"],
        hosts=len(berths),
        down=sum(not one.alive for one in berths),
        workloads=sum(one.count for one in berths),
        costs=site["cost"]["known"],
        berths=sorted(berths, key=lambda one: one.name),
    )
    if len(berths) > CARDS:
        quay.cells = [
            Cell(
                one.name,
                one.tone,
                min(3, int(one.share * 4)),
                number % COLUMNS,
                number // COLUMNS,
            )
            for number, one in enumerate(quay.berths)
        ]
        quay.berths = sorted(quay.berths, key=_calm)[:NOTABLE]
    return quay


def _calm(berth: Berth) -> tuple[bool, bool, float]:
    """Sorts first what somebody should look at: hosts down, moves, full memory."""
    return (berth.alive, not berth.busy, -berth.share)
