"""Answers of the optimiser as proposals: frozen, hashed, with exact sums; and their drift."""

from __future__ import annotations

from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any, Protocol

from porter.db.base import HostRecord
from porter.db.proposals import ProposalRecord, Proposals, ProposalState
from porter.db.rebalances import Outcome
from porter.db.rows import new_id
from porter.domain.errors import PorterError
from porter.domain.identity import FLEET
from porter.domain.policy import WINDOWS, Finding
from porter.migrate.places import Places
from porter.migrate.plan import plan_hash
from porter.migrate.planning import Planner
from porter.migrate.prospects import Asked
from porter.migrate.receipt import iso
from porter.schedule.optimiser.model import Answer, Bar, Bundle, Problem, Step
from porter.schedule.priced import PriceBook
from porter.schedule.rates import Rates
from porter.schedule.snapshot import Photographer, Scope, Snapshot
from porter.schedule.stays import refusal, told
from porter.schedule.sums import Sums

LIFETIME = 86400.0
"""Seconds after which a proposal expires: prices and loads go on."""
DRIFT = Decimal("0.02")
"""A proposal lapses when a price that it rests on has changed by more than this fraction."""
TURNS = 3
"""So often the optimiser is asked again because a policy refuses what it answered."""
LOOK_FOR_OTHERS = 2
"""For so many proposals the next best answer is looked for."""


class Optimise(Protocol):
    def __call__(self, problem: Problem, seconds: float = 5.0) -> Answer: ...


class Proposer:
    """Asks the optimiser. Blocks for as long as prices and it take."""

    def __init__(
        self,
        photographer: Photographer,
        optimise: Optimise,
        planner: Planner,
        proposals: Proposals,
        places: Places,
    ) -> None:
        self._photographer = photographer
        self._optimise = optimise
        self._planner = planner
        self._proposals = proposals
        self._places = places

    def propose(
        self, run: str, scope: Scope, by: str, now: float, execute: bool = False
    ) -> Outcome:
        """What should be moved. `by`: the person, or `schedule NAME`. `execute`: what needs
        nobody's approval is to be carried out at once. Changes nothing, but prices are
        remembered."""
        snapshot = self._photographer.take(scope, now)
        answer = self._optimise(snapshot.problem, scope.seconds)
        for _ in range(TURNS):
            bars, demands = self._judge(snapshot, answer, now)
            if not bars:
                break
            snapshot = replace(snapshot, problem=_without(snapshot.problem, bars))
            answer = self._optimise(snapshot.problem, scope.seconds)
        else:
            bars, demands = self._judge(snapshot, answer, now)
        made = []
        stays = told(snapshot, answer)
        for number, bundle in enumerate(answer.bundles):
            keys = [(step.job, _site(snapshot, bundle, step)) for step in bundle.steps]
            refused = [bars[key] for key in keys if key in bars]
            if refused:  # however often we ask
                stays |= {name: refusal(snapshot, name, refused[0]) for name, _ in keys}
                continue
            asks = [one for step in bundle.steps for one in demands.get(step.job, ())]
            other = self._other(snapshot, bundle) if number < LOOK_FOR_OTHERS else None
            made.append(_proposal(run, snapshot, bundle, asks, other, by, now, execute))
        return Outcome(
            problem=snapshot.summary(),
            answer=_answer(answer, made if scope.dry_run else ()),
            stays=stays,
            prices=snapshot.quotes(),
            proposals=made,
        )

    def _judge(
        self, snapshot: Snapshot, answer: Answer, now: float
    ) -> tuple[dict[tuple[str, str], Bar], dict[str, list[dict[str, Any]]]]:
        """What policies refuse of an answer, and what they demand approval for."""
        bars: dict[tuple[str, str], Bar] = {}
        demands: dict[str, list[dict[str, Any]]] = {}
        for bundle in answer.bundles:
            for step in bundle.steps:
                key = (step.job, _site(snapshot, bundle, step))
                try:
                    prospect = self._planner.look(asked_of(snapshot, bundle, step), now)
                    verdict = self._planner.judge(prospect, now).verdict
                except PorterError as error:
                    bars[key] = Bar("impossible", error.message, error.remedy)
                    continue
                refused = [one for one in verdict.refusals if one.rule != WINDOWS]
                if refused:
                    bars[key] = _bar(refused[0])
                elif verdict.demands:
                    demands[step.job] = [
                        {**asdict(one), "workload": step.job} for one in verdict.demands
                    ]
        return bars, demands

    def _other(self, snapshot: Snapshot, bundle: Bundle) -> dict[str, Any]:
        """The best that there is without this bundle's targets."""
        problem = snapshot.problem
        used = {machine.offer for machine in bundle.machines}
        targets = {step.target for step in bundle.steps}
        moved = {step.job for step in bundle.steps}
        closed = Bar("runner-up", "it is looked for what else there is", "")
        still = Bar("runner-up", "it belongs to another proposal", "")
        answer = self._optimise(
            replace(
                problem,
                offers=tuple(one for one in problem.offers if one.key not in used),
                nodes=tuple(
                    replace(one, closed=closed) if one.name in targets else one
                    for one in problem.nodes
                ),
                jobs=tuple(
                    one if one.name in moved else replace(one, pinned=one.pinned or still)
                    for one in problem.jobs
                ),
            ),
            1.0,
        )
        best = max(answer.bundles, key=lambda one: one.saving, default=None)
        if best is None:
            return {"what": "everything stays as it is", "saving": "0"}
        sums = Sums(snapshot, best).as_dict()
        where = ", ".join(sorted({step.target for step in best.steps}))
        return {"what": f"{len(best.steps)} moves to {where}", "saving": sums["saving"]}

    # -- drift

    def recheck(self, proposal: ProposalRecord, now: float) -> bool:
        """Let it lapse if prices, policies or the fleet are no longer what it rests on. Raises
        Lapsed; False if it had come to another end before."""
        self._proposals.check(proposal.id, now)
        why = price_drift(proposal, PriceBook(self._places, Rates()))
        if why:
            self._proposals.lapse(proposal.id, why, now)
            return False
        self._proposals.noted(proposal.id, now)
        return True


