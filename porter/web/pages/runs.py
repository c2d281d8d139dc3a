"""The pages of the optimiser's runs, of schedules, and of how good forecasts are."""

from __future__ import annotations

import asyncio
import math
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from porter.domain.identity import Permission, Principal
from porter.domain.scheduling import HORIZON_S
from porter.web.access import Caller
from porter.web.pages import savings
from porter.web.pages.api import Api, Reader
from porter.web.pages.ground import pages, render

router = pages()
SHOWN = 100
STAYS = 200
"""So many workloads that stay are shown; the search narrows it down."""
HORIZONS = (1, 2, 7, 30, 90, 365)
"""Days for which what is decided may be expected to last."""
DAY = 86400
FIGURES = {
    "downtime": "Pause",
    "total": "Time in all",
    "wire": "Bytes on the wire",
    "cost": "Cost of traffic",
}


@router.get("/rebalances")
async def index(request: Request, api: Reader, caller: Caller, schedule: str = "") -> Response:
    found, projects = await asyncio.gather(
        api.get("/v1/rebalances", schedule=schedule, limit=SHOWN),
        api.maybe("/v1/projects", []),
    )
    return render(
        request,
        "rebalances.html",
        runs=found,
        schedule=schedule,
        shown=SHOWN,
        triggers=savings.TRIGGERS,
        proven=savings.proven,
        **_asking(caller, Permission.OPERATE, projects),
    )


def _asking(
    caller: Principal, permission: Permission, projects: list[dict[str, Any]]
) -> dict[str, Any]:
    """What a form for a run or a schedule may offer to this reader."""
    mine = caller.projects(permission)
    names = [one["name"] for one in projects if mine is None or one["name"] in mine]
    return {
        "everywhere": mine is None,
        "projects": names,
        "may_ask": mine is None or bool(names),
        "horizons": [
            (days * DAY, f"{days} day{'' if days == 1 else 's'}", days * DAY == HORIZON_S)
            for days in HORIZONS
        ],
    }


@router.get("/rebalances/{identity}")
async def show(request: Request, api: Reader, identity: str, q: str = "") -> Response:
    run = await api.get(f"/v1/rebalances/{quote(identity, safe='')}")
    stays = run["stays"] or {}
    found = list(savings.staying(stays, q))
    return render(
        request,
        "rebalance.html",
        run=run,
        answer=run["answer"] or {},
        problem=run["problem"] or {},
        proven=savings.proven(run["answer"]),
        method=savings.method(run["answer"]),
        why=savings.TRIGGERS.get(run["trigger"], run["trigger"]),
        proposals=[
            one | {"title": savings.title(one["content"]), "route": savings.route(one["content"])}
            for one in run["proposals"]
        ],
        would=[
            {"title": savings.title(one), "route": savings.route(one)}
            for one in (run["answer"] or {}).get("would", ())
        ],
        stays=found[:STAYS],
        found=len(found),
        total=len(stays),
        reasons=savings.reasons(stays),
        q=q,
        price=savings.price,
    )


@router.get("/schedules")
async def schedules(request: Request, api: Reader, caller: Caller) -> Response:
    found, projects = await asyncio.gather(api.all("/v1/schedules"), api.maybe("/v1/projects", []))
    last = await asyncio.gather(*(_last(api, one["name"]) for one in found))
    return render(
        request,
        "schedules.html",
        schedules=[one | {"last": run} for one, run in zip(found, last, strict=True)],
        proven=savings.proven,
        **_asking(caller, Permission.ADMIN, projects),
    )


async def _last(api: Api, schedule: str) -> dict[str, Any] | None:
    """The newest run of a schedule."""
    found = await api.get("/v1/rebalances", schedule=schedule, limit=1)
    return found[0] if found else None


@router.get("/forecasts")
async def forecasts(request: Request, api: Reader, workload: str = "") -> Response:
    told = await api.get("/v1/forecasts/accuracy", workload=workload)
    figures = [(label, told[name], _factor(told[name])) for name, label in FIGURES.items()]
    return render(
        request,
        "forecasts.html",
        told=told,
        figures=figures,
        workload=workload,
    )


def _factor(figure: dict[str, Any]) -> dict[str, float | None]:
    """By which factor half, and nine of ten, were off at most."""
    return {
        name: None if figure[name] is None else math.exp(figure[name]) for name in ("median", "p90")
    }
