"""GET /metrics, as Prometheus reads it.

Requests and streams are counted in this process, as every replica is scraped by itself. All else is
asked of the database at the scrape, so that each replica tells the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client import generate_latest as write
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from porter import __version__
from porter.db.database import Database
from porter.db.figures import Figures, Spread, figures, probe
from porter.domain.errors import Transient
from porter.domain.identity import FLEET, Permission
from porter.web.access import demand
from porter.web.errors import problem
from porter.web.guard import is_loopback
from porter.web.templates import place_of

log = logging.getLogger(__name__)
router = APIRouter()
PATH = "/metrics"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
disable_created_metrics()
LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry for one web process."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "porter_http_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.latency = Histogram(
            "porter_http_request_seconds",
            "Time until an answer begins",
            ("method", "route"),
            buckets=LATENCY_S,
            registry=self.registry,
        )
        self.streams = Gauge(
            "porter_event_streams", "Open streams of events", registry=self.registry
        )
        self.registry.register(Shared(database))


class Measured:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, streaming = time.perf_counter(), 0, False
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = place_of(scope).template

        async def seen(message: Message) -> None:
            nonlocal status, streaming
            if message["type"] == "http.response.start":
                status = message["status"]
                self._metrics.latency.labels(method, route).observe(time.perf_counter() - begun)
                kind = Headers(raw=message.get("headers", [])).get("content-type", "")
                if kind.startswith("text/event-stream"):
                    streaming = True
                    self._metrics.streams.inc()
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            if streaming:
                self._metrics.streams.dec()
            # Without an answer somebody above writes a 500, or the client has left.
            self._metrics.requests.labels(method, route, str(status or 500)).inc()


class Shared(Collector):
    """What the database knows, looked up at each scrape."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Nothing: to register needs no database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield _gauge("porter_build", "The running version", ("version",), {(__version__,): 1})
        up = GaugeMetricFamily("porter_database_up", "Whether the database answers")
        took = GaugeMetricFamily("porter_database_probe_seconds", "Time of a small transaction")
        try:
            seconds, found = probe(self._database), figures(self._database, time.time())
        except Transient as error:
            log.warning("cannot read figures: %s", error)
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        took.add_metric((), seconds)
        yield from (up, took)
        yield from _moves(found)
        yield from _fleet(found)


def _moves(found: Figures) -> Iterator[Metric]:
    by = ("state", "mode")
    yield _gauge("porter_migrations", "Migrations under way, held ones too", by, found.active)
    yield _counter("porter_migrations_ended", "Migrations that have ended", by, found.ended)
    held = sum(count for (state, _), count in found.active.items() if state == "held")
    yield _gauge("porter_migrations_held", "Migrations that wait for a decision", (), {(): held})
    yield _histogram("porter_migration_downtime_seconds", "The pause", "mode", found.downtime)
    yield _histogram("porter_migration_seconds", "From start to end", "mode", found.total)
    yield _histogram("porter_migration_wire_bytes", "Sent, compressed", "mode", found.wire)
    yield _histogram("porter_step_seconds", "Steps, from start to end", "step", found.steps)
    failed = {(kind,): count for kind, count in found.failed_steps.items()}
    yield _counter("porter_step_failures", "Steps that failed", ("step",), failed)


def _fleet(found: Figures) -> Iterator[Metric]:
    known = [host for host in found.hosts if host.age is not None]
    alive = sum(host.alive for host in known)
    hosts = {("alive",): alive, ("silent",): len(known) - alive}
    yield _gauge("porter_hosts", "Hosts by whether they are heard", ("state",), hosts)
    ages = {(host.name, host.site): host.age or 0.0 for host in known}
    yield _gauge(
        "porter_host_heartbeat_age_seconds", "Since a host was heard", ("host", "site"), ages
    )
    yield _gauge(
        "porter_sweep_delay_seconds",
        "How long the migration that waits longest has been due",
        (),
        {(): found.overdue},
    )
    yield _gauge(
        "porter_command_wait_seconds",
        "How long the oldest command has waited for its host",
        (),
        {(): found.unfetched},
    )
    states = {(state,): count for state, count in found.deliveries.items()}
    yield _gauge("porter_webhook_deliveries", "Deliveries of webhooks", ("state",), states)
    yield _counter("porter_audit_entries", "Rows of the audit trail", (), {(): found.audited})


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, label: str, spreads: list[Spread]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=(label,))
    for one in spreads:
        buckets = [(str(b), float(n)) for b, n in zip(one.bounds, one.counts, strict=True)]
        family.add_metric(one.labels, [*buckets, ("+Inf", float(one.count))], one.sum)
    return family


@router.get(PATH, include_in_schema=False)
def metrics(request: Request) -> Response:
    """For callers that may read the fleet; for everybody on this machine if the settings say so."""
    known: Metrics = request.app.state.metrics
    client = request.client
    opened = request.app.state.control.settings.metrics_open
    if not (opened and client is not None and is_loopback(client.host)):
        principal = request.state.principal
        if principal is None:
            return problem(
                HTTPStatus.UNAUTHORIZED,
                "cannot show metrics: the token is missing or wrong",
                "send `Authorization: Bearer TOKEN`",
                code="denied",
                headers={"WWW-Authenticate": "Bearer"},
            )
        demand(principal, Permission.READ, FLEET)
    return Response(write(known.registry), media_type=CONTENT_TYPE_LATEST)
