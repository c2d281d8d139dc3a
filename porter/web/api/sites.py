"""/v1/sites: add, verify, sweep, remove."""

from __future__ import annotations

import time
from http import HTTPStatus

from fastapi import APIRouter

from porter.db.base import SiteRecord
from porter.db.database import rehearsing
from porter.db.listing import Listing
from porter.domain.errors import Conflict, NotFound, PorterError, Unsupported
from porter.domain.identity import Permission
from porter.domain.site import SiteKind, check_name
from porter.migrate import strays
from porter.providers.base import Right, SiteConfig
from porter.providers.registry import open_site
from porter.web.access import Caller, allowed
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.paging import Paged
from porter.web.api.schemas.base import moment
from porter.web.api.schemas.sites import FindingOut, RightOut, SiteIn, SiteOut, SweepIn
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["sites"])
READ, ADMIN = [allowed(Permission.READ)], [allowed(Permission.ADMIN)]
ABILITIES = ("hosts", "pricing", "egress", "addressing", "balancing", "dns")


@router.get("/sites", dependencies=READ)
def list_sites(control: Control, caller: Caller, paged: Paged) -> list[SiteOut]:
    """Sites that were added, and those that hosts say they are in."""
    records: dict[str, SiteRecord | None] = {one.name: one for one in control.site_book.all()}
    there = Listing(control.database).sites(caller.projects())
    for name in ("onprem", *there):
        records.setdefault(name, None)
    page = paged.cut(sorted(records), str)
    return [_out(control, name, records[name], there) for name in page]


@router.get("/sites/{name}", dependencies=READ)
def get_site(control: Control, caller: Caller, name: str) -> SiteOut:
    """One site, by name."""
    there = Listing(control.database).sites(caller.projects())
    try:
        record = control.site_book.get(name)
    except NotFound:
        if name != "onprem" and name not in there:
            raise
        record = None
    return _out(control, name, record, there)


@router.post("/sites", status_code=HTTPStatus.CREATED, dependencies=ADMIN)
def add_site(control: Control, caller: Caller, body: SiteIn) -> SiteOut:
    """Add a place. Its settings are checked, its credentials are not: see `verify`."""
    check_name(body.name)
    secrets = {key: value.get_secret_value() for key, value in body.secrets.items()}
    open_site(SiteConfig(body.name, body.kind, body.region, body.settings, secrets))
    sealed = control.vault.seal(body.name, secrets)
    now = time.time()
    control.site_book.add(body.name, body.kind, body.region, body.settings, sealed, now)
    return get_site(control, caller, body.name)


@router.delete("/sites/{name}", status_code=HTTPStatus.NO_CONTENT, dependencies=ADMIN)
def remove_site(control: Control, name: str) -> None:
    """Forget a site and its credentials. 409 while a host is in it."""
    here = [host.name for host in control.registry.hosts() if host.site == name]
    if here:
        raise Conflict(
            f"cannot remove the site {name}: the host {here[0]} is in it",
            f"remove it first: porter host rm {here[0]}",
        )
    control.site_book.remove(name, time.time())


@router.post("/sites/{name}/verify", dependencies=ADMIN)
def verify(control: Control, name: str) -> list[RightOut]:
    """Check credentials and rights one by one, each with its remedy. Changes nothing there."""
    place = control.sites.open(name)
    if place.rights is None:
        found: list[Right] = []
    else:
        try:
            found = list(place.rights.check())
        except PorterError as error:
            found = [Right("credentials", False, error.message, error.remedy)]
    rights = [RightOut(**vars(right)) for right in found]
    control.site_book.verified(name, [right.model_dump() for right in rights], time.time())
    return rights


@router.post("/sites/{name}/sweep", dependencies=ADMIN)
def sweep(control: Control, name: str, body: SweepIn | None = None) -> list[FindingOut]:
    """Everything there with Porter's tags, and what is known of it. `remove` removes strays."""
    found = strays.find(control.machines, name)
    if body is not None and body.remove and rehearsing.get() is None:
        strays.remove(control.machines, name, found, time.time())
    return [FindingOut(**vars(one)) for one in found]


def _out(
    control: ControlPlane,
    name: str,
    record: SiteRecord | None,
    there: dict[str, tuple[list[str], list[str]]],
) -> SiteOut:
    hosts, workloads = there.get(name, ([], []))
    return SiteOut(
        name=name,
        kind=SiteKind.ONPREM if record is None else record.kind,
        region="" if record is None else record.region,
        settings={} if record is None else record.settings,
        credentials="stored" if record is not None and record.sealed else "environment",
        can=_abilities(control, name) if record is not None or name == "onprem" else [],
        hosts=hosts,
        workloads=workloads,
        verified_at=None if record is None else moment(record.verified),
        missing=[]
        if record is None
        else [right["name"] for right in record.rights or [] if right["granted"] is False],
    )


def _abilities(control: ControlPlane, name: str) -> list[str]:
    try:
        place = control.sites.open(name)
    except (PorterError, Unsupported):
        return []  # its key or SDK is missing: `verify` says so
    return [ability for ability in ABILITIES if getattr(place, ability) is not None]
