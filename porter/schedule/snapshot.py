"""The fleet as the optimiser is asked about it: database, places, policies and forecasts put
together. The exact prices are kept beside the floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from porter.db.base import HostRecord, WorkloadRecord
from porter.db.fleet import Fleet, Fleets
from porter.db.policies import Policies, PolicyRecord
from porter.domain.errors import Invalid
from porter.domain.identity import FLEET
from porter.domain.money import Quote
from porter.domain.policy import WINDOWS, Facts, Money, Outcome, Place, Told, Verdict, evaluate
from porter.domain.rules import SECONDS, Expected
from porter.domain.scheduling import SchedulingRules, scheduling
from porter.domain.units import duration
from porter.domain.workload import WorkloadSpec
from porter.migrate.candidates import OVERHEAD, Need, need_of
from porter.migrate.forecast import NOT_ASKED, Forecaster
from porter.migrate.places import Places
from porter.protocol import codec
from porter.schedule.ground import Ground, Surveyor, Wants, by_site
from porter.schedule.model import Bar, Job, Move, Node, Problem
from porter.schedule.outlook import Estimator, Foretell, Outlook
from porter.schedule.priced import PriceBook, Priced
from porter.schedule.rates import Rates
from porter.schedule.rules import marks, spot_bar

DAY = 86400.0
INTERRUPTED_S = 120.0
"""So long an interruption of a spot machine is felt."""
HYSTERESIS = 0.01


@dataclass(frozen=True)
class Scope:
    """What a run may move, and how far it looks."""

    project: str = FLEET
    """FLEET: workloads of all projects."""
    workloads: tuple[str, ...] = ("*",)
    horizon_s: float = 30 * DAY
    most_moves: int = 20
    currency: str = ""
    """Empty: the one in which most prices are told."""
    seconds: float = 5.0
    """So long the optimiser may think."""
    dry_run: bool = False

    def covers(self, workload: WorkloadRecord) -> bool:
        mine = self.project in (FLEET, workload.project)
        return mine and any(fnmatchcase(workload.name, one) for one in self.workloads)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "workloads": list(self.workloads)}

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Scope:
        known = {name: spec[name] for name in cls.__dataclass_fields__ if name in spec}
        return cls(**{**known, "workloads": tuple(known.get("workloads", ("*",)))})


@dataclass(frozen=True)
class Snapshot:
    at: float
    scope: Scope
    problem: Problem
    fleet: Fleet
    ground: Ground
    traffic: Mapping[tuple[str, str], Priced]
    """By workload and site: what its bytes cost once."""
    outlooks: Mapping[tuple[str, str], Outlook]
    policies: Mapping[str, Mapping[str, str]]
    """Workload -> name -> digest of the policies that hold for it."""
    left_out: Mapping[str, Bar]
    """Workloads of the scope that the optimiser is not asked about."""

    @property
    def notes(self) -> list[str]:
        return self.ground.notes

    def summary(self) -> dict[str, Any]:
        """In figures, for the run."""
        problem = self.problem
        return {
            "currency": problem.currency,
            "horizon_s": problem.horizon_s,
            "jobs": len(problem.jobs),
            "pinned": sum(job.pinned is not None for job in problem.jobs),
            "nodes": len(problem.nodes),
            "removable": sum(node.removable for node in problem.nodes),
            "offers": len(problem.offers),
            "most_moves": problem.most_moves,
            "notes": self.notes,
            "left_out": {site: bar.why for site, bar in self.ground.left_out.items()},
        }

    def quotes(self) -> list[dict[str, Any]]:
        """Prices that it rests on, with where they are."""
        problem = self.problem
        sites = {node.name: node.site for node in problem.nodes}
        sites |= {offer.key: offer.site for offer in problem.offers}
        return [
            {"of": name, "site": sites[name], **priced.as_dict()}
            for name, priced in sorted(self.ground.prices.items())
            if name in sites
        ]


@dataclass(frozen=True)
class _Subject:
    """A workload while its job is made."""

    workload: WorkloadRecord
    host: HostRecord
    kept: Sequence[PolicyRecord]
    rules: SchedulingRules
    memory: int
    sized: int
    unsized: str
    cpus: float
    need: Need
    spec: WorkloadSpec | None
    """As its last move saw it."""


class Photographer:
    """Takes snapshots. May take long, as prices may have to be read."""

    def __init__(
        self,
        fleets: Fleets,
        policies: Policies,
        places: Places,
        forecaster: Forecaster,
        estimator: Estimator,
        rates: Rates = Rates(),
    ) -> None:
        self._fleets = fleets
        self._policies = policies
        self._places = places
        self._forecaster = forecaster
        self._estimator = estimator
        self._rates = rates

    def take(self, scope: Scope, now: float) -> Snapshot:
        """Raises Invalid for a currency in which nothing is told and to which no rate leads."""
        fleet = self._fleets.read()
        kept = self._policies.all()
        left_out: dict[str, Bar] = {}
        subjects = []
        for workload in fleet.workloads.values():
            host = fleet.hosts.get(str(workload.host))
            if host is None or host.facts is None:
                if scope.covers(workload):
                    left_out[workload.name] = Bar(
                        "no-facts", "its host has not told of itself yet", "see its agent"
                    )
                continue
            subjects.append(_subject(workload, host, kept, fleet))
        book = PriceBook(self._places, self._rates)
        mine = [one for one in subjects if scope.covers(one.workload)]
        wants = Wants(
            needs=tuple(one.need for one in mine),
            spot=any(one.rules.spot.value for one in mine),
            most=min(scope.most_moves, max(1, len(mine))),
        )
        ground = Surveyor(self._places, book).survey(fleet, wants, scope.currency, now)
        if scope.currency and not ground.prices and ground.left_out:
            raise Invalid(
                f"cannot reckon in {scope.currency}: no price is told in it, no rate leads to it",
                "name another currency, or set PORTER_RATES",
            )
        return _Development(
            *(scope, now, fleet, ground, book, subjects, left_out),
            *(self._forecaster, self._estimator.learn()),
        ).snapshot()


def _subject(
    workload: WorkloadRecord, host: HostRecord, kept: Sequence[PolicyRecord], fleet: Fleet
) -> _Subject:
    assert host.facts is not None
    holding = [
        one for one in kept if one.policy.holds(workload.name, workload.project, workload.policies)
    ]
    look = fleet.looks.get(workload.name)
    memory, sized, unsized, cpus = workload.memory_bytes, workload.memory_bytes, "", 0.0
    spec = None if look is None or not look[1] else codec.load(WorkloadSpec, look[1])
    if spec is None:
        unsized = "its files and image"
        features = frozenset(host.facts.cpu_features)
        need = Need(host.facts.arch, features, 2 * memory + OVERHEAD)
    else:
        memory = max(memory, spec.memory_bytes) + spec.shm_bytes
        sized = memory + spec.file_bytes + spec.image.size
        cpus = _cpus(spec)
        need = replace(need_of(spec, host.facts), memory_bytes=2 * memory + OVERHEAD)
    rules = scheduling(
        [one.policy for one in holding], workload.name, workload.project, workload.policies
    )
    return _Subject(workload, host, holding, rules, memory, sized, unsized, cpus, need, spec)


def _cpus(spec: WorkloadSpec) -> float:
    """Its limit, where it was started with one; without any it takes what there is, and no share
    is set aside for it."""
    for word, following in zip(spec.create, (*spec.create[1:], ""), strict=True):
        name, _, value = word.partition("=")
        if name == "--cpus":
            try:
                return float(value or following)
            except ValueError:
                return 0.0
    return 0.0


def _expected(outlook: Outlook) -> Expected:
    """A pause as policies take it. Where nobody knows how bad it can get, it is not known."""
    low, likely, high = (
        None if one is None else Decimal(str(one))
        for one in (outlook.downtime_s.low, outlook.downtime_s.likely, outlook.downtime_s.high)
    )
    return Expected(low, likely, high, SECONDS, outlook.doubt)


@dataclass
class _Development:
    """One snapshot while it is made."""

    scope: Scope
    now: float
    fleet: Fleet
    ground: Ground
    book: PriceBook
    subjects: list[_Subject]
    left_out: dict[str, Bar]
    forecaster: Forecaster
    foretell: Foretell

    def __post_init__(self) -> None:
        self.traffic: dict[tuple[str, str], Priced] = {}
        self.outlooks: dict[tuple[str, str], Outlook] = {}
        self.verdicts: dict[str, Verdict] = {}
        self._places: dict[str, Place] = {}
        self._busy = {name: one.proposal for one in self.fleet.busy for name in one.workloads}

    def snapshot(self) -> Snapshot:
        near = marks(
            {one.workload.name: [each.value for each in one.rules.near] for one in self.subjects}
        )
        apart = marks(
            {one.workload.name: [each.value for each in one.rules.apart] for one in self.subjects}
        )
        jobs = []
        for one in self.subjects:
            name = one.workload.name
            jobs.append(self._job(one, near[name], apart[name]))
        problem = Problem(
            currency=self.ground.currency,
            horizon_s=self.scope.horizon_s,
            jobs=tuple(jobs),
            nodes=tuple(self._nodes()),
            offers=tuple(self.ground.offers.values()),
            most_moves=self.scope.most_moves,
            hysteresis=HYSTERESIS,
        )
        return Snapshot(
            at=self.now,
            scope=self.scope,
            problem=problem,
            fleet=self.fleet,
            ground=self.ground,
            traffic=self.traffic,
            outlooks=self.outlooks,
            policies={
                one.workload.name: {each.name: each.digest for each in one.kept}
                for one in self.subjects
            },
            left_out=self.left_out,
        )

    def _nodes(self) -> list[Node]:
        """A node that is about to be taken away costs more than anything else could."""
        hours = self.scope.horizon_s / 3600
        dearest = sum(node.hourly for node in self.ground.nodes.values())
        dearest += sum(offer.hourly for offer in self.ground.offers.values())
        doomed = {host.name for host in self.fleet.hosts.values() if host.notices}
        return [
            replace(node, doomed=1000 + 10 * hours * dearest) if node.name in doomed else node
            for node in self.ground.nodes.values()
        ]

    # -- one workload

    def _job(self, one: _Subject, near: str, apart: str) -> Job:
        workload, host = one.workload, one.host
        assert host.facts is not None
        moves: dict[str, Move] = {}
        barred: dict[str, Bar] = {}
        pinned = self._pinned(one)
        for site in self._sites() if self.scope.covers(workload) else ():
            bar = self.ground.left_out.get(site) or self._barred(one, site)
            if bar is None:
                moves[site] = self._move(one, site)
            else:
                barred[site] = bar
        savings = [self._amount(rule.value) for rule in one.rules.min_saving]
        minute = self._minute(one)
        return Job(
            name=workload.name,
            host=host.name,
            memory=one.memory,
            arriving=one.memory,
            cpus=one.cpus,
            arch=host.facts.arch,
            features=frozenset(host.facts.cpu_features),
            moves=moves,
            barred=barred or {site: pinned for site in self._sites() if pinned and not moves},
            pinned=pinned,
            spot=spot_bar(one.rules),
            near=near,
            apart=apart,
            interruption_cost=float(minute or 0) * INTERRUPTED_S / 60,
            min_saving=float(max((money for money in savings if money), default=0)),
            payback_s=None if one.rules.payback_s is None else one.rules.payback_s.value,
        )

    def _sites(self) -> list[str]:
        there = by_site(self.ground.nodes).keys() | {o.site for o in self.ground.offers.values()}
        return sorted(there | self.ground.left_out.keys())

    def _pinned(self, one: _Subject) -> Bar | None:
        name, now = one.workload.name, self.now
        if not self.scope.covers(one.workload):
            return Bar("scope", "the run is not about it", "run it for this workload, too")
        if name in self.fleet.moving:
            why = f"migration {self.fleet.moving[name]} is moving it"
            return Bar("moving", why, "wait until that has ended")
        if name in self._busy:
            why = f"proposal {self._busy[name]}, which is being carried out, moves it"
            return Bar("moving", why, "wait until that has ended")
        if not one.host.alive(now):
            why = f"its host {one.host.name} has said nothing for {one.host.silent(now):.0f} s"
            return Bar("silent", why, "see its agent")
        begun = self.fleet.begun.get(name)
        rest = one.rules.cool_down_s
        left = 0.0 if begun is None or rest is None else begun + rest.value - now
        if left > 0 and rest is not None:
            return Bar(
                "cool-down",
                f"it was moved {duration((now - (begun or now)) * 1000)} ago, and rests for "
                f"{duration(rest.value * 1000)}",
                f"wait for {duration(left * 1000)}, or lower budget.cool_down of {rest.policy}",
            )
        verdict = self._verdict(one, one.host.site)
        closed = next((each for each in verdict.refusals if each.rule == WINDOWS), None)
        if closed is not None:
            return Bar("window", f"policy {closed.policy}: {closed.why}", closed.remedy)
        return None

    def _place(self, site: str) -> Place:
        if site not in self._places:
            self._places[site] = self.forecaster.place(site)
        return self._places[site]

    def _verdict(self, one: _Subject, site: str) -> Verdict:
        """What the policies say of a site; its machines' prices are judged one by one later."""
        workload = one.workload
        outlook = self._outlook(one, site)
        most = self.book.traffic(one.host.site, site, one.sized, self.ground.currency).quote
        facts = Facts(
            workload=workload.name,
            project=workload.project,
            source=self._place(one.host.site),
            target=self._place(site),
            sized=one.sized,
            unsized=one.unsized,
            cost=Told(most.amount, most.currency, most.source),
            price=NOT_ASKED,
            named=workload.policies,
            downtime=_expected(outlook),
            once=self._once(one, site, outlook),
            scheduled=True,
        )
        return evaluate([replace(each.policy, hourly=None) for each in one.kept], facts, self.now)

    def _once(self, one: _Subject, site: str, outlook: Outlook) -> Expected:
        """What the move costs once: its traffic, in its tariff's currency."""
        ends = (outlook.wire.low, outlook.wire.likely, outlook.wire.high or outlook.wire.likely)
        low, likely, high = (
            self.book.traffic(one.host.site, site, round(end), self.ground.currency).quote
            for end in ends
        )
        if likely.amount is None:
            return Expected(None, None, None, likely.currency, likely.source)
        doubt = outlook.doubt if likely.amount else ""
        return Expected(low.amount, likely.amount, high.amount, likely.currency, doubt)

    def _outlook(self, one: _Subject, site: str) -> Outlook:
        key = (one.workload.name, site)
        if key not in self.outlooks:
            self.outlooks[key] = self.foretell(one.workload, one.host, site, one.spec)
        return self.outlooks[key]

    def _traffic(self, one: _Subject, site: str) -> Priced:
        key = (one.workload.name, site)
        if key not in self.traffic:
            likely = round(self._outlook(one, site).wire.likely)
            self.traffic[key] = self.book.traffic(one.host.site, site, likely, self.ground.currency)
        return self.traffic[key]

    def _barred(self, one: _Subject, site: str) -> Bar | None:
        for found in self._verdict(one, site).findings:
            if found.outcome is Outcome.REFUSED and found.rule != WINDOWS:
                return Bar(found.rule, f"policy {found.policy}: {found.why}", found.remedy)
        priced = self._traffic(one, site)
        if priced.amount is None:
            return Bar(
                "price",
                f"what its traffic from {one.host.site} to {site} costs is unknown: {priced.why}",
                f"add {one.host.site} with a tariff, or set one in its settings",
            )
        if self._minute(one) is None:
            return Bar(
                "currency",
                "what its pause is worth is told in a currency from which no rate leads to "
                f"{self.ground.currency}",
                "set PORTER_RATES to a file with exchange rates",
            )
        return None

    def _move(self, one: _Subject, site: str) -> Move:
        outlook = self._outlook(one, site)
        minute = self._minute(one)
        downtime = float(minute or 0) * outlook.downtime_s.likely / 60
        egress = float(self._traffic(one, site).amount or 0)
        return Move(
            egress=egress,
            seconds=outlook.total_s.likely,
            downtime_s=outlook.downtime_s.likely,
            downtime_cost=downtime,
            failure_cost=outlook.fails * (egress + downtime),
        )

    def _minute(self, one: _Subject) -> Decimal | None:
        """What a minute of pause is worth, by the dearest word on it; None: in a currency to which
        no rate leads."""
        found = [self._amount(rule.value) for rule in one.rules.downtime_per_minute]
        if any(amount is None for amount in found):
            return None
        return max((amount for amount in found if amount is not None), default=Decimal(0))

    def _amount(self, money: Money) -> Decimal | None:
        """In the run's currency; None where no rate is set."""
        quote = Quote("", money.amount, money.currency, "", "", "a policy")
        return self.book.reckon(quote, self.ground.currency).amount
