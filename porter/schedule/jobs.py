"""Workloads as the optimiser knows them: what moving each to each site costs, or what bars it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from porter.db.fleet import Fleet
from porter.domain.money import Quote
from porter.domain.policy import WINDOWS, Facts, Money, Outcome, Place, Told, Verdict, evaluate
from porter.domain.rules import SECONDS, Expected
from porter.domain.units import about, duration
from porter.migrate.forecast import NOT_ASKED, Forecaster
from porter.schedule.ground import Ground, by_site
from porter.schedule.market import INTERRUPTED_S
from porter.schedule.optimiser.model import Bar, Job, Move
from porter.schedule.outlook import Foretell, Outlook
from porter.schedule.priced import PriceBook, Priced
from porter.schedule.rules import marks, spot_bar
from porter.schedule.scope import Scope
from porter.schedule.subjects import Subject


def _expected(outlook: Outlook) -> Expected:
    """A pause as policies take it. Where nobody knows how bad it can get, it is not known."""
    low, likely, high = (
        None if one is None else Decimal(str(one))
        for one in (outlook.downtime_s.low, outlook.downtime_s.likely, outlook.downtime_s.high)
    )
    return Expected(low, likely, high, SECONDS, outlook.doubt)


@dataclass
class Jobs:
    """Makes the jobs of one run, and keeps what they rest on."""

    scope: Scope
    now: float
    fleet: Fleet
    ground: Ground
    book: PriceBook
    subjects: list[Subject]
    forecaster: Forecaster
    foretell: Foretell

    def __post_init__(self) -> None:
        self.traffic: dict[tuple[str, str], Priced] = {}
        self.outlooks: dict[tuple[str, str], Outlook] = {}
        self._places: dict[str, Place] = {}
        self._busy = {name: one.proposal for one in self.fleet.busy for name in one.workloads}

    def all(self) -> tuple[Job, ...]:
        near = marks(
            {one.workload.name: [each.value for each in one.rules.near] for one in self.subjects}
        )
        apart = marks(
            {one.workload.name: [each.value for each in one.rules.apart] for one in self.subjects}
        )
        names = [one.workload.name for one in self.subjects]
        return tuple(
            self._job(one, near[name], apart[name])
            for name, one in zip(names, self.subjects, strict=True)
        )

    def _job(self, one: Subject, near: str, apart: str) -> Job:
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
            interruption_cost=float(minute or 0) * self._felt(one) / 60,
            min_saving=float(max((money for money in savings if money), default=0)),
            payback_s=None if one.rules.payback_s is None else one.rules.payback_s.value,
        )

    def _felt(self, one: Subject) -> float:
        """Seconds of pause that an interruption brings: its own, and that of one more move, as
        what begins anew lands wherever there is room."""
        if not one.rules.downtime_per_minute:
            return INTERRUPTED_S
        return INTERRUPTED_S + self._outlook(one, one.host.site).downtime_s.likely

    def _sites(self) -> list[str]:
        there = by_site(self.ground.nodes).keys() | {o.site for o in self.ground.offers.values()}
        return sorted(there | self.ground.left_out.keys())

    def _pinned(self, one: Subject) -> Bar | None:
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
            why = f"its host {one.host.name} has said nothing for {about(one.host.silent(now))}"
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

    def _verdict(self, one: Subject, site: str) -> Verdict:
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

    def _once(self, one: Subject, site: str, outlook: Outlook) -> Expected:
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

    def _outlook(self, one: Subject, site: str) -> Outlook:
        key = (one.workload.name, site)
        if key not in self.outlooks:
            self.outlooks[key] = self.foretell(one.workload, one.host, site, one.spec)
        return self.outlooks[key]

    def _traffic(self, one: Subject, site: str) -> Priced:
        key = (one.workload.name, site)
        if key not in self.traffic:
            likely = round(self._outlook(one, site).wire.likely)
            self.traffic[key] = self.book.traffic(one.host.site, site, likely, self.ground.currency)
        return self.traffic[key]

    def _barred(self, one: Subject, site: str) -> Bar | None:
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

    def _move(self, one: Subject, site: str) -> Move:
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

    def _minute(self, one: Subject) -> Decimal | None:
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
