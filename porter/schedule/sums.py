"""What a bundle costs and saves, exact and with sources: reckoned anew from the quotes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from porter.schedule.optimiser.model import Bundle, Job, Node, Offer, Step
from porter.schedule.priced import FINE, plain
from porter.schedule.snapshot import Snapshot

ZERO = Decimal(0)


class Sums:
    """Of one bundle. `before` and `after` hold over the horizon, `once` is what of `after` is paid
    for moving."""

    def __init__(self, snapshot: Snapshot, bundle: Bundle) -> None:
        problem = snapshot.problem
        self._snapshot = snapshot
        self._bundle = bundle
        self._jobs = {job.name: job for job in problem.jobs}
        self._nodes = {node.name: node for node in problem.nodes}
        self._offers = {offer.key: offer for offer in problem.offers}
        self._new = {machine.name: self._offers[machine.offer] for machine in bundle.machines}
        self._hours = Decimal(str(problem.horizon_s)) / 3600
        self.lines = [*self._machines(), *self._double(), *self._moves(), *self._spot()]

    def as_dict(self) -> dict[str, Any]:
        """Amounts are text; each line says what its amounts rest on."""
        before, after = self._total("before"), self._total("after")
        once = sum((Decimal(one["after"]) for one in self.lines if one["once"]), ZERO)
        return {
            "currency": self._snapshot.problem.currency,
            "horizon_s": self._snapshot.problem.horizon_s,
            "before": plain(before),
            "after": plain(after),
            "once": plain(once),
            "saving": plain(before - after),
            "lines": self.lines,
            "rates": self._rates(),
        }

    def _total(self, when: str) -> Decimal:
        return sum((Decimal(one[when]) for one in self.lines), ZERO)

    def _rates(self) -> list[dict[str, str]]:
        """Every exchange rate that went in, once."""
        found = {}
        for line in self.lines:
            rate = (line["basis"] or {}).get("rate")
            if rate:
                found[rate["from"], rate["to"]] = rate
        return list(found.values())

    def _machines(self) -> Iterator[dict[str, Any]]:
        touched = {*self._bundle.ended, *(step.source for step in self._bundle.steps)}
        touched |= {step.target for step in self._bundle.steps if step.target in self._nodes}
        for name in sorted(touched):
            if not self._nodes[name].removable:
                continue  # it costs the same whatever is decided
            priced = self._snapshot.ground.prices[name]
            cost = (priced.likely or ZERO) * self._hours
            stays = ZERO if name in self._bundle.ended else cost
            yield _line("machine", name, cost, stays, priced.as_dict())
        for machine in self._bundle.machines:
            priced = self._snapshot.ground.prices[machine.offer]
            cost = (priced.likely or ZERO) * self._hours
            yield _line("machine", machine.name, ZERO, cost, priced.as_dict())

    def _double(self) -> Iterator[dict[str, Any]]:
        """Hosts that end are paid for until they are empty."""
        for name in self._bundle.ended:
            mine = [step for step in self._bundle.steps if step.source == name]
            seconds = sum(self._jobs[one.job].moves[self._site(one)].seconds for one in mine)
            boots = [self._new[one.target].boot_s for one in mine if one.target in self._new]
            priced = self._snapshot.ground.prices[name]
            whole = Decimal(str(seconds + max(boots, default=0.0)))
            cost = (priced.likely or ZERO) * whole / 3600
            yield _line("double", name, ZERO, cost, priced.as_dict(), once=True)

    def _moves(self) -> Iterator[dict[str, Any]]:
        for step in self._bundle.steps:
            site = self._site(step)
            move = self._jobs[step.job].moves[site]
            priced = self._snapshot.traffic[step.job, site]
            yield _line(
                "egress", step.job, ZERO, priced.amount or ZERO, priced.as_dict(), once=True
            )
            basis = {"source": self._snapshot.outlooks[step.job, site].basis}
            for what, amount in (("downtime", move.downtime_cost), ("failure", move.failure_cost)):
                if amount:
                    yield _line(what, step.job, ZERO, Decimal(str(amount)), basis, once=True)

    def _spot(self) -> Iterator[dict[str, Any]]:
        for step in self._bundle.steps:
            job = self._jobs[step.job]
            target = self._new.get(step.target) or self._nodes[step.target]
            source = self._nodes[step.source]
            before, after = self._risk(job, source), self._risk(job, target)
            why = [self._why(one) for one in (source, target) if one.interruptions]
            if before or after:
                basis = {"source": f"interruptions of spot machines: {'; '.join(why)}"}
                yield _line("interruptions", step.job, before, after, basis)

    def _risk(self, job: Job, where: Node | Offer) -> Decimal:
        return Decimal(str(where.interruptions * job.interruption_cost)) * self._hours

    def _why(self, where: Node | Offer) -> str:
        name = where.name if isinstance(where, Node) else where.key
        return self._snapshot.ground.risks[name].why

    def _site(self, step: Step) -> str:
        made = self._new.get(step.target)
        return self._nodes[step.target].site if made is None else made.site


def _line(
    what: str,
    of: str,
    before: Decimal,
    after: Decimal,
    basis: dict[str, Any],
    once: bool = False,
) -> dict[str, Any]:
    return {
        "what": what,
        "of": of,
        "before": plain(before.quantize(FINE)),
        "after": plain(after.quantize(FINE)),
        "once": once,
        "basis": basis,
    }
