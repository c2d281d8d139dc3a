"""Moves as people ask for them: judged by policies, planned, and begun once."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from porter.db.base import HostRecord, NewMigration, WorkloadRecord
from porter.db.moves import Moves, NoHost
from porter.db.plans import LIVING, READY, PlanRecord, Plans, PlanState, lapsed
from porter.db.policies import Policies, PolicyRecord
from porter.db.registry import Registry
from porter.db.rows import new_id
from porter.domain.errors import ApprovalRequired, Conflict, Lapsed, NotFound
from porter.domain.identity import Principal
from porter.domain.policy import Facts, Policy, evaluate
from porter.domain.workload import WorkloadSpec
from porter.migrate.forecast import Forecaster
from porter.migrate.offers import launcher
from porter.migrate.places import Places
from porter.migrate.plan import kinds, plan, plan_hash
from porter.migrate.predict import Prediction
from porter.migrate.prospects import Asked, Judgement, Prospect, prospect_of
from porter.migrate.receipt import iso
from porter.migrate.verdicts import demand_no_more, refuse
from porter.migrate.verdicts import verdict_dict as verdict_dict

LIFETIME = 7 * 86400.0
"""Seconds after which a plan expires unless it says otherwise."""


class Planner:
    """Every move that somebody asks for begins here, so that no policy is passed by."""

    def __init__(
        self,
        moves: Moves,
        plans: Plans,
        policies: Policies,
        registry: Registry,
        places: Places,
        forecaster: Forecaster,
    ) -> None:
        self._moves = moves
        self._plans = plans
        self._policies = policies
        self._registry = registry
        self._places = places
        self._forecaster = forecaster

    def look(self, asked: Asked, now: float) -> Prospect:
        """Who would move from where to where. Changes nothing. Raises NotFound, Conflict …"""
        workload, source, target = self._parties(asked, now)
        if target is not None and source.id == target.id:
            raise Conflict(
                f"cannot move {workload.name} to {target.name}: it is there already",
                "name another host",
            )
        return prospect_of(asked, workload, source, target)

    def _parties(
        self, asked: Asked, now: float
    ) -> tuple[WorkloadRecord, HostRecord, HostRecord | None]:
        """Workload, source, and the target, unless that is to be made."""
        if asked.provision == "always":
            workload, source = self._moves.source(asked.workload)
            launcher(self._places.open(asked.to))
            return workload, source, None
        try:
            return self._moves.resolve(asked.workload, asked.to, now)
        except (NotFound, NoHost):
            workload, source = self._moves.source(asked.workload)
            if asked.provision == "never" or not self.can_launch(asked.to):
                raise
            return workload, source, None

    def can_launch(self, site: str) -> bool:
        """Whether Porter can make machines there."""
        try:
            return self._places.open(site).hosts is not None
        except NotFound:
            return False

    # -- policies

    def judge(
        self,
        prospect: Prospect,
        now: float,
        whole: bool = False,
        extra: Policy | None = None,
    ) -> Judgement:
        """What the policies say. `whole`: forecast also what none of them asks for. `extra`: as if
        this one were kept, too, instead of one of its name."""
        workload = prospect.workload
        kept = self._holding(workload)
        policies = [one.policy for one in kept if extra is None or one.name != extra.name]
        if extra is not None and _holds(extra, workload):
            policies.append(extra)
        forecast = self._forecaster.forecast(
            workload,
            prospect.source,
            prospect.target,
            prospect.site,
            prospect.options,
            None if whole else policies,
        )
        expected = self.predict(prospect)
        facts = Facts(
            workload=workload.name,
            project=workload.project,
            source=self._forecaster.place(prospect.source.site),
            target=self._forecaster.place(prospect.site),
            sized=forecast.sized,
            unsized=forecast.unsized,
            cost=forecast.cost,
            price=forecast.price,
            named=workload.policies,
            downtime=expected.downtime(),
            once=expected.once(),
            scheduled=prospect.asked.scheduled,
        )
        verdict = evaluate(policies, facts, now)
        return Judgement(verdict, forecast, expected, {one.name: one.digest for one in kept})

    def predict(
        self, prospect: Prospect, spec: WorkloadSpec | None = None, image: int | None = None
    ) -> Prediction:
        """What the move will come to, as ranges. `spec`: what its host just told of the workload;
        `image`: bytes of its image that the target lacks."""
        return self._forecaster.predict(
            prospect.workload,
            prospect.source,
            prospect.target,
            prospect.site,
            str(prospect.mode),
            spec,
            image,
        )

    def _holding(self, workload: WorkloadRecord) -> list[PolicyRecord]:
        kept = self._policies.all(frozenset({workload.project}))
        return [one for one in kept if _holds(one.policy, workload)]

    # -- moves

    def start(
        self,
        prospect: Prospect,
        by: Principal,
        now: float,
        key: str | None,
        digest: str,
        met: Collection[tuple[str, str]] | None = None,
    ) -> str:
        """Begin a move at once; returns its migration, the same for the same key. Raises
        PolicyRefused, or ApprovalRequired with the plan that waits for it. `met`: the move is part
        of what was decided on as a whole, with these demands (policy, rule): another one makes no
        plan, and is raised."""
        judged = self.judge(prospect, now)
        refuse(*prospect.names, judged.verdict.refusals, judged.verdict)
        if met is not None:
            demand_no_more(*prospect.names, judged.verdict.demands, met)
        elif judged.verdict.demands:
            self._ask(prospect, by, now, judged)
        return self._begin(prospect, by, now, judged, key, digest)

    def _ask(self, prospect: Prospect, by: Principal, now: float, judged: Judgement) -> None:
        made = self._known(prospect, by, judged) or self.make(prospect, by, now)
        first = judged.verdict.demands[0]
        what = f"cannot move {prospect.workload.name} to {prospect.to} yet"
        if made.state == PlanState.APPROVED:
            remedy = f"its plan {made.id} is approved: porter plan execute {made.id}"
        else:
            remedy = (
                f"another person approves the plan: porter plan approve {made.id}; "
                f"then: porter plan execute {made.id}"
            )
        error = ApprovalRequired(f"{what}: policy {first.policy}: {first.why}", remedy)
        error.members = {
            "plan": made.id,
            "hash": made.hash,
            "policy": first.policy,
            "rule": first.rule,
        }
        raise error

    def _known(self, prospect: Prospect, by: Principal, judged: Judgement) -> PlanRecord | None:
        """The plan that the same person made for the same wish, if it still holds."""
        basis, request = _basis(prospect, judged), asdict(prospect.asked)
        for made in self._plans.all(workload=prospect.workload.name):
            same = made.content["request"] == request and basis.items() <= made.basis.items()
            if same and made.state in LIVING and made.created_by == by.person:
                return made
        return None

    def _begin(
        self,
        prospect: Prospect,
        by: Principal,
        now: float,
        judged: Judgement,
        key: str | None,
        digest: str,
        of: PlanRecord | None = None,
    ) -> str:
        workload, source = prospect.workload, prospect.source
        target = prospect.target or self._expect(prospect.site, now)
        content = plan(workload.name, source.name, target.name, prospect.mode, prospect.options)
        return self._moves.create(
            NewMigration(
                id=new_id("m"),
                workload=workload,
                source=source,
                target=target,
                mode=prospect.mode,
                plan=content,
                plan_hash=plan_hash(content) if of is None else of.hash,
                steps=kinds(prospect.options),
                now=now,
                idempotency_key=key,
                request_hash=digest,
                created_by=by.id,
                plan_id=None if of is None else of.id,
                forecast=judged.expected.as_dict(),
            )
        )

    def _expect(self, site: str, now: float) -> HostRecord:
        # If the request fails after all, the reaper forgets a host that nobody waits for.
        slug = site.lower().replace(":", "-")[:40]
        return self._registry.expect(f"{slug}-{secrets.token_hex(3)}", site, now)

    # -- plans

    def make(
        self, prospect: Prospect, by: Principal, now: float, lifetime: float = LIFETIME
    ) -> PlanRecord:
        """Freeze a move into a plan. Raises PolicyRefused if it could not be carried out later
        either; being outside the change windows does not matter yet."""
        judged = self.judge(prospect, now, whole=True)
        verdict = judged.verdict
        if not verdict.only_waits:
            refuse(*prospect.names, verdict.refusals, verdict)
        workload, identity, expires = prospect.workload, new_id("p"), now + lifetime
        forecast = judged.forecast
        steps = plan(
            workload.name, prospect.source.name, prospect.to, prospect.mode, prospect.options
        )
        content: dict[str, Any] = {
            **steps,
            "generation": workload.generation,
            "site": prospect.site,
            "request": asdict(prospect.asked),
            "forecast": {**forecast.as_dict(), "expected": judged.expected.public()},
            "verdict": verdict_dict(verdict),
            "by": {"id": by.id, "kind": by.kind, "name": by.name},
            "expires_at": iso(expires),
        }
        basis = _basis(prospect, judged) | {
            "prices": {"egress": forecast.cost_as_of, "price": forecast.price_as_of}
        }
        return self._plans.add(
            PlanRecord(
                id=identity,
                hash=plan_hash({"id": identity, "content": content, "basis": basis}),
                content=content,
                basis=basis,
                workload=workload.name,
                project=workload.project,
                state=PlanState.WAITING if verdict.demands else PlanState.OPEN,
                demands=[asdict(one) for one in verdict.demands],
                created=now,
                created_by=by.person,
                decided=None,
                decided_by="",
                reason="",
                expires=expires,
                migration=None,
            )
        )

    def execute(self, identity: str, by: Principal, now: float) -> str:
        """Begin a plan's migration, once: asked again, it is the same one. Raises ApprovalRequired,
        PolicyRefused, Lapsed, or Conflict for a plan that has come to another end."""
        made = self._plans.get(identity)
        if made.migration is not None:
            return made.migration
        if made.state == PlanState.WAITING:
            error = ApprovalRequired(
                f"cannot execute plan {identity}: it waits for another person's approval",
                f"porter plan approve {identity}",
            )
            error.members = {"plan": identity, "hash": made.hash}
            raise error
        if made.state not in READY:
            raise Conflict(f"cannot execute plan {identity}: it is {made.state}")
        self._plans.check(identity, now)
        prospect = self._again(made)
        judged = self._judge_again(made, prospect, now)
        try:
            return self._begin(prospect, by, now, judged, f"plan {identity}", made.hash, made)
        except Lapsed:
            self._plans.check(identity, now)  # records it; that transaction was undone
            raise

    def _again(self, made: PlanRecord) -> Prospect:
        """The plan's parties as they are now; that they are still the same is seen to."""
        asked = Asked(**made.content["request"])
        workload, source = self._moves.source(made.workload)
        target = made.basis["target"]
        host = self._registry.host(target) if target else None
        return prospect_of(asked, workload, source, host)

    def _judge_again(self, made: PlanRecord, prospect: Prospect, now: float) -> Judgement:
        judged = self.judge(prospect, now)
        known = {(one["policy"], one["rule"], one["why"]) for one in made.demands}
        for one in judged.verdict.demands:
            # An amount that has changed is another reason than the one that was approved.
            if (one.policy, one.rule, one.why) not in known:
                why = f"policy {one.policy} asks for more: {one.why}"
                self._plans.lapse(made.id, why, now)
                raise lapsed(made.id, why)
        refuse(*prospect.names, judged.verdict.refusals, judged.verdict)
        return judged

    def sweep(self, now: float) -> None:
        """Let lapse what does not hold any more."""
        self._plans.sweep(now)


def _holds(policy: Policy, workload: WorkloadRecord) -> bool:
    return policy.holds(workload.name, workload.project, workload.policies)


def _basis(prospect: Prospect, judged: Judgement) -> dict[str, Any]:
    """What makes a plan lapse when it changes; see `porter.db.plans.drift`."""
    workload = prospect.workload
    return {
        "workload": workload.id,
        "generation": workload.generation,
        "host": prospect.source.id,
        "target": "" if prospect.target is None else prospect.target.id,
        "policies": judged.policies,
    }
