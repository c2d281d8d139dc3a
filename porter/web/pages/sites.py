"""Sites: the list, and one site's page."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from fastapi import Request, Response

from porter.web.pages.api import Reader
from porter.web.pages.ground import pages, render

router = pages()
SHOWN = 50
"""So many hosts stand on a site's page."""


@router.get("/sites")
async def sites(request: Request, api: Reader) -> Response:
    """All places, with what Porter can do there."""
    return render(request, "sites.html", sites=await api.all("/v1/sites"))


@router.get("/sites/{name}")
async def site(request: Request, api: Reader, name: str) -> Response:
    """One place: its hosts, rights and machines."""
    found, here = await asyncio.gather(
        api.get(f"/v1/sites/{quote(name, safe='')}"), api.get("/v1/hosts", site=name, limit=SHOWN)
    )
    return render(request, "site.html", site=found, hosts=here)


@router.get("/sites/{name}/prices")
async def prices(request: Request, api: Reader, name: str) -> Response:
    """A piece of the site's page: asking for prices may take a while."""
    found = await api.maybe("/v1/prices", [], site=name)
    return render(request, "site-prices.html", quotes=found)
