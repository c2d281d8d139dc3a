"""The two applications: REST for people and programs, and the one for agents."""

from __future__ import annotations

import time

from fastapi import FastAPI

from porter import __version__
from porter.pki import Authority
from porter.settings import split_address
from porter.web import agents, errors, pages
from porter.web.api import hosts, migrations, workloads
from porter.web.api.common import Control
from porter.web.api.schemas import Health
from porter.web.guard import BearerToken, KnownHost, RequestId
from porter.web.pulse import Pulse
from porter.wiring import ControlPlane

DESCRIPTION = "Moves running containers between hosts. Every error is problem+json."


def _app(control: ControlPlane, authority: Authority, pulse: Pulse, openapi: str | None) -> FastAPI:
    app = FastAPI(
        title="Porter",
        version=__version__,
        description=DESCRIPTION,
        openapi_url=openapi,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.control = control
    app.state.authority = authority
    app.state.pulse = pulse
    errors.install(app)
    return app


def public_app(control: ControlPlane, authority: Authority, pulse: Pulse, token: str) -> FastAPI:
    """The REST API below /v1, /healthz, and the dashboard."""
    app = _app(control, authority, pulse, "/openapi.json")
    for router in (hosts.router, workloads.router, migrations.router, pages.router):
        app.include_router(router)

    @app.get("/healthz", tags=["health"])
    def healthz(control: Control) -> Health:
        """Whether the control plane can do its work. Needs no token."""
        now = time.time()
        known = control.registry.hosts()
        return Health(
            status="ok",
            hosts=len(known),
            hosts_alive=sum(host.alive(now) for host in known),
            migrations_active=len(control.moves.active()),
        )

    listen, _ = split_address(control.settings.listen)
    app.add_middleware(BearerToken, token=token, below="/v1")
    app.add_middleware(KnownHost, allowed=(listen, *control.settings.allowed_hosts))
    app.add_middleware(RequestId)
    return app


def agents_app(control: ControlPlane, authority: Authority, pulse: Pulse) -> FastAPI:
    """What agents call, behind TLS with host certificates."""
    app = _app(control, authority, pulse, None)
    app.include_router(agents.router)
    app.add_middleware(RequestId)
    return app