def price_drift(proposal: ProposalRecord, book: PriceBook) -> str:
    """How prices differ from those that a proposal rests on; empty if they do not."""
    for known in proposal.basis["prices"]:
        now = book.quote(known["site"], known["item"], known["terms"])
        what = f"the price of {known['item']} at {known['site']}"
        if now.amount is None:
            return f"{what} is not known any more: {now.source}"
        before = Decimal(known["amount"])
        if now.currency != known["currency"]:
            return f"{what} is told in {now.currency}, not in {known['currency']}"
        if abs(now.amount - before) > DRIFT * before:
            return f"{what} is {now.amount} {now.currency} an hour, not {before}"
    return ""


def asked_of(snapshot: Snapshot, bundle: Bundle, step: Step, release: bool = False) -> Asked:
    """One step as the planner takes it."""
    made = next((one for one in bundle.machines if one.name == step.target), None)
    if made is None:
        return Asked(step.job, step.target, provision="never", release=release, scheduled=True)
    offer = next(one for one in snapshot.problem.offers if one.key == made.offer)
    return Asked(
        step.job,
        offer.site,
        provision="always",
        release=release,
        instance_type=offer.type,
        terms=offer.terms,
        scheduled=True,
    )


def _site(snapshot: Snapshot, bundle: Bundle, step: Step) -> str:
    made = {one.name: one.offer for one in bundle.machines}
    if step.target in made:
        return next(one.site for one in snapshot.problem.offers if one.key == made[step.target])
    return snapshot.ground.nodes[step.target].site


def _bar(finding: Finding) -> Bar:
    return Bar(finding.rule, f"policy {finding.policy}: {finding.why}", finding.remedy)


def _without(problem: Problem, bars: dict[tuple[str, str], Bar]) -> Problem:
    """The same problem, with what was refused barred."""
    jobs = []
    for job in problem.jobs:
        mine = {site: bar for (name, site), bar in bars.items() if name == job.name}
        moves = {site: move for site, move in job.moves.items() if site not in mine}
        jobs.append(replace(job, moves=moves, barred={**job.barred, **mine}))
    return replace(problem, jobs=tuple(jobs))


def _proposal(
    run: str,
    snapshot: Snapshot,
    bundle: Bundle,
    demands: list[dict[str, Any]],
    other: dict[str, Any] | None,
    by: str,
    now: float,
    execute: bool,
) -> ProposalRecord:
    identity = new_id("o")
    content = _content(run, snapshot, bundle, other, by, now)
    basis = _basis(snapshot, bundle)
    state = ProposalState.OPEN
    if demands:
        state = ProposalState.WAITING
    elif execute:
        state = ProposalState.EXECUTING
    projects = {snapshot.fleet.workloads[step.job].project for step in bundle.steps}
    return ProposalRecord(
        id=identity,
        hash=plan_hash({"id": identity, "content": content, "basis": basis, "demands": demands}),
        rebalance=run,
        project=projects.pop() if len(projects) == 1 else FLEET,
        state=state,
        content=content,
        basis=basis,
        demands=demands,
        created=now,
        created_by=by,
        decided=None,
        decided_by="",
        reason="",
        expires=now + LIFETIME,
        checked=now,
        started=None,
        started_by="",
        ended=None,
        stopping="",
    )


