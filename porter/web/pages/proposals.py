"""The pages of proposals: moves that pay, decided on, watched, and accounted for."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from porter.web.access import Caller
from porter.web.pages import savings
from porter.web.pages.api import Api, Reader
from porter.web.pages.ground import pages, render

router = pages()
CURRENT = ("waiting", "executing", "approved", "open")
"""What somebody may have to do something about, in this order."""
STATES = ("current", "all", *CURRENT, "done", "stopped", "declined", "lapsed")
SHOWN = 100


@router.get("/proposals")
async def index(request: Request, api: Reader, state: str = "current") -> Response:
    return render(
        request,
        "proposals.html",
        proposals=[_card(one) for one in await _found(api, state)],
        state=state,
        states=STATES,
        runs=await api.get("/v1/rebalances", limit=1),
        shown=SHOWN,
    )


async def _found(api: Api, state: str) -> list[dict[str, Any]]:
    if state != "current":
        wanted = "" if state == "all" else state
        found: list[dict[str, Any]] = await api.get("/v1/proposals", state=wanted, limit=SHOWN)
        return found
    lists = await asyncio.gather(
        *(api.get("/v1/proposals", state=one, limit=SHOWN) for one in CURRENT)
    )
    return [one for part in lists for one in part]


def _card(proposal: dict[str, Any]) -> dict[str, Any]:
    moves = proposal["moves"]
    return proposal | {
        "who": savings.who(proposal["content"]),
        "route": savings.route(proposal["content"]),
        "done": sum(one["state"] == "done" for one in moves),
        "schedule": schedule_of(proposal),
    }


def schedule_of(made: dict[str, Any]) -> str:
    """The schedule that had a proposal made; empty for a person."""
    by = str(made["created_by"])
    return by.removeprefix("schedule ") if by.startswith("schedule ") else ""


@router.get("/proposals/{identity}")
async def show(request: Request, api: Reader, caller: Caller, identity: str) -> Response:
    path = f"/v1/proposals/{quote(identity, safe='')}"
    proposal = await api.get(path)
    account = await api.get(f"{path}/receipt") if proposal["started_at"] else None
    return render(
        request,
        "proposal.html",
        proposal=proposal,
        content=proposal["content"],
        sums=proposal["content"]["sums"],
        title=savings.title(proposal["content"]),
        who=savings.who(proposal["content"]),
        route=savings.route(proposal["content"]),
        bars=savings.bars(proposal["content"]["sums"]),
        waves=savings.waves(proposal, await _under_way(api, proposal)),
        account=account,
        schedule=schedule_of(proposal),
        mine=proposal["created_by"] == caller.person,
        what=savings.WHAT,
        price=savings.price,
    )


async def _under_way(api: Api, proposal: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The migrations of moves that have begun and not ended, as far as this reader may see them."""
    wanted = [
        one["migration"]
        for one in proposal["moves"]
        if one["state"] == "begun" and one["migration"] is not None
    ]
    found = await asyncio.gather(*(api.maybe(f"/v1/migrations/{one}") for one in wanted))
    return {one["id"]: one for one in found if one is not None}
