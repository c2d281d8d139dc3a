"""Policies: what they demand of a move, and whether a move may be made. Pure.

`evaluate` is the whole of it: policies, what is known of a move, and the time give a verdict. Every
policy that holds for a workload counts, and the strictest word wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase

from porter.domain.identity import EVERYWHERE
from porter.domain.money import Money as Money
from porter.domain.money import Told as Told
from porter.domain.rules import UNTOLD, Budget, Expected, Limits, Placement, Saving
from porter.domain.units import bytes_
from porter.domain.windows import Window, is_open, next_open


class Outcome(StrEnum):
    ALLOWED = "allowed"
    APPROVAL = "needs_approval"
    """By another person than the one who asked."""
    REFUSED = "refused"


_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}


@dataclass(frozen=True)
class Place:
    """A site as policies see it."""

    name: str
    where: str
    """`KIND:REGION` as the site was added; its name where no more is known."""


@dataclass(frozen=True)
class Egress:
    """What may leave the source's site with one move."""

    max_bytes: int | None
    max_cost: Money | None
    if_unknown: Outcome


@dataclass(frozen=True)
class Hourly:
    """What the target may cost an hour."""

    limit: Money
    if_unknown: Outcome


@dataclass(frozen=True)
class Policy:
    name: str
    project: str
    """EVERYWHERE: all of them."""
    workloads: tuple[str, ...]
    """Patterns of names: `shop-*`; none: only workloads whose label names the policy."""
    approval: tuple[str, ...] = ()
    """Sites to which a move needs another person's approval."""
    windows: tuple[Window, ...] = ()
    allow: tuple[str, ...] = ()
    """Sites that alone are allowed; empty: all."""
    forbid: tuple[str, ...] = ()
    egress: Egress | None = None
    hourly: Hourly | None = None
    placement: Placement | None = None
    limits: Limits | None = None
    saving: Saving | None = None
    budget: Budget | None = None

    def holds(self, workload: str, project: str, named: Collection[str] = ()) -> bool:
        """`named`: the policies that the workload's label names."""
        if self.project not in (project, EVERYWHERE):
            return False
        return self.name in named or any(fnmatchcase(workload, one) for one in self.workloads)


@dataclass(frozen=True)
class Facts:
    """What is known of a move."""

    workload: str
    project: str
    source: Place
    target: Place
    sized: int
    """Bytes that would be sent at most, as far as sizes are known; nothing is taken off for
    compression."""
    unsized: str
    """What of its size is not known; empty if all is."""
    cost: Told
    """Of `sized` bytes that leave the source's site."""
    price: Told
    """Of the target, an hour, at most."""
    named: tuple[str, ...] = ()
    """Policies that the workload's label names."""
    downtime: Expected = UNTOLD
    """Seconds."""
    once: Expected = UNTOLD
    """What the move costs once."""
    scheduled: bool = False
    """Nobody asked for it: what is not known, or not sure, refuses it."""


@dataclass(frozen=True)
class Finding:
    """What one rule of one policy says."""

    policy: str
    rule: str
    """`approval`, `windows`, `residency`, `egress.max_bytes`, `egress.max_cost`, `price`,
    `limits.max_downtime`, `limits.max_cost`, `label`."""
    outcome: Outcome
    why: str
    remedy: str
    """What would change the answer."""


@dataclass(frozen=True)
class Verdict:
    outcome: Outcome
    findings: tuple[Finding, ...]
    """Those that bind, and those that could not be judged though they let pass."""
    opens_at: float | None = None
    """When the change windows are open next, where only they are in the way."""

    @property
    def demands(self) -> tuple[Finding, ...]:
        """What asks for approval."""
        return tuple(one for one in self.findings if one.outcome is Outcome.APPROVAL)

    @property
    def refusals(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.outcome is Outcome.REFUSED)

    @property
    def only_waits(self) -> bool:
        """Whether nothing but the time of day is against it."""
        return all(one.rule == WINDOWS for one in self.refusals)


WINDOWS = "windows"


def holding(
    policies: Sequence[Policy], workload: str, project: str, named: Collection[str] = ()
) -> list[Policy]:
    """Those that hold for a workload, by name."""
    found = [policy for policy in policies if policy.holds(workload, project, named)]
    return sorted(found, key=lambda policy: policy.name)


def missing(holding: Sequence[Policy], named: Sequence[str]) -> tuple[str, ...]:
    """Names in a workload's label that are none of the policies that hold for it: they do not
    exist, or belong to another project."""
    known = {policy.name for policy in holding}
    return tuple(name for name in named if name not in known)


def evaluate(policies: Sequence[Policy], facts: Facts, now: float) -> Verdict:
    """Whether a move may be made at a time, and what would change that."""
    mine = holding(policies, facts.workload, facts.project, facts.named)
    opens = next_open([policy.windows for policy in mine if policy.windows], now)
    findings = [one for policy in mine for one in _findings(policy, facts, now, opens)]
    findings += [_unheard(name, facts) for name in missing(mine, facts.named)]
    worst = max((one.outcome for one in findings), key=_RANK.__getitem__, default=Outcome.ALLOWED)
    verdict = Verdict(worst, tuple(findings))
    if verdict.refusals and verdict.only_waits:
        return Verdict(worst, tuple(findings), opens)
    return verdict


