"""What the fleet stands on: hosts as nodes, and machines that could be made as offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from porter.db.base import HostRecord, InstanceRecord, WorkloadRecord
from porter.db.fleet import Fleet
from porter.domain.errors import PorterError
from porter.domain.units import about
from porter.migrate.candidates import LOOK_AT, OVERHEAD, Need, misfit
from porter.migrate.places import Places
from porter.providers.base import InstanceType
from porter.schedule.expected import Expectations, Risk
from porter.schedule.optimiser.model import Bar, Node, Offer
from porter.schedule.priced import ON_DEMAND, SPOT, PriceBook, Priced

BOOT_S = 120.0
"""So long a new machine takes until its agent has joined, as long as nobody has measured it."""
MOST_OFFERS = 16
"""So many sizes of a site are offered for one kind of terms at most."""


@dataclass
class Ground:
    """All sites of a run. What `left_out` names is no target, and says why."""

    currency: str = ""
    sites: list[str] = field(default_factory=list)
    left_out: dict[str, Bar] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    prices: dict[str, Priced] = field(default_factory=dict)
    """By name of a node, and key of an offer."""
    risks: dict[str, Risk] = field(default_factory=dict)
    """The same, of spot machines."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wants:
    """What the workloads that may move need of new machines."""

    needs: tuple[Need, ...]
    spot: bool
    """Whether one of them may run on spot machines."""
    most: int

    @property
    def whole(self) -> int:
        """Memory that takes them all."""
        return OVERHEAD + sum(need.memory_bytes - OVERHEAD for need in self.needs)


class Surveyor:
    """Asks the places of one run. May take long; raises nothing."""

    def __init__(self, places: Places, book: PriceBook, expected: Expectations) -> None:
        self._places = places
        self._book = book
        self._expected = expected

    def survey(self, fleet: Fleet, wants: Wants, currency: str, now: float) -> Ground:
        """`currency` empty: the one in which most prices are told."""
        ground = Ground()
        ground.sites = sorted(
            {site.name for site in self._places.all()} | {one.site for one in fleet.hosts.values()}
        )
        types = {site: self._types(site, wants, ground) for site in ground.sites}
        for site, kinds in types.items():
            self._book.ask(site, [kind.name for kind in kinds])
            if wants.spot:
                self._book.ask(site, [kind.name for kind in kinds], SPOT)
        for machine in fleet.machines.values():
            self._book.ask(machine.site, [machine.instance_type], terms_of(machine))
        ground.currency = currency or _usual(self._book.currencies())
        for site, kinds in types.items():
            self._offer(site, kinds, wants, ground)
        self._hosts(fleet, ground, now)
        return ground

    def _types(self, site: str, wants: Wants, ground: Ground) -> list[InstanceType]:
        """Sizes in which some workload fits, and that are not larger than all need."""
        try:
            hosts = self._places.open(site).hosts
            found = [] if hosts is None else list(hosts.types())
        except PorterError as error:
            ground.notes.append(f"{site}: no machines are offered: {error}")
            return []
        fits = [kind for kind in found if any(not misfit(kind, need) for need in wants.needs)]
        order = sorted(fits, key=lambda kind: (kind.memory_bytes, kind.cpus, kind.name))
        small = [kind for kind in order if kind.memory_bytes <= wants.whole]
        return order[: max(len(small) + 1, 4)][:LOOK_AT]

    def _offer(
        self, site: str, kinds: Sequence[InstanceType], wants: Wants, ground: Ground
    ) -> None:
        strange = set()
        for terms in (ON_DEMAND, SPOT) if wants.spot else (ON_DEMAND,):
            made: list[tuple[Offer, Priced]] = []
            for kind in kinds:
                priced = self._book.price(site, kind.name, terms, ground.currency)
                if priced.amount is None:
                    if priced.quote.amount is not None:
                        strange.add(priced.why)
                    elif terms == ON_DEMAND:
                        ground.notes.append(f"{site}: {kind.name} is not offered: {priced.why}")
                    continue
                made.append((_offer(site, kind, terms, priced, wants.most), priced))
            for offer, priced in _useful(made)[:MOST_OFFERS]:
                rate = self._rate(ground, offer.key, site, offer.type, terms)
                ground.offers[offer.key] = replace(offer, interruptions=rate)
                ground.prices[offer.key] = priced
        if strange and not any(offer.site == site for offer in ground.offers.values()):
            ground.left_out[site] = Bar(
                "currency",
                f"{site} is left out: {sorted(strange)[0]}",
                "set PORTER_RATES to a file with exchange rates",
            )

    def _hosts(self, fleet: Fleet, ground: Ground, now: float) -> None:
        targets = {name for one in fleet.busy for name in one.targets}
        ended = {name: one.proposal for one in fleet.busy for name in one.ended}
        on: dict[str, list[WorkloadRecord]] = {}
        for workload in fleet.workloads.values():
            on.setdefault(str(workload.host), []).append(workload)
        for host in fleet.hosts.values():
            if host.facts is None:
                continue
            machine = fleet.machines.get(host.id)
            closed = _closed(host, machine, ended.get(host.name, ""), now)
            if closed is None:
                closed = ground.left_out.get(host.site)
            priced, rate = None, 0.0
            if machine is not None:
                priced = self._machine(host.name, machine, ground)
                place = machine.site, machine.instance_type, terms_of(machine)
                rate = self._rate(ground, host.name, *place)
            kept = machine is None or machine.state != "running" or host.name in targets
            kept = kept or host.name in ended
            ground.nodes[host.name] = _node(
                host, priced, on.get(host.id, []), closed, not kept, rate
            )

    def _machine(self, name: str, machine: InstanceRecord, ground: Ground) -> Priced:
        """What a machine that is there costs."""
        place = machine.site, machine.instance_type, terms_of(machine)
        priced = self._book.price(*place, ground.currency)
        if priced.amount is None:
            ground.notes.append(f"{name} is never ended: its price is unknown: {priced.why}")
        else:
            ground.prices[name] = priced
        return priced

    def _rate(self, ground: Ground, name: str, site: str, kind: str, terms: str) -> float:
        """Expected interruptions an hour; more than 0 for spot machines alone."""
        if terms != SPOT:
            return 0.0
        ground.risks[name] = self._expected.interruptions(site, kind)
        return ground.risks[name].rate


