"""The two applications: REST for people and programs, and the one for agents."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI

from porter import __version__
from porter.db.audit import Audit
from porter.db.happenings import Happenings
from porter.pki import Authority
from porter.settings import split_address
from porter.web import agents, errors, finish, login, metrics, pages
from porter.web.access import Authenticate
from porter.web.api import (
    audit,
    checkpoints,
    decisions,
    forecasts,
    happenings,
    hosts,
    lists,
    migrations,
    overview,
    people,
    plans,
    policies,
    prices,
    problems,
    proposals,
    rebalances,
    receipts,
    rules,
    schedules,
    sites,
    stores,
    tokens,
    webhooks,
    workloads,
)
from porter.web.api.common import Control
from porter.web.api.schemas.base import Health
from porter.web.auditing import Auditing
from porter.web.guard import KnownHost, RequestId
from porter.web.hub import Hub
from porter.web.pages import ground
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
    app.state.hub = Hub(Happenings(control.database), pulse)
    errors.install(app)
    return app


def _include(app: FastAPI, router: APIRouter) -> None:
    # Not `include_router`: it makes every route anew for this application, at its first request,
    # which takes 0.3 s. Ours have no prefix or dependency to be combined with.
    app.router.routes.extend(router.routes)


def public_app(control: ControlPlane, authority: Authority, pulse: Pulse, token: str) -> FastAPI:
    """The REST API below /v1, /healthz, and the dashboard."""
    app = _app(control, authority, pulse, "/openapi.json")
    routers = (
        overview.router,
        lists.router,
        happenings.router,
        hosts.router,
        workloads.router,
        migrations.router,
        decisions.router,
        forecasts.router,
        sites.router,
        stores.router,
        checkpoints.router,
        prices.router,
        policies.router,
        rules.router,
        plans.router,
        rebalances.router,
        proposals.router,
        schedules.router,
        receipts.router,
        problems.router,
        audit.router,
        metrics.router,
        people.router,
        tokens.router,
        webhooks.router,
        pages.router,
    )
    for router in routers:
        _include(app, router)

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

    ground.install(app)
    listen, _ = split_address(control.settings.listen)
    login.install(app, control.settings, control.identity, token)
    public = urlsplit(control.settings.public_url).hostname or listen
    finish.install(app, control, pulse)
    app.add_middleware(Authenticate, identity=control.identity, token=token, below="/v1")
    app.add_middleware(Auditing, audit=Audit(control.database))
    app.add_middleware(KnownHost, allowed=(listen, public, *control.settings.allowed_hosts))
    app.state.metrics = metrics.Metrics(control.database)
    app.add_middleware(metrics.Measured, metrics=app.state.metrics)
    app.add_middleware(RequestId)
    return app


def agents_app(control: ControlPlane, authority: Authority, pulse: Pulse) -> FastAPI:
    """What agents call, behind TLS with host certificates."""
    app = _app(control, authority, pulse, None)
    _include(app, agents.router)
    app.add_middleware(RequestId)
    return app
