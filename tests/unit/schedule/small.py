"""Small problems, written down in few words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from porter.schedule.optimiser.model import HOUR, Bar, Job, Move, Node, Offer, Problem

NO = Bar("test", "because", "do this")
MOVE = Move(egress=0.5, seconds=60.0, downtime_s=1.0, downtime_cost=0.1, failure_cost=0.1)
NOWHERE: dict[str, Move] = {}


def job(name: str, host: str, memory: int = 4, **more: Any) -> Job:
    blank = Job(
        name=name,
        host=host,
        memory=memory,
        arriving=0,
        cpus=1.0,
        arch="x86_64",
        features=frozenset(),
        moves={"here": MOVE, "there": MOVE},
    )
    return replace(blank, **more)


def node(name: str, memory: int = 16, hourly: float = 0.1, **more: Any) -> Node:
    blank = Node(name, "here", memory, 8.0, "x86_64", frozenset(), hourly, hourly > 0)
    return replace(blank, **more)


def offer(key: str, memory: int = 16, hourly: float = 0.05, **more: Any) -> Offer:
    site, kind, terms = key.split("/")
    blank = Offer(
        key, site, kind, terms, memory, 8.0, "x86_64", frozenset(), hourly, most=2, boot_s=60.0
    )
    return replace(blank, **more)


def problem(
    jobs: list[Job], nodes: list[Node], offers: list[Offer] | None = None, **more: Any
) -> Problem:
    """Over 100 hours, so that 0.1 an hour are 10."""
    blank = Problem("EUR", 100 * HOUR, tuple(jobs), tuple(nodes), tuple(offers or ()), 1000)
    return replace(blank, **more)
