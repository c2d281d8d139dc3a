"""The other domain modules: errors, migrations and receipts."""

from __future__ import annotations

import json

import pytest

from porter.domain import errors
from porter.domain.migration import (
    FINAL,
    Bytes,
    Connections,
    MigrationState,
    Phase,
    Receipt,
)


def test_an_error_is_one_sentence_with_its_remedy() -> None:
    error = errors.Unsupported("cannot move shop: a terminal is attached", "start it without -t")
    assert str(error) == "cannot move shop: a terminal is attached; start it without -t"
    assert str(errors.NotFound("cannot find shop")) == "cannot find shop"


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
def test_errors_cross_the_wire(code: str) -> None:
    back = errors.from_code(code, "cannot do it: reason", "do this")
    assert back.code == code
    assert type(back) is errors.BY_CODE[code]
    assert (back.message, back.remedy) == ("cannot do it: reason", "do this")


def test_an_unknown_error_code_is_permanent() -> None:
    assert type(errors.from_code("new-in-version-9", "cannot")) is errors.Permanent


def test_every_error_has_its_own_code() -> None:
    codes = [kind.code for kind in errors.BY_CODE.values()]
    assert len(set(codes)) == len(codes)
    assert issubclass(errors.Unsupported, errors.Permanent)


def test_a_held_migration_is_not_over() -> None:
    assert {state for state in MigrationState if state.final} == FINAL
    assert not MigrationState.HELD.final


def test_the_receipt_has_its_public_shape() -> None:
    receipt = Receipt(
        id="01h",
        workload="shop",
        source="onprem",
        target="cloud",
        mode="cold",
        state="succeeded",
        generation=2,
        started_at="2026-01-01T00:00:00+00:00",
        bytes=Bytes(memory=5),
        phases=(Phase("transfer", 1.5),),
        connections=Connections(kept=1),
    ).as_dict()
    assert (receipt["from"], receipt["to"]) == ("onprem", "cloud")
    assert not {"source", "target"} & set(receipt)
    over_the_wire = json.loads(json.dumps(receipt))
    assert over_the_wire["phases"] == [{"name": "transfer", "ms": 1.5}]
    assert over_the_wire["bytes"]["memory"] == 5
    assert over_the_wire["connections"] == {"kept": 1, "closed": 0}
