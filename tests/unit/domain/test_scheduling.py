"""What policies demand of moves that a schedule begins."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.domain.money import Money, Told
from porter.domain.policy import Facts, Outcome, Place, Policy, evaluate
from porter.domain.rules import SECONDS, Budget, Expected, Limits, Placement, Saving
from porter.domain.scheduling import Allowance, Rule, scheduling
from porter.domain.workload import policies_of

ALLOWED, _, REFUSED = Outcome
FREE = Told(Decimal(0), "", "free")


def eur(amount: int | str) -> Money:
    return Money(Decimal(amount), "EUR")


def usd(amount: int | str) -> Money:
    return Money(Decimal(amount), "USD")


LOOSE = Policy(
    "loose",
    "*",
    ("*",),
    placement=Placement(spot=True, near=("db-*",)),
    limits=Limits(10.0, eur(5)),
    saving=Saving(eur(1), 86400.0, eur("0.1")),
    budget=Budget(3600.0, 10, 100),
)
STRICT = Policy(
    "strict",
    "pay",
    ("card-*",),
    placement=Placement(spot=False, near=("cache",), apart=("card-*",)),
    limits=Limits(2.0, eur(3)),
    saving=Saving(eur(10), 3600.0, eur(1)),
    budget=Budget(21600.0, 2, 6),
)


def test_without_a_word_nothing_but_spot_is_ruled_out() -> None:
    found = scheduling([], "shop", "pay")
    assert found.spot == Rule(False, "")
    assert [(one.rule, one.value) for one in found.lines()] == [("placement.spot", "false")]
    assert found.per_hour is None
    assert scheduling([LOOSE], "shop", "pay").spot == Rule(True, "loose")


def test_the_strictest_word_wins_and_says_whose_it_is() -> None:
    found = scheduling([LOOSE, STRICT], "card-db", "pay")
    assert found.policies == ("loose", "strict")
    assert found.spot == Rule(False, "strict")
    assert found.near == (Rule("db-*", "loose"), Rule("cache", "strict"))
    assert found.apart == (Rule("card-*", "strict"),)
    assert found.max_downtime_s == Rule(2.0, "strict")
    assert found.max_cost == (Rule(eur(3), "strict"),)
    assert found.min_saving == (Rule(eur(10), "strict"),)
    assert found.payback_s == Rule(3600.0, "strict")
    assert found.downtime_per_minute == (Rule(eur(1), "strict"),)
    assert found.cool_down_s == Rule(21600.0, "strict")
    assert found.allowances == (Allowance("loose", 10, 100), Allowance("strict", 2, 6))
    assert (found.per_hour, found.per_day) == (Rule(2, "strict"), Rule(6, "strict"))
    assert [f"{one.rule} {one.value}" for one in found.lines()][3:6] == [
        "placement.apart card-*",
        "limits.max_downtime 2s",
        "limits.max_cost 3 EUR",
    ]


def test_currencies_are_never_compared() -> None:
    dollars = replace(LOOSE, name="us", limits=Limits(None, usd(1)), saving=Saving(usd(99)))
    found = scheduling([LOOSE, dollars], "shop", "pay")
    assert found.max_cost == (Rule(eur(5), "loose"), Rule(usd(1), "us"))
    assert found.min_saving == (Rule(eur(1), "loose"), Rule(usd(99), "us"))


def test_a_label_names_policies() -> None:
    named = replace(STRICT, workloads=())
    assert not named.holds("shop", "pay")
    assert named.holds("shop", "pay", ("strict",))
    assert not named.holds("shop", "other", ("strict",))
    assert replace(named, project="*").holds("shop", "other", ("strict",))
    assert scheduling([named], "shop", "pay", ["strict"]).missing == ()
    lost = scheduling([named], "shop", "other", ["strict", "strikt"])
    assert (lost.policies, lost.missing) == ((), ("strict", "strikt"))
    assert policies_of(" a, b,,a ,B!") == ("a", "b", "B!")
    assert policies_of("") == ()


def span(low: float, likely: float, high: float, unit: str = SECONDS) -> Expected:
    return Expected(*(Decimal(str(one)) for one in (low, likely, high)), unit)


FACTS = Facts(
    "card-db",
    "pay",
    Place("a", "a"),
    Place("b", "b"),
    1,
    "",
    FREE,
    FREE,
    downtime=span(1, 1.5, 1.9),
    once=span(1, 2, 2.5, "EUR"),
)


@pytest.mark.parametrize(
    ("change", "asked", "scheduled", "word"),
    [
        ({}, ALLOWED, ALLOWED, ""),
        ({"downtime": span(1, 2.5, 9)}, REFUSED, REFUSED, "likely 2.50 s, more than 2.00 s"),
        ({"downtime": span(1, 1.5, 9)}, ALLOWED, REFUSED, "but may be 9.00 s"),
        ({"downtime": Expected(None, None, None, "", "no host tells")}, ALLOWED, REFUSED, "tells"),
        ({"once": span(1, 4, 5, "EUR")}, REFUSED, REFUSED, "likely 4 EUR, more than 3 EUR"),
        ({"once": span(1, 1, 1, "USD")}, ALLOWED, REFUSED, "told in USD, not in EUR"),
        ({"once": span(0, 0, 0, "")}, ALLOWED, ALLOWED, ""),
        ({"named": ("gone",)}, ALLOWED, REFUSED, "names the policy gone"),
        ({"named": ("strict",)}, ALLOWED, ALLOWED, ""),
    ],
)
def test_limits_and_what_is_not_known(
    change: dict[str, object], asked: Outcome, scheduled: Outcome, word: str
) -> None:
    """What is sure binds everybody; what is not is told to people and stops schedules."""
    told = replace(FACTS, **change)  # type: ignore[arg-type]
    for facts, outcome in ((told, asked), (replace(told, scheduled=True), scheduled)):
        verdict = evaluate([STRICT], facts, 0.0)
        assert verdict.outcome is outcome
        assert word in " ".join(one.why for one in verdict.findings)
        assert bool(verdict.findings) is bool(word)
    assert {one.rule for one in verdict.findings} <= {
        "limits.max_downtime",
        "limits.max_cost",
        "label",
    }


amounts = st.none() | st.builds(Money, st.decimals(0, 99, places=2), st.sampled_from("EU"))
numbers = st.none() | st.integers(0, 9)
policies = st.builds(
    Policy,
    st.sampled_from("abcdef"),
    st.just("pay"),
    st.just(("*",)),
    placement=st.none() | st.builds(Placement, st.none() | st.booleans()),
    limits=st.none() | st.builds(Limits, st.none() | st.floats(0, 9), amounts),
    saving=st.none() | st.builds(Saving, amounts, st.none() | st.floats(0, 9), amounts),
    budget=st.none() | st.builds(Budget, st.none() | st.floats(0, 9), numbers, numbers),
)


@given(st.lists(policies, max_size=4), policies)
def test_another_policy_never_loosens_what_limits(kept: list[Policy], more: Policy) -> None:
    def limits(found: list[Policy]) -> list[float]:
        rules = scheduling(found, "w", "pay")
        told = [rules.max_downtime_s, rules.payback_s, rules.per_hour, rules.per_day]
        least = [float("inf") if one is None else float(one.value) for one in told]
        costs = {one.value.currency: float(one.value.amount) for one in rules.max_cost}
        savings = {one.value.currency: -float(one.value.amount) for one in rules.min_saving}
        rest = -rules.cool_down_s.value if rules.cool_down_s else 0.0
        every = [costs.get(c, float("inf")) for c in "EU"] + [savings.get(c, 0.0) for c in "EU"]
        return [*least, *every, rest]

    for before, after in zip(limits(kept), limits([*kept, more]), strict=True):
        assert after <= before
