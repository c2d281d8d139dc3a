"""/v1/overview: the harbour at one glance, in one small answer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from porter.db.overview import Berth, Fleet, Overview
from porter.domain.identity import Permission
from porter.domain.migration import MigrationState
from porter.domain.units import about
from porter.web.access import Caller, allowed
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.schemas.base import moment

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["overview"])
MOST_ALERTS = 200


class BerthOut(BaseModel):
    """A host. `price` is an hour's in `currency`, null where it is not known."""

    name: str
    alive: bool
    workloads: int
    """Those that the caller may see."""
    memory_bytes: int | None
    used_bytes: int | None
    price: str | None
    currency: str


class AmountOut(BaseModel):
    currency: str
    amount: str


class CostOut(BaseModel):
    """What is known of the hosts' cost an hour; amounts in different currencies are not added."""

    known: list[AmountOut]
    unknown_hosts: int
    """Hosts whose price is not known: those that Porter did not make."""


class HarbourOut(BaseModel):
    """A site with its hosts."""

    site: str
    hosts: list[BerthOut]
    workloads: dict[str, int]
    """State -> how many."""
    cost: CostOut


class UnderwayOut(BaseModel):
    """An active migration. `done` and `total` are bytes, `total` 0 where nobody told."""

    id: str
    workload: str
    source: str
    target: str
    state: str
    phase: str | None
    done: int
    total: int


class AlertOut(BaseModel):
    """`kind`: `held`, `host_silent`, `rival` (a container runs where its workload does not live)
    or `machine_adrift` (a machine that Porter made, with no host known for it)."""

    kind: str
    about: str
    """Id of the migration, or name of the host or workload."""
    message: str


class OverviewOut(BaseModel):
    at: datetime | None
    hosts: int
    hosts_alive: int
    workloads: dict[str, int]
    """State -> how many."""
    migrations_active: int
    """How many there are; `migrations` has 200 at most, those that are held first."""
    sites: list[HarbourOut]
    migrations: list[UnderwayOut]
    alerts: list[AlertOut]
    """200 at most."""
    alerts_total: int
    cost: CostOut


@router.get("/overview", dependencies=[allowed(Permission.READ)], response_model=OverviewOut)
def get_overview(control: Control, caller: Caller) -> Response:
    """Sites, hosts, numbers of workloads, active migrations, alerts and cost an hour."""
    now = time.time()
    fleet = Overview(control.database).fleet(caller.projects(), now)
    alerts = _alerts(fleet)
    found = OverviewOut(
        at=moment(now),
        hosts=len(fleet.hosts),
        hosts_alive=sum(host.alive for host in fleet.hosts),
        workloads=_states(fleet, None),
        migrations_active=fleet.active,
        sites=_sites(fleet),
        migrations=[UnderwayOut.model_validate(vars(one)) for one in fleet.moves],
        alerts=alerts[:MOST_ALERTS],
        alerts_total=len(alerts),
        cost=_cost(fleet.hosts),
    )
    # Made once: a thousand hosts need not be checked and written a second time.
    return Response(found.model_dump_json(), media_type="application/json")


def _states(fleet: Fleet, site: str | None) -> dict[str, int]:
    found = defaultdict[str, int](int)
    for (where, state), number in fleet.workloads.items():
        if site in (None, where):
            found[state] += number
    return dict(found)


def _sites(fleet: Fleet) -> list[HarbourOut]:
    there: dict[str, list[Berth]] = {name: [] for name in ("onprem", *fleet.sites)}
    for host in fleet.hosts:
        there.setdefault(host.site, []).append(host)
    return [
        HarbourOut(
            site=site,
            hosts=[_berth(host) for host in hosts],
            workloads=_states(fleet, site),
            cost=_cost(hosts),
        )
        for site, hosts in sorted(there.items())
    ]


def _berth(host: Berth) -> BerthOut:
    return BerthOut(
        name=host.name,
        alive=host.alive,
        workloads=host.workloads,
        memory_bytes=host.memory_total,
        used_bytes=host.memory_used,
        price=None if host.price is None else format(host.price.normalize(), "f"),
        currency=host.currency,
    )


def _cost(hosts: Iterable[Berth]) -> CostOut:
    sums = defaultdict[str, Decimal](Decimal)
    unknown = 0
    for host in hosts:
        if host.price is None:
            unknown += 1
        else:
            sums[host.currency] += host.price
    known = [
        AmountOut(currency=currency, amount=format(amount.normalize(), "f"))
        for currency, amount in sorted(sums.items())
    ]
    return CostOut(known=known, unknown_hosts=unknown)


def _alerts(fleet: Fleet) -> list[AlertOut]:
    held = [
        AlertOut(kind="held", about=one.id, message=f"{one.workload} is held: {one.reason}")
        for one in fleet.moves
        if one.state == MigrationState.HELD
    ]
    rivals = [
        AlertOut(
            kind="rival",
            about=one.workload,
            message=f"a second container {one.workload} runs on {one.host}",
        )
        for one in fleet.rivals
    ]
    adrift = [
        AlertOut(
            kind="machine_adrift",
            about=one.host,
            message=f"the machine {one.host} at {one.site} runs, but no host is known for it",
        )
        for one in fleet.adrift
    ]
    silent = [
        AlertOut(
            kind="host_silent",
            about=one.name,
            message=f"{one.name} has said nothing for {about(one.silent_s)}",
        )
        for one in fleet.hosts
        if one.joined and not one.alive
    ]
    return [*held, *rivals, *adrift, *silent]
