"""Hosts: the list, and one host's page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response

from porter.web.pages.api import Reader
from porter.web.pages.ground import pages, render

router = pages()
SHOWN = 200
"""So many rows stand in the list; filters find the others."""


@router.get("/hosts")
async def hosts(
    request: Request, api: Reader, q: str = "", site: str = "", state: str = ""
) -> Response:
    """The list, narrowed by name, site and state."""
    found = await _berths(api)
    shown = [host for host in found if _fits(host, q.strip().lower(), site, state)]
    return render(
        request,
        "hosts.html",
        hosts=shown[:SHOWN],
        matching=len(shown),
        total=len(found),
        sites=sorted({host["site"] for host in found}),
        q=q,
        site=site,
        state=state,
    )


async def _berths(api: Reader) -> list[dict[str, Any]]:
    """All hosts by name, in short: one small answer even for a thousand."""
    seen = await api.get("/v1/overview")
    found = [{**host, "site": one["site"]} for one in seen["sites"] for host in one["hosts"]]
    return sorted(found, key=lambda host: str(host["name"]))


def _fits(host: Mapping[str, Any], q: str, site: str, state: str) -> bool:
    return (
        q in host["name"].lower()
        and site in ("", host["site"])
        and state in ("", "up" if host["alive"] else "down")
    )


@router.get("/hosts/{name}")
async def host(request: Request, api: Reader, name: str) -> Response:
    """Facts, workloads, and what can be done with it."""
    found = await api.get(f"/v1/hosts/{quote(name, safe='')}")
    here, others = await asyncio.gather(
        api.get("/v1/workloads", host=found["name"], limit=SHOWN), _berths(api)
    )
    return render(
        request,
        "host.html",
        host=found,
        workloads=here,
        count=len(found["workloads"]),
        others=[one for one in others if one["name"] != found["name"] and one["alive"]],
    )


@router.get("/hosts/{name}/price")
async def price(request: Request, api: Reader, name: str) -> Response:
    """A piece of the host's page: asking for prices may take a while."""
    found = await api.get(f"/v1/hosts/{quote(name, safe='')}")
    machine = found["machine"] or {}
    known = machine.get("quote")
    if known is None:
        item = machine.get("type") or found["name"]
        quotes = await api.maybe("/v1/prices", [], site=found["site"], type=item)
        known = quotes[0] if quotes else None
    return render(request, "host-price.html", quote=known)
