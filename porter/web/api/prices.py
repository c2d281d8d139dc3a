"""/v1/prices and what a workload costs here and elsewhere. Asks sites, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from porter.db.base import HostRecord, WorkloadRecord
from porter.domain.errors import Conflict, PorterError
from porter.domain.identity import Permission
from porter.domain.money import Quote
from porter.domain.site import Site
from porter.migrate.candidates import LOOK_AT, OVERHEAD, Candidate, Need, fitting, ranked
from porter.providers.base import InstanceType, Provider
from porter.web.access import Caller, allowed
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["prices"])
MONTH_HOURS = Decimal(730)
GB = Decimal(10**9)
BEST = 3
"""So many types are shown per site."""
Terms = Literal["on_demand", "spot", "reserved-1y", "reserved-3y", "own"]
_CENT, _FINE = Decimal("0.01"), Decimal("0.000001")


class QuoteOut(BaseModel):
    """`amount` is null where nobody could tell it; `source` then says why."""

    site: str
    item: str
    amount: str | None
    currency: str
    unit: str
    as_of: str
    source: str
    terms: str

    @classmethod
    def of(cls, site: str, quote: Quote) -> QuoteOut:
        amount = None if quote.amount is None else format(quote.amount.normalize(), "f")
        told = {key: getattr(quote, key) for key in ("item", "currency", "unit", "as_of", "source")}
        return cls(site=site, amount=amount, terms=quote.terms, **told)


class TrafficOut(BaseModel):
    """What the workload's bytes cost once, from where it is."""

    bytes: int
    amount: str | None
    currency: str
    as_of: str
    source: str


class ChoiceOut(BaseModel):
    cpus: int
    memory_bytes: int
    quote: QuoteOut
    monthly: str | None
    moving: TrafficOut


class ProblemOut(BaseModel):
    site: str
    reason: str


class WorkloadPricesOut(BaseModel):
    workload: str
    host: str
    site: str
    memory_bytes: int
    needs_bytes: int
    """Memory of the smallest machine that would do."""
    here: QuoteOut
    """Of the whole host, which others may share."""
    monthly: str | None
    choices: list[ChoiceOut]
    """Cheapest first within a currency; amounts in different currencies are not compared."""
    problems: list[ProblemOut]


@router.get("/prices", dependencies=[allowed(Permission.READ)])
def list_prices(
    control: Control,
    types: Annotated[list[str], Query(alias="type", max_length=100, default_factory=list)],
    site: str = "",
    terms: Terms = "on_demand",
) -> list[QuoteOut]:
    """Prices at one site, or at all; without types, of the smallest ones that can be had there, and
    of the hosts that were joined by hand."""
    places = [control.sites.get(site)] if site else control.sites.all()
    found = []
    for place in places:
        try:
            provider = control.sites.open(place.name)
            names = types or _names(control, place, provider)
            quotes = _quotes(provider, names, terms)
        except PorterError as error:
            quotes = {"": Quote("", None, "", "hour", "", str(error), terms)}
        found += [QuoteOut.of(place.name, quote) for quote in quotes.values()]
    return found


@router.get("/workloads/{name}/prices")
def workload_prices(
    control: Control,
    caller: Caller,
    name: str,
    terms: Terms = "on_demand",
    cpus: Annotated[int, Query(ge=1, le=4096)] = 1,
    size: Annotated[int | None, Query(alias="bytes", ge=0)] = None,
) -> WorkloadPricesOut:
    """What it costs where it is, and on the cheapest fitting machines of every site.

    `cpus` is the least number of processors; `bytes` what a move would send, its memory if left
    out (files are known only once both hosts have been asked: see preflight).
    """
    workload = control.found.workload(name, caller.projects())
    host = _home(control, workload)
    need = _need(host, workload)
    here = _here(control, host, terms)
    choices, problems = [], []
    for place in control.sites.all():
        try:
            provider = control.sites.open(place.name)
            best = _best(provider, need, cpus, terms)
            if not best:
                raise Conflict("no size of machine there would do")
            moving = _moving(control, host, place, workload.memory_bytes if size is None else size)
        except PorterError as error:
            problems.append(ProblemOut(site=place.name, reason=str(error)))
            continue
        choices += [_choice(place.name, one, moving) for one in best]
    return WorkloadPricesOut(
        workload=workload.name,
        host=host.name,
        site=host.site,
        memory_bytes=workload.memory_bytes,
        needs_bytes=need.memory_bytes,
        here=QuoteOut.of(host.site, here),
        monthly=_monthly(here),
        choices=sorted(choices, key=_order),
        problems=problems,
    )


