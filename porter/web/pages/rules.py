"""A policy's document in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from porter.domain.errors import Invalid
from porter.domain.identity import EVERYWHERE
from porter.domain.policy import Outcome, Policy
from porter.domain.units import bytes_
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
