"""The pages of webhooks: where events are sent, and what became of them."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from porter.domain.identity import EVERYWHERE, FLEET, Permission
from porter.domain.webhook import DeliveryState
from porter.web.access import Caller
from porter.web.pages.api import Reader
from porter.web.pages.ground import pages, render

router = pages()
SHOWN = 50
KINDS = {
    "migration.": "moves: begun, ended, held",
    "proposal.": "proposals: made, decided, carried out",
    "plan.": "plans: made, decided, carried out",
    "rebalance.": "runs of the optimiser",
    "host": "hosts and machines",
    "workload": "workloads that come and go",
    "policy.": "changes of policies",
    "warning": "warnings",
}
"""How types begin that people choose from; the API takes any."""


@router.get("/webhooks")
async def index(request: Request, api: Reader, caller: Caller) -> Response:
    found, projects = await asyncio.gather(api.all("/v1/webhooks"), api.maybe("/v1/projects", []))
    mine = caller.projects(Permission.ADMIN)
    names = [one["name"] for one in projects if mine is None or one["name"] in mine]
    return render(
        request,
        "webhooks.html",
        webhooks=[one | {"state": _state(one)} for one in found],
        projects=names,
        everywhere=mine is None,
        may_add=mine is None or bool(names),
        kinds=KINDS,
    )


@router.get("/webhooks/{identity}")
async def show(
    request: Request, api: Reader, identity: str, state: str = "", cursor: str = ""
) -> Response:
    path = f"/v1/webhooks/{quote(identity, safe='')}"
    hook, (found, following) = await asyncio.gather(
        api.get(path),
        api.page(f"{path}/deliveries", state=state, cursor=cursor, limit=SHOWN),
    )
    return render(
        request,
        "webhook.html",
        hook=hook | {"state": _state(hook)},
        home=FLEET if hook["project"] == EVERYWHERE else hook["project"],
        deliveries=found,
        following=following,
        state=state,
        states=list(DeliveryState),
        # Nothing is told when one is sent: look again while one has just been put into the log.
        soon=any(one["state"] == "pending" and not one["attempts"] for one in found),
    )


def _state(hook: dict[str, Any]) -> str:
    if hook["disabled_at"]:
        return "disabled"
    return "failing" if hook["failures"] else "enabled"
