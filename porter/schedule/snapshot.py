"""The fleet as the optimiser is asked about it: database, places, policies and forecasts put
together. The exact prices are kept beside the floats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from porter.db.fleet import Fleet, Fleets
from porter.db.history import History
from porter.db.policies import Policies
from porter.domain.errors import Invalid
from porter.migrate.forecast import Forecaster
from porter.migrate.places import Places
from porter.schedule.expected import Expectations
from porter.schedule.ground import Ground, Surveyor, Wants
from porter.schedule.jobs import Jobs
from porter.schedule.optimiser.model import Bar, Node, Problem
from porter.schedule.outlook import Estimator, Outlook
from porter.schedule.priced import PriceBook, Priced
from porter.schedule.rates import Rates
from porter.schedule.scope import Scope as Scope
from porter.schedule.subjects import Subject, subject_of


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
    needs: Mapping[str, str]
    """Workload -> what the room that is kept for it rests on; empty where it was not watched."""

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


class Photographer:
    """Takes snapshots. May take long, as prices may have to be read."""

    def __init__(
        self,
        fleets: Fleets,
        policies: Policies,
        places: Places,
        forecaster: Forecaster,
        estimator: Estimator,
        history: History,
        rates: Rates = Rates(),
    ) -> None:
        self._fleets = fleets
        self._policies = policies
        self._places = places
        self._forecaster = forecaster
        self._estimator = estimator
        self._history = history
        self._rates = rates

    def take(self, scope: Scope, now: float) -> Snapshot:
        """Raises Invalid for a currency in which nothing is told and to which no rate leads."""
        fleet = self._fleets.read()
        expected = Expectations(self._history.read(now), now, scope.horizon_s)
        subjects, left_out = self._subjects(scope, fleet, expected)
        book = PriceBook(self._places, self._rates, expected.price)
        mine = [one for one in subjects if scope.covers(one.workload)]
        wants = Wants(
            needs=tuple(one.need for one in mine),
            spot=any(one.rules.spot.value for one in mine),
            most=min(scope.most_moves, max(1, len(mine))),
        )
        ground = Surveyor(self._places, book, expected).survey(fleet, wants, scope.currency, now)
        self._history.note(book.read(), now)
        if scope.currency and not ground.prices and ground.left_out:
            raise Invalid(
                f"cannot reckon in {scope.currency}: no price is told in it, no rate leads to it",
                "name another currency, or set PORTER_RATES",
            )
        jobs = Jobs(
            *(scope, now, fleet, ground, book, subjects),
            *(self._forecaster, self._estimator.learn()),
        )
        return Snapshot(
            at=now,
            scope=scope,
            problem=_problem(scope, fleet, ground, jobs),
            fleet=fleet,
            ground=ground,
            traffic=jobs.traffic,
            outlooks=jobs.outlooks,
            policies={
                one.workload.name: {each.name: each.digest for each in one.kept} for one in subjects
            },
            left_out=left_out,
            needs={one.workload.name: one.needs for one in subjects},
        )

    def _subjects(
        self, scope: Scope, fleet: Fleet, expected: Expectations
    ) -> tuple[list[Subject], dict[str, Bar]]:
        """All workloads that can be looked at, and why those of the scope that cannot are not."""
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
            subjects.append(subject_of(workload, host, kept, fleet, expected))
        return subjects, left_out


def _problem(scope: Scope, fleet: Fleet, ground: Ground, jobs: Jobs) -> Problem:
    return Problem(
        currency=ground.currency,
        horizon_s=scope.horizon_s,
        jobs=jobs.all(),
        nodes=_nodes(fleet, ground, scope.horizon_s),
        offers=tuple(ground.offers.values()),
        most_moves=scope.most_moves,
        hysteresis=scope.hysteresis,
    )


def _nodes(fleet: Fleet, ground: Ground, horizon_s: float) -> tuple[Node, ...]:
    """A node that is about to be taken away costs more than anything else could."""
    dearest = sum(node.hourly for node in ground.nodes.values())
    dearest += sum(offer.hourly for offer in ground.offers.values())
    doom = 1000 + 10 * horizon_s / 3600 * dearest
    doomed = {host.name for host in fleet.hosts.values() if host.notices}
    return tuple(
        replace(node, doomed=doom) if node.name in doomed else node
        for node in ground.nodes.values()
    )
