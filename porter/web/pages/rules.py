"""A policy's document in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from porter.domain.errors import Invalid
from porter.domain.identity import EVERYWHERE
from porter.domain.policy import Outcome, Policy
from porter.domain.rules import Budget, Placement, Saving
from porter.domain.units import bytes_, span
from porter.protocol.policies import parse

_UNKNOWN = {
    Outcome.ALLOWED: "it may go on",
    Outcome.APPROVAL: "another person must approve",
    Outcome.REFUSED: "it is refused",
}


def in_words(document: str) -> list[str]:
    """What a document demands, one sentence each. One that cannot be read says why."""
    try:
        return list(_sentences(parse(document)))
    except Invalid as error:
        return [error.message]


def _sentences(policy: Policy) -> Iterator[str]:
    where = "all projects" if policy.project == EVERYWHERE else f"the project {policy.project}"
    which = "all workloads" if "*" in policy.workloads else ", ".join(policy.workloads)
    which = which or "workloads whose label names it"
    yield f"It holds for {which} in {where}."
    if policy.approval:
        to = "anywhere" if "*" in policy.approval else "to " + ", ".join(policy.approval)
        yield f"Moves {to} need another person's approval."
    if policy.windows:
        yield f"Moves may begin only within {'; or '.join(map(str, policy.windows))}."
    if policy.allow:
        yield f"Only these sites are allowed: {', '.join(policy.allow)}."
    if policy.forbid:
        yield f"These sites are forbidden: {', '.join(policy.forbid)}."
    if policy.egress is not None:
        most = [
            *([bytes_(policy.egress.max_bytes)] if policy.egress.max_bytes is not None else ()),
            *([str(policy.egress.max_cost)] if policy.egress.max_cost is not None else ()),
        ]
        unknown = _UNKNOWN[policy.egress.if_unknown]
        yield f"At most {' and '.join(most)} may leave a site; where that is not known, {unknown}."
    if policy.hourly is not None:
        unknown = _UNKNOWN[policy.hourly.if_unknown]
        yield (
            f"The target may cost at most {policy.hourly.limit} an hour; "
            f"where that is not known, {unknown}."
        )
    yield from _schedule(policy)


def _schedule(policy: Policy) -> Iterator[str]:
    """What is about moves that a schedule begins."""
    if policy.placement is not None:
        yield from _placement(policy.placement)
    if policy.limits is not None:
        if policy.limits.max_downtime_s is not None:
            yield f"One move may pause it for {span(policy.limits.max_downtime_s)}, by forecast."
        if policy.limits.max_cost is not None:
            yield f"One move may cost {policy.limits.max_cost} once, by forecast."
    if policy.saving is not None:
        yield from _saving(policy.saving)
    if policy.budget is not None:
        yield from _budget(policy.budget)


def _placement(part: Placement) -> Iterator[str]:
    if part.spot is not None:
        yield f"A schedule may {'' if part.spot else 'not '}put it on spot machines."
    if part.near:
        yield f"A schedule keeps it at the site of {', '.join(part.near)}."
    if part.apart:
        yield f"A schedule keeps it off the hosts of others of {', '.join(part.apart)}."


def _saving(part: Saving) -> Iterator[str]:
    if part.min is not None:
        yield f"A schedule moves it only to save {part.min} or more."
    if part.payback_s is not None:
        yield f"What a scheduled move costs must be earned back within {span(part.payback_s)}."
    if part.downtime is not None:
        yield f"A minute of pause is worth {part.downtime}."


def _budget(part: Budget) -> Iterator[str]:
    if part.cool_down_s is not None:
        yield f"A schedule lets it rest for {span(part.cool_down_s)} between two moves."
    for count, time in ((part.per_hour, "an hour"), (part.per_day, "a day")):
        if count is not None:
            yield f"A schedule begins at most {count} moves of these workloads in {time}."