def _content(
    run: str,
    snapshot: Snapshot,
    bundle: Bundle,
    other: dict[str, Any] | None,
    by: str,
    now: float,
) -> dict[str, Any]:
    """What would be done, with the sums: what a person looks at, and approves by its hash."""
    return {
        "rebalance": run,
        "moves": _moves(snapshot, bundle),
        "machines": _machines(snapshot, bundle),
        "ended": list(bundle.ended),
        "sums": Sums(snapshot, bundle).as_dict(),
        "urgent": sorted(
            {step.source for step in bundle.steps if snapshot_doomed(snapshot, step.source)}
        ),
        "runner_up": other,
        "by": by,
        "made_at": iso(now),
        "expires_at": iso(now + LIFETIME),
    }


def snapshot_doomed(snapshot: Snapshot, node: str) -> bool:
    """Whether a node is about to be taken away."""
    return any(one.name == node and one.doomed > 0 for one in snapshot.problem.nodes)


def _moves(snapshot: Snapshot, bundle: Bundle) -> list[dict[str, Any]]:
    last = {step.source: step.job for step in bundle.steps if step.source in bundle.ended}
    new = {machine.name for machine in bundle.machines}
    moves: list[dict[str, Any]] = []
    for number, wave in enumerate(bundle.waves):
        for step in wave:
            site = _site(snapshot, bundle, step)
            release = last.get(step.source) == step.job
            asked = asked_of(snapshot, bundle, step, release)
            job = next(one for one in snapshot.problem.jobs if one.name == step.job)
            moves.append(
                {
                    "seq": len(moves),
                    "wave": number,
                    "workload": step.job,
                    "from": step.source,
                    "to": step.target,
                    "site": site,
                    "new": step.target in new,
                    "release": release,
                    "instance_type": asked.instance_type,
                    "terms": asked.terms,
                    "needs_bytes": job.memory + job.arriving,
                    "needs": snapshot.needs[step.job],
                    "outlook": snapshot.outlooks[step.job, site].as_dict(),
                    "traffic": snapshot.traffic[step.job, site].as_dict(),
                }
            )
    return moves


def _machines(snapshot: Snapshot, bundle: Bundle) -> list[dict[str, Any]]:
    offers = {offer.key: offer for offer in snapshot.problem.offers}
    return [
        {
            "name": machine.name,
            "site": offers[machine.offer].site,
            "type": offers[machine.offer].type,
            "terms": offers[machine.offer].terms,
            "price": snapshot.ground.prices[machine.offer].as_dict(),
        }
        for machine in bundle.machines
    ]


def _basis(snapshot: Snapshot, bundle: Bundle) -> dict[str, Any]:
    """What makes a proposal lapse when it changes; see `porter.db.plans.drift`."""
    hosts: dict[str, HostRecord] = {one.name: one for one in snapshot.fleet.hosts.values()}
    workloads = {}
    for step in bundle.steps:
        workload = snapshot.fleet.workloads[step.job]
        target = hosts.get(step.target)
        workloads[step.job] = {
            "workload": workload.id,
            "project": workload.project,
            "generation": workload.generation,
            "host": hosts[step.source].id,
            "target": "" if target is None else target.id,
            "policies": dict(snapshot.policies[step.job]),
        }
    used = {*bundle.ended, *(machine.offer for machine in bundle.machines)}
    prices = [
        {key: quote[key] for key in ("site", "item", "terms", "amount", "currency", "as_of")}
        for quote in snapshot.quotes()
        if quote["of"] in used
    ]
    return {"workloads": workloads, "prices": prices}


def _answer(answer: Answer, would: Any) -> dict[str, Any]:
    return {
        "cost": answer.cost,
        "stay_cost": answer.stay_cost,
        "bound": answer.bound,
        "gap": answer.gap,
        "method": answer.method,
        "seconds": answer.seconds,
        "would": [one.content for one in would],
    }
