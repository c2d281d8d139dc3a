"""What became of moves that a proposal began, and whether it may go on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from porter.db.base import MigrationRecord
from porter.db.found import SETTLING
from porter.db.proposals import Carrying, MoveRecord, MoveState
from porter.domain.migration import MigrationState

WRONG = 2.0
"""A forecast was wrong when what happened is more than so many times its high end: one move of ten
lies above that end by the very meaning of the range."""
HEALTH_LIMIT = 60.0
"""Seconds after which a container that no host tells of counts as not running."""


@dataclass(frozen=True)
class Followed:
    """The moves as they are now. `against`: why no further one may begin; empty if nothing is."""

    moves: tuple[MoveRecord, ...]
    against: str
    active: bool
    """Whether something that was begun has not come to its end."""


def follow(carrying: Carrying, now: float) -> Followed:
    """Look at every move that was begun."""
    moves, reasons = [], []
    for move in carrying.moves:
        migration = carrying.migrations.get(move.migration or "")
        if move.state == MoveState.BEGUN and migration is not None:
            wish = carrying.proposal.content["moves"][move.seq]
            move, why = _look(carrying, move, migration, wish, now)
            reasons.append(why)
        moves.append(move)
    against = next((why for why in reasons if why), "")
    active = any(move.state == MoveState.BEGUN for move in moves)
    return Followed(tuple(moves), against, active)


def _look(
    carrying: Carrying,
    move: MoveRecord,
    migration: MigrationRecord,
    wish: dict[str, Any],
    now: float,
) -> tuple[MoveRecord, str]:
    """The move, and why the proposal should stop; empty if it should not."""
    what = f"the move of {move.workload} ({migration.id})"
    if migration.state is MigrationState.HELD:
        return move, f"{what} is held: {migration.reason}"
    if not migration.state.final:
        slow = _beyond(migration, wish, "total", now - migration.created)
        return move, f"{what} takes longer than expected: {slow}" if slow else ""
    if migration.state is not MigrationState.SUCCEEDED:
        why = f"{str(migration.state).replace('_', ' ')}: {migration.reason}"
        return replace(move, state=MoveState.FAILED, reason=why, ended=now), f"{what} {why}"
    ill = _ill(carrying, move, migration, now)
    if ill is None:
        return move, ""
    if ill:
        return replace(move, state=MoveState.FAILED, reason=ill, ended=now), f"{what}: {ill}"
    done = replace(move, state=MoveState.DONE, ended=migration.finished or now)
    slow = next(_slow(migration, wish), "")
    return done, f"{what} {slow}" if slow else ""


def _ill(
    carrying: Carrying, move: MoveRecord, migration: MigrationRecord, now: float
) -> str | None:
    """Why a moved workload is not well; empty if it is, None if that cannot be told yet."""
    settled = (migration.finished or now) + SETTLING
    workload = carrying.workloads.get(move.workload)
    if now < settled:
        return None
    if workload is None:
        return "nobody knows it any more"
    if workload.host != migration.target:
        return f"it is not on {migration.target_name} any more"
    if workload.state == "gone":
        return f"its container no longer runs on {migration.target_name}"
    if carrying.seen.get(move.workload, 0.0) < settled:
        silent = now > settled + HEALTH_LIMIT
        return f"{migration.target_name} has not told of it since" if silent else None
    if workload.state != "running":
        return f"its container is {workload.state} on {migration.target_name}"
    return ""


def _slow(migration: MigrationRecord, wish: dict[str, Any]) -> Iterator[str]:
    """What lies beyond its forecast."""
    receipt = migration.receipt or {}
    for key, what in (("downtime", "paused"), ("total", "took")):
        told = receipt.get(f"{key}_ms")
        if told is not None:
            beyond = _beyond(migration, wish, key, float(told) / 1000)
            if beyond:
                yield f"{what} longer than expected: {beyond}"


def _beyond(migration: MigrationRecord, wish: dict[str, Any], key: str, seconds: float) -> str:
    highs = [] if wish["new"] and key == "total" else [wish["outlook"][f"{key}_s"]["high"]]
    forecast = migration.forecast or {}
    if forecast.get("known"):
        highs.append(forecast[f"{key}_ms"]["high"] / 1000)
    known = [high for high in highs if high is not None]
    if not known or seconds <= WRONG * max(known):
        return ""
    return f"{seconds:.2f} s, where at most {max(known):.2f} s were forecast"


def report(carrying: Carrying, moves: tuple[MoveRecord, ...], why: str, idle: float) -> str:
    """What was done and what not, for a proposal that ends."""
    done = [move.workload for move in moves if move.state == MoveState.DONE]
    left = [move.workload for move in moves if move.state != MoveState.DONE]
    words = [f"{len(done)} of {len(moves)} moves were made"]
    if why:
        words[:0] = [why]
    if left:
        words.append(f"not made: {', '.join(left)}")
    empty = _empty(carrying, moves)
    if left and empty:
        then = f"after {idle:.0f} s" if idle > 0 else "by hand, as PORTER_IDLE is 0"
        words.append(f"{', '.join(empty)} stands empty and is removed {then}")
    return "; ".join(words)


def _empty(carrying: Carrying, moves: tuple[MoveRecord, ...]) -> list[str]:
    """New machines that nothing lives on."""
    homes = {one.host for one in carrying.workloads.values()}
    wishes = carrying.proposal.content["moves"]
    made = {
        carrying.migrations[move.migration].target_name
        for move in moves
        if move.migration in carrying.migrations and wishes[move.seq]["new"]
    }
    hosts = [carrying.hosts[name] for name in sorted(made) if name in carrying.hosts]
    return [host.name for host in hosts if host.id in carrying.machines and host.id not in homes]