def _findings(policy: Policy, facts: Facts, now: float, opens: float | None) -> Iterator[Finding]:
    if covers(policy.approval, facts.target):
        yield Finding(
            policy.name,
            "approval",
            Outcome.APPROVAL,
            f"moves to {facts.target.name} need another person's approval",
            "have somebody with the permission approve decide on its plan",
        )
    yield from _residency(policy, facts)
    if facts.source.name != facts.target.name:
        yield from _egress(policy, facts)
    yield from _hourly(policy, facts)
    yield from _limits(policy, facts)
    if policy.windows and not is_open(policy.windows, now):
        then = "no window is known to open" if opens is None else f"wait until {moment(opens)}"
        shown = ", ".join(map(str, policy.windows))
        why = f"it is outside the change windows ({shown})"
        yield Finding(policy.name, WINDOWS, Outcome.REFUSED, why, then)


def covers(patterns: Sequence[str], place: Place, both: bool = False) -> bool:
    """Whether one of the patterns means this site.

    A pattern with a colon is held against KIND:REGION, any other against the name; `both`: any
    against either, for what is forbidden. One that ends in `:` or `-` is a prefix.
    """
    for pattern in patterns:
        whole = f"{pattern}*" if pattern.endswith((":", "-")) else pattern
        words = {place.where if ":" in pattern else place.name}
        if both:
            words = {place.where, place.name}
        if any(fnmatchcase(word, whole) for word in words):
            return True
    return False


def _residency(policy: Policy, facts: Facts) -> Iterator[Finding]:
    place = facts.target
    shown = place.name if place.where == place.name else f"{place.name} ({place.where})"
    if policy.allow and not covers(policy.allow, place):
        allowed = ", ".join(policy.allow)
        yield _residence(policy, f"{shown} is not among the allowed sites", f"allowed: {allowed}")
    if covers(policy.forbid, place, both=True):
        forbidden = ", ".join(policy.forbid)
        yield _residence(policy, f"{shown} is forbidden", f"forbidden: {forbidden}")


def _residence(policy: Policy, why: str, what: str) -> Finding:
    remedy = f"name another site; {what}"
    return Finding(policy.name, "residency", Outcome.REFUSED, why, remedy)


def _egress(policy: Policy, facts: Facts) -> Iterator[Finding]:
    limits = policy.egress
    if limits is None:
        return
    size = bytes_(facts.sized)
    if limits.max_bytes is not None:
        rule = "egress.max_bytes"
        most = bytes_(limits.max_bytes)
        if facts.sized > limits.max_bytes:
            yield Finding(
                policy.name,
                rule,
                Outcome.REFUSED,
                f"up to {size} may leave {facts.source.name}, more than {most}",
                "move it within its site, make it smaller, or raise the limit",
            )
        elif facts.unsized:
            yield _unsized(policy, rule, limits.if_unknown, facts, f"at most {most} may leave")
    if limits.max_cost is not None:
        yield from _cost(policy, limits, limits.max_cost, facts)


def _cost(policy: Policy, limits: Egress, most: Money, facts: Facts) -> Iterator[Finding]:
    rule, told = "egress.max_cost", facts.cost
    doubt = _incomparable(told, most)
    if doubt:
        why = f"what the traffic costs is unknown: {doubt}"
        yield _unknown(policy, rule, limits.if_unknown, why, f"at most {most} is allowed")
    elif told.amount is not None and told.amount > most.amount:
        yield Finding(
            policy.name,
            rule,
            Outcome.REFUSED,
            f"its traffic may cost {Money(told.amount, told.currency)}, more than {most}",
            "move it within its site, make it smaller, or raise the limit",
        )
    elif facts.unsized:
        yield _unsized(policy, rule, limits.if_unknown, facts, f"at most {most} is allowed")


def _hourly(policy: Policy, facts: Facts) -> Iterator[Finding]:
    if policy.hourly is None:
        return
    told, most = facts.price, policy.hourly.limit
    doubt = _incomparable(told, most)
    if doubt:
        why = f"what {facts.target.name} costs an hour is unknown: {doubt}"
        limit = f"at most {most} is allowed; set a price, or for a new machine a maximum"
        yield _unknown(policy, "price", policy.hourly.if_unknown, why, limit)
    elif told.amount is not None and told.amount > most.amount:
        yield Finding(
            policy.name,
            "price",
            Outcome.REFUSED,
            f"the target may cost {Money(told.amount, told.currency)} an hour, more than {most}",
            "name a cheaper host or site, or a lower maximum for a new machine",
        )


def _unheard(name: str, facts: Facts) -> Finding:
    """Fails closed where nobody watches: what the missing policy would demand is not known."""
    return Finding(
        name,
        "label",
        Outcome.REFUSED if facts.scheduled else Outcome.ALLOWED,
        f"the label of {facts.workload} names the policy {name}, which does not exist in the "
        f"project {facts.project} or for all",
        "add the policy, or mend the label porter.policy and make the container anew",
    )


def _limits(policy: Policy, facts: Facts) -> Iterator[Finding]:
    for rule, told in (policy.limits or Limits()).judged(facts.downtime, facts.once):
        sure = told.exceeded or facts.scheduled
        outcome = Outcome.REFUSED if sure else Outcome.ALLOWED
        yield Finding(policy.name, f"limits.{rule}", outcome, told.why, told.remedy)


def _incomparable(told: Told, most: Money) -> str:
    if told.amount is None:
        return told.source or "nobody could tell"
    if told.amount and told.currency != most.currency:
        return f"it is told in {told.currency or 'no currency'}, not in {most.currency}"
    return ""


def _unsized(policy: Policy, rule: str, outcome: Outcome, facts: Facts, limit: str) -> Finding:
    return _unknown(policy, rule, outcome, f"the size of {facts.unsized} is unknown", limit)


def _unknown(policy: Policy, rule: str, outcome: Outcome, why: str, limit: str) -> Finding:
    return Finding(policy.name, rule, outcome, why, limit)


def moment(at: float) -> str:
    """`2026-03-29 02:00 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
