"""What policies say of moves."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.domain.policy import (
    Egress,
    Facts,
    Hourly,
    Money,
    Outcome,
    Place,
    Policy,
    Told,
    covers,
    evaluate,
)
from porter.domain.windows import Window

ALLOWED, APPROVAL, REFUSED = Outcome
FREE = Told(Decimal(0), "", "free")
FACTS = Facts(
    "card-db",
    "pay",
    Place("onprem", "onprem"),
    Place("backup", "aws:eu-west-1"),
    10**9,
    "",
    Told(Decimal("0.09"), "USD", "list"),
    Told(Decimal("0.10"), "USD", "list"),
)
BASE = Policy("p", "pay", ("card-*",))


def says(policy: Policy, facts: Facts = FACTS, now: float = 0.0) -> Outcome:
    return evaluate([policy], facts, now).outcome


def test_for_whom_a_policy_holds() -> None:
    strict = replace(BASE, approval=("*",))
    assert says(strict) is APPROVAL
    assert says(replace(strict, project="*")) is APPROVAL
    assert says(replace(strict, project="other")) is ALLOWED
    assert says(replace(strict, workloads=("shop", "car"))) is ALLOWED
    assert evaluate([], FACTS, 0.0).outcome is ALLOWED


@pytest.mark.parametrize(
    ("pattern", "allowed", "forbidden"),
    [
        ("aws:eu-", True, True),
        ("aws:", True, True),
        ("aws:eu-west-1", True, True),
        ("aws:eu-west", False, False),
        ("aws:us-", False, False),
        ("backup", True, True),
        ("back*", True, True),
        ("back", False, False),
        ("*", True, True),
        # A pattern without a colon means a name; what is forbidden is held against both.
        ("aws*", False, True),
    ],
)
def test_sites(pattern: str, allowed: bool, forbidden: bool) -> None:
    assert covers([pattern], FACTS.target) is allowed
    assert says(replace(BASE, allow=(pattern,))) is (ALLOWED if allowed else REFUSED)
    assert says(replace(BASE, forbid=(pattern,))) is (REFUSED if forbidden else ALLOWED)


def test_a_name_does_not_make_a_region() -> None:
    """A site that is only called as if it were in Europe."""
    named = replace(FACTS, target=Place("aws:eu-west-9", "aws:us-east-1"))
    assert says(replace(BASE, allow=("aws:eu-",)), named) is REFUSED
    assert says(replace(BASE, forbid=("aws:us-",)), named) is REFUSED


def test_egress_and_its_unknowns() -> None:
    for unknown in Outcome:
        limits = Egress(10**9, Money(Decimal("0.09"), "USD"), unknown)
        policy = replace(BASE, egress=limits)
        assert says(policy) is ALLOWED
        assert says(policy, replace(FACTS, sized=10**9 + 1)) is REFUSED
        dearer = replace(FACTS, cost=Told(Decimal("0.091"), "USD", "list"))
        assert says(policy, dearer) is REFUSED
        for doubt in (
            replace(FACTS, unsized="its files"),
            replace(FACTS, cost=Told(None, "", "no tariff")),
            replace(FACTS, cost=Told(Decimal("0.01"), "EUR", "list")),
        ):
            verdict = evaluate([policy], doubt, 0.0)
            assert verdict.outcome is unknown
            assert all("unknown" in one.why for one in verdict.findings)
            assert verdict.findings
        at_home = replace(FACTS, target=FACTS.source, sized=10**12, unsized="all")
        assert says(policy, at_home) is ALLOWED


def test_prices() -> None:
    policy = replace(BASE, hourly=Hourly(Money(Decimal("0.10"), "USD"), REFUSED))
    assert says(policy) is ALLOWED
    assert says(policy, replace(FACTS, price=Told(Decimal("0.11"), "USD", "x"))) is REFUSED
    assert says(policy, replace(FACTS, price=Told(None, "", "nobody knows"))) is REFUSED
    assert says(policy, replace(FACTS, price=FREE)) is ALLOWED


def test_windows_say_when() -> None:
    noon = replace(BASE, windows=(Window("0 12 * * *", "UTC", 3600),))
    verdict = evaluate([noon], FACTS, 0.0)
    assert verdict.outcome is REFUSED
    assert verdict.only_waits
    assert verdict.opens_at == 12 * 3600
    assert "1970-01-01 12:00 UTC" in verdict.findings[0].remedy
    assert says(noon, now=12 * 3600) is ALLOWED
    elsewhere = replace(noon, forbid=("*",))
    verdict = evaluate([elsewhere], FACTS, 0.0)
    assert not verdict.only_waits
    assert verdict.opens_at is None


PATTERNS = st.lists(st.sampled_from(["*", "aws:eu-", "aws:us-", "backup", "gcp:"]), max_size=2).map(
    tuple
)
POLICIES = st.builds(
    Policy,
    name=st.sampled_from(["a", "b", "c"]),
    project=st.sampled_from(["pay", "*", "other"]),
    workloads=st.sampled_from([("*",), ("card-*",), ("web",)]),
    approval=PATTERNS,
    windows=st.sampled_from([(), (Window("0 12 * * *", "UTC", 3600),)]),
    allow=PATTERNS,
    forbid=PATTERNS,
    egress=st.none() | st.just(Egress(10**6, None, APPROVAL)),
    hourly=st.none() | st.just(Hourly(Money(Decimal("0.05"), "USD"), APPROVAL)),
)
RANK = {ALLOWED: 0, APPROVAL: 1, REFUSED: 2}


@settings(deadline=None)
@given(st.lists(POLICIES, max_size=4), POLICIES, st.floats(0, 10**6))
def test_one_policy_more_is_never_laxer(policies: list[Policy], more: Policy, now: float) -> None:
    before, after = (evaluate(some, FACTS, now) for some in (policies, [*policies, more]))
    assert RANK[after.outcome] >= RANK[before.outcome]
    assert {one.why for one in before.findings if one.rule != "windows"} <= {
        one.why for one in after.findings
    }
    if not more.holds(FACTS.workload, FACTS.project):
        assert after == before
    for finding in after.findings:
        assert finding.remedy
        assert finding.policy in {one.name for one in [*policies, more]}


@settings(deadline=None)
@given(st.lists(POLICIES, max_size=4), st.floats(0, 10**6))
def test_at_the_opening_nothing_but_the_windows_has_changed(
    policies: list[Policy], now: float
) -> None:
    verdict = evaluate(policies, FACTS, now)
    if verdict.opens_at is not None:
        later = evaluate(policies, FACTS, verdict.opens_at)
        assert later.outcome is not REFUSED
        assert later.demands == verdict.demands
