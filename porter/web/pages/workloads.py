"""The pages of workloads: all of them, one, and where one could go."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from porter.web.pages.api import Api, Reader, Refused
from porter.web.pages.ground import pages, render
from porter.web.pages.journey import active, stays

log = logging.getLogger(__name__)
router = pages()
SHOWN = 200
"""So many rows of a list are shown; the search narrows it down."""
STATES = ("running", "paused", "stopped", "exited")
TARGETS = 24
"""So many targets are listed before the reader asks for more."""


@router.get("/workloads")
async def index(
    request: Request, api: Reader, q: str = "", state: str = "", site: str = "", project: str = ""
) -> Response:
    wanted = {"state": state, "site": site, "project": project}
    found, sites, projects = await asyncio.gather(
        api.get("/v1/workloads", name=q, limit=SHOWN, **wanted),
        api.all("/v1/sites"),
        api.maybe("/v1/projects", []),
    )
    return render(
        request,
        "workloads.html",
        workloads=found,
        more=len(found) == SHOWN,
        total=sum(one["workloads"] for one in projects) or len(found),
        q=q,
        wanted=wanted,
        choices={
            "state": STATES,
            "site": [one["name"] for one in sites],
            "project": [one["name"] for one in projects],
        },
    )


@router.get("/workloads/{name}")
async def show(request: Request, api: Reader, name: str, more: bool = False) -> Response:
    path = f"/v1/workloads/{quote(name, safe='')}"
    workload = await api.get(path)
    migrations, hosts, sites, checkpoints, stores, explanation = await asyncio.gather(
        api.get("/v1/migrations", workload=workload["name"], limit=50),
        api.all("/v1/hosts"),
        api.all("/v1/sites"),
        api.maybe("/v1/checkpoints", [], workload=workload["name"]),
        api.maybe("/v1/stores", []),
        _explained(api, path),
    )
    here = next((one for one in hosts if one["name"] == workload["host"]), None)
    targets = _targets(workload, hosts, sites)
    return render(
        request,
        "workload.html",
        workload=workload,
        here=here,
        stays=stays(migrations, workload["host"]),
        migrations=migrations,
        active=active(migrations),
        targets=targets if more else targets[:TARGETS],
        hidden=0 if more else max(0, len(targets) - TARGETS),
        checkpoints=checkpoints,
        stores=stores,
        explanation=explanation,
        hosts=[one for one in hosts if one["alive"]],
    )


async def _explained(api: Api, path: str) -> dict[str, Any] | None:
    """Why it stays or is to move, with the `state` of the proposal that would move it."""
    told: dict[str, Any] | None = await api.maybe(f"{path}/explanation")
    if told is None or told["proposal"] is None:
        return told
    proposal = await api.maybe(f"/v1/proposals/{told['proposal']}", {})
    return told | {"state": proposal.get("state", "")}


def _targets(
    workload: dict[str, Any], hosts: list[dict[str, Any]], sites: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Every host but its own, living ones first, then the sites where a machine can be made."""
    found = [
        {"kind": "host", "name": one["name"], "site": one["site"], "host": one, "alive": True}
        | {"alive": bool(one["alive"])}
        for one in hosts
        if one["name"] != workload["host"]
    ]
    found.sort(key=lambda one: (not one["alive"], one["site"], one["name"]))
    return found + [
        {"kind": "site", "name": one["name"], "site": one["name"], "host": None, "alive": True}
        for one in sites
        if "hosts" in one["can"] and not any(host["site"] == one["name"] for host in hosts)
    ]


@router.get("/workloads/{name}/targets/{target}")
async def target(request: Request, api: Reader, name: str, target: str) -> Response:
    """What a dry run says of one target: a piece of the workload's page, or a page of its own."""
    path = f"/v1/workloads/{quote(name, safe='')}"
    try:
        verdict, problem = await api.post(f"{path}/preflight", {"to": target}), None
    except Refused as error:
        verdict, problem = None, error
    workload = await api.get(path)
    judged = await _judged(api, workload["name"], target)
    costs = await _costs(api, path, target, verdict)
    piece = "hx-request" in request.headers
    return render(
        request,
        "target-piece.html" if piece else "target.html",
        workload=workload,
        target=target,
        verdict=verdict,
        problem=problem,
        judged=judged,
        costs=costs,
    )


async def _judged(api: Api, workload: str, target: str) -> dict[str, Any]:
    """What the policies say of the move."""
    try:
        said: dict[str, Any] = await api.post("/v1/verdicts", {"workload": workload, "to": target})
    except Refused as error:
        # The dry run says why it cannot be made at all.
        log.debug("no verdict on %s to %s: %s", workload, target, error)
        return {"outcome": "allowed", "findings": [], "opens_at": None}
    return said


async def _costs(
    api: Api, path: str, target: str, verdict: dict[str, Any] | None
) -> dict[str, Any]:
    """What is known of the price there, and of the traffic that the move makes."""
    known: dict[str, Any] = {"hourly": None, "traffic": None, "before": None}
    if verdict is None:
        return known
    size = (verdict.get("memory_bytes") or 0) + (verdict.get("file_bytes") or 0)
    host = await api.maybe(f"/v1/hosts/{quote(target, safe='')}")
    site = target if host is None else host["site"]
    if host is not None and host.get("machine"):
        known["hourly"] = host["machine"].get("quote")
    elif verdict.get("offers"):
        known["hourly"] = verdict["offers"][0]
    priced = await api.maybe(f"{path}/prices", {}, bytes=size)
    for choice in priced.get("choices") or ():
        if choice["quote"]["site"] == site:
            known["traffic"] = choice["moving"]
            break
    known["before"] = await _before(api, verdict["workload"], target)
    return known


async def _before(api: Api, workload: str, target: str) -> dict[str, Any] | None:
    """The receipt of its last move to this target, or else to anywhere: what to reckon with."""
    moved = [
        one
        for one in await api.get("/v1/migrations", workload=workload, limit=20)
        if one["state"] == "succeeded"
    ]
    if not moved:
        return None
    last = next((one for one in moved if one["to"] == target), moved[0])
    receipt: dict[str, Any] | None = await api.maybe(f"/v1/migrations/{last['id']}/receipt")
    return receipt
