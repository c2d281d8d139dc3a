"""The dashboard: one page, rendered here, read-only."""

from __future__ import annotations

import time
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape

from porter.web.api.common import Control
from porter.web.errors import problem
from porter.web.guard import is_loopback

router = APIRouter(include_in_schema=False)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(), trim_blocks=True
)


def _clock(at: float | None) -> str:
    return "–" if at is None else datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S")


def _size(count: float | None) -> str:
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


_templates.filters["clock"] = _clock
_templates.filters["size"] = _size


@router.get("/")
def index(request: Request, control: Control) -> Response:
    """Hosts, workloads, migrations and the newest events. For this machine only."""
    if request.client is None or not is_loopback(request.client.host):
        return problem(
            HTTPStatus.FORBIDDEN,
            "cannot show the dashboard: it is for the control plane's own machine",
            "open it there, or through an SSH tunnel",
        )
    hosts = control.registry.hosts()
    now = time.time()
    page = _templates.get_template("index.html").render(
        now=now,
        hosts=hosts,
        names={host.id: host.name for host in hosts},
        workloads=control.found.workloads(),
        stories=control.moves.stories(limit=25),
        events=control.moves.news(),
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})
