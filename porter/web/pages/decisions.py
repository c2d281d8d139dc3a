"""The pages of plans that wait for a decision, of policies, and of the audit trail."""

from __future__ import annotations

import asyncio
import json
import re
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from porter.domain.audit import Anchor, Check, Entry, Finding
from porter.domain.errors import NotFound
from porter.web.access import Caller
from porter.web.pages.api import Api, Reader
from porter.web.pages.ground import pages, render
from porter.web.pages.offered import offered
from porter.web.pages.rules import in_words

router = pages()
PLAN_STATES = ("waiting", "open", "approved", "declined", "lapsed", "executed")
SHOWN = 100
LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?")
EXAMPLE = """\
version: 1
name: production
project: default
workloads: ["shop", "shop-*"]
approval:
  to: ["aws:*"]
"""


@router.get("/plans")
async def plans(
    request: Request, api: Reader, state: str = "waiting", workload: str = ""
) -> Response:
    _needs(request, "/v1/plans", "plans")
    wanted = "" if state == "all" else state
    found = await api.get("/v1/plans", state=wanted, workload=workload, limit=SHOWN)
    return render(
        request,
        "plans.html",
        plans=found,
        state=state,
        workload=workload,
        states=("all", *PLAN_STATES),
    )


@router.get("/plans/{identity}")
async def plan(request: Request, api: Reader, caller: Caller, identity: str) -> Response:
    _needs(request, "/v1/plans", "plans")
    found = await api.get(f"/v1/plans/{quote(identity, safe='')}")
    return render(
        request,
        "plan.html",
        plan=found,
        content=found["content"],
        forecast=found["content"].get("forecast") or {},
        mine=found["created_by"] == caller.person,
    )


async def _names(api: Api) -> dict[str, str]:
    """Id -> name of the people whom this reader may know."""
    known = await api.maybe("/v1/users", [])
    return {one["id"]: one["name"] or one["email"] for one in known}


def _needs(request: Request, path: str, what: str) -> None:
    if not offered(request, path):
        raise NotFound(
            f"cannot show {what}: this control plane's API has none",
            "update the control plane",
        )


@router.get("/policies")
async def policies(request: Request, api: Reader) -> Response:
    _needs(request, "/v1/policies", "policies")
    found = await api.all("/v1/policies")
    return render(
        request, "policies.html", policies=found, example=EXAMPLE, names=await _names(api)
    )


@router.get("/policies/{name}")
async def policy(request: Request, api: Reader, name: str) -> Response:
    _needs(request, "/v1/policies", "policies")
    found = await api.get(f"/v1/policies/{quote(name, safe='')}")
    said = in_words(found["document"])
    return render(request, "policy.html", policy=found, said=said, names=await _names(api))


@router.get("/audit")
async def audit(
    request: Request,
    api: Reader,
    actor: str = "",
    action: str = "",
    outcome: str = "",
    since: str = "",
    until: str = "",
    cursor: str = "",
) -> Response:
    _needs(request, "/v1/audit", "the audit trail")
    wanted = {
        "actor": actor,
        "action": action,
        "outcome": outcome,
        "since": since,
        "until": until,
    }
    asked = wanted | {"since": _utc(since), "until": _utc(until)}
    (found, following), names = await asyncio.gather(
        api.page("/v1/audit", **asked, cursor=cursor, limit=SHOWN), _names(api)
    )
    return render(
        request,
        "audit.html",
        entries=found,
        wanted=wanted,
        older=_older(wanted, following),
        names=names,
        exportable=offered(request, "/v1/audit/export"),
    )


@router.get("/audit/verified")
async def verified(request: Request, api: Reader) -> Response:
    """Reads the whole trail, as the API exports it, and says whether it is whole."""
    trail = await api.text("/v1/audit/export")
    found, count, head = await run_in_threadpool(_verify, trail)
    piece = "hx-request" in request.headers
    return render(
        request,
        "audit-verdict.html" if piece else "audit-verified.html",
        findings=found[:SHOWN],
        count=count,
        head=head,
    )


def _verify(trail: str) -> tuple[list[Finding], int, Anchor]:
    check = Check()
    entries = (Entry(**json.loads(line)) for line in trail.splitlines())
    return list(check.read(entries)), check.count, check.head


def _utc(text: str) -> str:
    """What a browser's field for a time gives, which names no zone."""
    return f"{text}Z" if LOCAL.fullmatch(text) else text


def _older(wanted: dict[str, str], cursor: str) -> str:
    if not cursor:
        return ""
    given = {key: value for key, value in wanted.items() if value}
    return f"/audit?{urlencode({**given, 'cursor': cursor})}"