def terms_of(machine: InstanceRecord) -> str:
    """The terms on which a machine was made."""
    return str((machine.quote or {}).get("terms") or ON_DEMAND)


def _usual(currencies: Iterable[str]) -> str:
    counted = Counter(one for one in currencies if one)
    return max(sorted(counted), key=counted.__getitem__, default="USD")


def _offer(site: str, kind: InstanceType, terms: str, priced: Priced, most: int) -> Offer:
    assert priced.likely is not None
    return Offer(
        key=f"{site}/{kind.name}/{terms}",
        site=site,
        type=kind.name,
        terms=terms,
        memory=kind.memory_bytes - OVERHEAD,
        cpus=float(kind.cpus),
        arch=kind.arch,
        features=kind.features,
        hourly=float(priced.likely),
        most=most,
        boot_s=BOOT_S,
    )


def _useful(made: Sequence[tuple[Offer, Priced]]) -> list[tuple[Offer, Priced]]:
    """Those of which none other has as much of everything for less; the cheapest first."""
    kept: list[tuple[Offer, Priced]] = []
    for offer, priced in sorted(made, key=lambda one: (one[0].hourly, -one[0].memory, one[0].key)):
        worse = any(
            other.arch == offer.arch
            and other.memory >= offer.memory
            and other.cpus >= offer.cpus
            and other.features >= offer.features
            for other, _ in kept
        )
        if not worse:
            kept.append((offer, priced))
    return kept


def _closed(
    host: HostRecord, machine: InstanceRecord | None, ending: str, now: float
) -> Bar | None:
    """Why nothing may be sent to a host; the same whatever is to be sent."""
    if not host.alive(now):
        why = f"{host.name} has said nothing for {about(host.silent(now))}"
        return Bar("silent", why, "see its agent")
    if machine is not None and machine.state != "running":
        return Bar("leaving", f"{host.name} is {machine.state}", "name another host")
    if ending:
        why = f"{host.name} ends with proposal {ending}"
        return Bar("leaving", why, "wait until that has ended")
    if host.facts is not None and host.facts.criu_problem:
        why = f"CRIU cannot be used on {host.name}: {host.facts.criu_problem}"
        return Bar("criu", why, "porter doctor on that machine")
    if host.notices:
        first = host.notices[0]
        when = f" at {first['at']}" if first.get("at") else ""
        why = f"{host.name} is about to be taken away ({first['kind']}{when})"
        return Bar("interruption", why, "name another host")
    return None


def _node(
    host: HostRecord,
    priced: Priced | None,
    here: Sequence[WorkloadRecord],
    closed: Bar | None,
    removable: bool,
    interruptions: float,
) -> Node:
    facts = host.facts
    assert facts is not None
    likely = None if priced is None else priced.likely
    used = facts.memory_total - facts.memory_free
    others = max(0, used - sum(one.memory_bytes for one in here))
    return Node(
        name=host.name,
        site=host.site,
        memory=facts.memory_total - others,
        cpus=float(facts.cpus),
        arch=facts.arch,
        features=frozenset(facts.cpu_features),
        hourly=float(likely or 0) if removable else 0.0,
        removable=removable and likely is not None,
        closed=closed,
        spot=interruptions > 0,
        interruptions=interruptions,
    )


def by_site(nodes: Mapping[str, Node]) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    for node in nodes.values():
        found.setdefault(node.site, []).append(node)
    return found