def _names(control: ControlPlane, place: Site, provider: Provider) -> list[str]:
    by_hand = [
        host.name
        for host in control.registry.hosts()
        if host.site == place.name and control.ledger.of_host(host.id) is None
    ]
    kinds = () if provider.hosts is None else provider.hosts.types()
    small = sorted(kinds, key=lambda kind: (kind.memory_bytes, kind.cpus, kind.name))
    return [*by_hand, *(kind.name for kind in small[:LOOK_AT])]


def _quotes(provider: Provider, names: Sequence[str], terms: str) -> Mapping[str, Quote]:
    """One per name, whatever the provider tells."""
    why = f"no prices of {provider.config.name} are known"
    none = {name: Quote(name, None, "", "hour", "", why, terms) for name in names}
    told = {} if provider.pricing is None else provider.pricing.quotes(names, terms)
    return {**none, **told}


def _home(control: ControlPlane, workload: WorkloadRecord) -> HostRecord:
    if workload.host is None:
        raise Conflict(
            f"cannot price {workload.name}: no host has it", "see porter workload ls for its state"
        )
    return control.registry.host(workload.host)


def _need(host: HostRecord, workload: WorkloadRecord) -> Need:
    """As for a move whose files nobody has looked at yet."""
    memory = 2 * workload.memory_bytes + OVERHEAD
    if host.facts is None:
        return Need("", frozenset(), memory)
    return Need(host.facts.arch, frozenset(host.facts.cpu_features), memory)


def _here(control: ControlPlane, host: HostRecord, terms: str) -> Quote:
    """The host's own price: by its machine's type, else by its name in a price file."""
    machine = control.ledger.of_host(host.id)
    item = host.name if machine is None else machine.instance_type
    try:
        return _quotes(control.sites.open(host.site), [item], terms)[item]
    except PorterError as error:
        return Quote(item, None, "", "hour", "", str(error), terms)


def _best(provider: Provider, need: Need, cpus: int, terms: str) -> list[Candidate]:
    """The cheapest fitting types; nothing at a site where Porter cannot make machines."""
    if provider.hosts is None:
        raise Conflict("Porter cannot make machines there")
    kinds: list[InstanceType] = [kind for kind in provider.hosts.types() if kind.cpus >= cpus]
    if not need.arch:
        raise Conflict("the workload's host has not told what processor it has")
    fits = fitting(kinds, need)
    return ranked(fits, _quotes(provider, [kind.name for kind in fits], terms))[:BEST]


def _moving(control: ControlPlane, host: HostRecord, to: Site, size: int) -> TrafficOut:
    if host.site == to.name:
        source = "both hosts are at one site"
        return TrafficOut(bytes=size, amount="0", currency="", as_of="", source=source)
    try:
        egress = control.sites.open(host.site).egress
        if egress is None:
            raise Conflict(f"{host.site} has no tariff")
        tariff = egress.tariff(to.kind, to.region)
    except PorterError as error:
        return TrafficOut(bytes=size, amount=None, currency="", as_of="", source=str(error))
    cost = tariff.cost(size / GB)
    return TrafficOut(
        bytes=size,
        amount=None if cost is None else str(cost.quantize(_FINE)),
        currency=tariff.currency,
        as_of=tariff.as_of,
        source=tariff.source,
    )


def _choice(site: str, one: Candidate, moving: TrafficOut) -> ChoiceOut:
    return ChoiceOut(
        cpus=one.kind.cpus,
        memory_bytes=one.kind.memory_bytes,
        quote=QuoteOut.of(site, one.quote),
        monthly=_monthly(one.quote),
        moving=moving,
    )


def _monthly(quote: Quote) -> str | None:
    return None if quote.amount is None else str((quote.amount * MONTH_HOURS).quantize(_CENT))


def _order(choice: ChoiceOut) -> tuple[bool, str, Decimal, str]:
    quote = choice.quote
    return (quote.amount is None, quote.currency, Decimal(quote.amount or 0), quote.site)
