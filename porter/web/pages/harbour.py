"""The overview: sites, hosts and workloads, and what travels between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import Request, Response

from porter.web.pages.api import Reader
from porter.web.pages.berths import SPANS, quays, voyages
from porter.web.pages.ground import pages, render

router = pages()
NAMED = 400
"""With more workloads than this the map shows their numbers only."""


class Alert(NamedTuple):
    """Something that somebody should look at, and where."""

    text: str
    path: str


@router.get("/")
async def harbour(request: Request, api: Reader) -> Response:
    """All that is there at a glance."""
    seen = await api.get("/v1/overview")
    count = sum(seen["workloads"].values())
    named = await api.get("/v1/workloads", limit=NAMED) if count <= NAMED else []
    moving = voyages(seen["migrations"])
    return render(
        request,
        "harbour.html",
        seen=seen,
        count=count,
        quays=quays(seen["sites"], named, moving),
        voyages=moving,
        alerts=[_alert(one) for one in seen["alerts"]],
        course={
            "spans": {kind: list(span) for kind, span in SPANS.items()},
            "voyages": [vars(one) for one in moving],
        },
    )


def _alert(said: Mapping[str, Any]) -> Alert:
    places = {"held": "/migrations/", "rival": "/workloads/", "host_silent": "/hosts/"}
    place = places.get(said["kind"])
    path = "/sites" if place is None else place + quote(said["about"], safe="")
    return Alert(said["message"], path)
