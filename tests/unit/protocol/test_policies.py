"""Reading policy documents."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.domain.errors import Invalid
from porter.domain.policy import Egress, Hourly, Money, Outcome, Policy
from porter.domain.rules import Budget, Limits, Placement, Saving
from porter.domain.windows import Window
from porter.protocol.policies import LIMIT, PARTS, demands, parse, schema

WHOLE = """
version: 1
name: payments
description: Card data stays in Europe.
project: pay
workloads: ["card-*", ledger]
approval:
  to: ["aws:"]
windows:
  - cron: 0 2 * * sat
    zone: Europe/Berlin
    length: 4h
residency:
  allow: [onprem, "aws:eu-"]
  forbid: ["aws:eu-south-1"]
egress:
  max_bytes: 20 GB
  max_cost: {amount: 1.50, currency: EUR}
  if_unknown: refuse
price:
  max_hourly: {amount: "0.5", currency: USD}
placement:
  spot: false
  near: ["db-*"]
  apart: ["shop-*"]
limits:
  max_downtime: 1.5s
  max_cost: {amount: 5, currency: EUR}
saving:
  min: {amount: 10, currency: EUR}
  payback: 3d
  downtime: {amount: 1, currency: EUR}
budget:
  cool_down: 6h
  per_hour: 2
  per_day: 6
"""


def test_a_whole_document() -> None:
    assert parse(WHOLE) == Policy(
        "payments",
        "pay",
        ("card-*", "ledger"),
        ("aws:",),
        (Window("0 2 * * sat", "Europe/Berlin", 14400),),
        ("onprem", "aws:eu-"),
        ("aws:eu-south-1",),
        Egress(20 * 10**9, Money(Decimal("1.5"), "EUR"), Outcome.REFUSED),
        Hourly(Money(Decimal("0.5"), "USD"), Outcome.APPROVAL),
        Placement(False, ("db-*",), ("shop-*",)),
        Limits(1.5, Money(Decimal(5), "EUR")),
        Saving(Money(Decimal(10), "EUR"), 3 * 86400.0, Money(Decimal(1), "EUR")),
        Budget(21600.0, 2, 6),
    )
    assert demands(parse(WHOLE)) == list(PARTS)


def test_only_by_label() -> None:
    only = parse(HEAD + "workloads: []\nbudget: {per_day: 0}\n")
    assert (only.workloads, only.budget) == ((), Budget(None, None, 0))
    assert demands(only) == ["budget"]


HEAD = "version: 1\nname: x\nproject: p\n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "dictionary"),
        ("- a", "dictionary"),
        (HEAD, "demands nothing"),
        (HEAD + "approval:\n", "approval is empty"),
        (HEAD + "approval: {to:}\n", "to is empty"),
        (HEAD + "approval: {to: []}\n", "approval.to"),
        (HEAD + "approval: true\n", "approval"),
        (HEAD + "aproval: {}\n", "aproval"),
        (HEAD + "approval: {}\napproval: {}\n", "twice"),
        (HEAD + "approval: &a {}\nprice: *a\n", "aliases"),
        (HEAD + "? [a]\n: 1\n", "one word"),
        (HEAD + "residency: {}\n", "allow or to forbid"),
        (HEAD + "egress: {if_unknown: refuse}\n", "max_bytes or max_cost"),
        (HEAD + "egress: {max_bytes: 20 elephants}\n", "20 GB"),
        (HEAD + "egress: {max_bytes: -1}\n", "egress.max_bytes"),
        (HEAD + "price: {max_hourly: {amount: .nan, currency: USD}}\n", "amount"),
        (HEAD + "price: {max_hourly: {amount: 1e99, currency: USD}}\n", "amount"),
        (HEAD + "price: {max_hourly: {amount: 1, currency: dollars}}\n", "currency"),
        (HEAD + "windows: []\n", "windows"),
        (HEAD + "windows: [{cron: 0 2 * *, zone: UTC, length: 1h}]\n", "five fields"),
        (HEAD + "windows: [{cron: 0 2 * * *, zone: UTC, length: 1 week}]\n", "90m"),
        (HEAD + "placement: {}\n", "placement: set one of spot, near, apart"),
        (HEAD + "placement: {spot: maybe}\n", "placement.spot"),
        (HEAD + "placement: {near: []}\n", "placement.near"),
        (HEAD + "limits: {max_downtime: 2}\n", "500ms, 2s"),
        (HEAD + "limits: {max_downtime: -2s}\n", "500ms, 2s"),
        (HEAD + "limits: {max_cost: 5}\n", "limits.max_cost"),
        (HEAD + "saving: {payback: 9999999d}\n", "saving.payback"),
        (HEAD + "budget: {per_hour: 1.5}\n", "budget.per_hour"),
        (HEAD + "budget: {per_day: -1}\n", "budget.per_day"),
        (HEAD + "budget: {cooldown: 6h}\n", "budget.cooldown"),
        (HEAD.replace("1", "2") + "approval: {}\n", "version"),
        (HEAD.replace("project: p", "project: P!") + "approval: {}\n", "project"),
        (HEAD.replace("project: p\n", "") + "approval: {}\n", "project"),
        ("[" * 400, "cannot read"),
        ("!!python/object/apply:os.system [ls]", "cannot read"),
        ("x" * (LIMIT + 1), "longer"),
    ],
)
def test_what_cannot_be_read(text: str, word: str) -> None:
    with pytest.raises(Invalid, match=r"cannot (read|use)") as refused:
        parse(text)
    assert word in str(refused.value)


@settings(deadline=None, max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*schema()["properties"], "to", "cron"]), inner)
        ),
        max_leaves=8,
    )
)
def test_whatever_is_written_is_read_or_refused(document: object) -> None:
    with suppress(Invalid):
        assert isinstance(parse(yaml.safe_dump(document)), Policy)


def test_the_schema_names_every_part() -> None:
    told = schema()
    assert set(told["required"]) == {"version", "name", "project"}
    assert told["additionalProperties"] is False
    assert told["properties"]["version"]["const"] == 1


def test_what_is_read_also_keeps_to_the_schema() -> None:
    """Editors check documents with it while they are written."""
    check = jsonschema.Draft202012Validator(schema())
    check.validate(yaml.safe_load(WHOLE))
    for wrong in ("limits: {max_downtime: 2}", "windows: [{cron: x, zone: y, length: 1}]"):
        assert not check.is_valid(yaml.safe_load(HEAD + wrong))
