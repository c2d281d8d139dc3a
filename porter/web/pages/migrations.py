"""The pages of migrations: all of them, and one as it happens."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from porter.domain.migration import FINAL, MigrationState
from porter.web.pages.api import Api, Reader
from porter.web.pages.ground import pages, render
from porter.web.pages.offered import offered
from porter.web.pages.waterfall import waterfall

router = pages()
SHOWN = 100
ACTIVE = tuple(one.value for one in MigrationState if one not in FINAL)


@router.get("/migrations")
async def index(
    request: Request, api: Reader, workload: str = "", state: str = "", host: str = ""
) -> Response:
    states = ACTIVE if state == "active" else (state,)
    lists = await asyncio.gather(
        *(api.get("/v1/migrations", workload=workload, state=one, limit=500) for one in states)
    )
    newest = sorted(
        (one for found in lists for one in found),
        key=lambda one: str(one["created_at"]),
        reverse=True,
    )
    found = [one for one in newest if not host or host in (one["from"], one["to"])]
    return render(
        request,
        "migrations.html",
        migrations=found[:SHOWN],
        found=len(found),
        wanted={"workload": workload, "state": state, "host": host},
        states=["active", *MigrationState],
        hosts=sorted({name for one in newest for name in (one["from"], one["to"])}),
    )


def _active(migration: dict[str, Any]) -> bool:
    return migration["state"] not in FINAL


@router.get("/migrations/{identity}")
async def show(request: Request, api: Reader, identity: str) -> Response:
    return render(request, "migration.html", **await _story(request, api, identity))


@router.get("/migrations/{identity}/live")
async def live(request: Request, api: Reader, identity: str) -> Response:
    """The part of the page that changes; fetched again whenever something happens."""
    return render(request, "migration-live.html", **await _story(request, api, identity))


async def _story(request: Request, api: Api, identity: str) -> dict[str, Any]:
    path = f"/v1/migrations/{quote(identity, safe='')}"
    migration = await api.get(path)
    receipt, workload, users = await asyncio.gather(
        api.maybe(f"{path}/receipt", {}),
        api.maybe(f"/v1/workloads/{quote(migration['workload'], safe='')}"),
        api.maybe("/v1/users", []),
    )
    ended = not _active(migration)
    target = None
    if migration["state"] == "held":
        target = await api.maybe(f"/v1/hosts/{quote(migration['to'], safe='')}")
    return {
        "migration": migration,
        "receipt": receipt,
        "workload": workload,
        "target": target,
        "ended": ended,
        "names": {one["id"]: one["name"] or one["email"] for one in users},
        "picture": waterfall(migration, receipt, time.time()),
        "can": _can(migration, workload),
        "jws": offered(request, "/v1/migrations/{}/receipt.jws"),
    }


def _can(migration: dict[str, Any], workload: dict[str, Any] | None) -> dict[str, bool]:
    """What could be done with it now; the API has the last word."""
    state = migration["state"]
    over = any(
        step["kind"] == "handover" and step["state"] == "done" for step in migration["steps"]
    )
    there = workload is not None and workload["host"] == migration["to"]
    return {
        "cancel": state in ("pending", "running")
        and not over
        and not migration["cancel_requested"],
        "rollback": state == "succeeded" and there and workload["migration"] is None
        if workload
        else False,
        "resolve": state == "held",
    }
