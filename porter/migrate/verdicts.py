"""What policies said of a move, as errors and as documents."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from porter.domain.errors import ApprovalRequired, PolicyRefused
from porter.domain.policy import Finding, Verdict
from porter.migrate.receipt import iso


def refuse(workload: str, to: str, refusals: Sequence[Finding], verdict: Verdict) -> None:
    """Raise PolicyRefused if anything refuses the move."""
    if not refusals:
        return
    first = refusals[0]
    error = PolicyRefused(
        f"cannot move {workload} to {to}: policy {first.policy}: {first.why}",
        first.remedy,
    )
    opens = None if verdict.opens_at is None else iso(verdict.opens_at)
    error.members = {"policy": first.policy, "rule": first.rule, "opens_at": opens}
    raise error


def demand_no_more(
    workload: str, to: str, demands: Sequence[Finding], met: Collection[tuple[str, str]]
) -> None:
    """Raise ApprovalRequired for a demand that is none of those that were met."""
    for one in demands:
        if (one.policy, one.rule) not in met:
            raise ApprovalRequired(
                f"cannot move {workload} to {to}: policy {one.policy} asks for more: {one.why}",
                one.remedy,
            )


def verdict_dict(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": str(verdict.outcome),
        "findings": [{**asdict(one), "outcome": str(one.outcome)} for one in verdict.findings],
        "opens_at": None if verdict.opens_at is None else iso(verdict.opens_at),
    }
