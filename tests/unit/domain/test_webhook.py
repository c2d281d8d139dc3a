"""What follows from an attempt, and which events a webhook takes."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from itertools import pairwise

import pytest

from porter.domain.identity import EVERYWHERE, FLEET
from porter.domain.webhook import (
    FIRST,
    GROWTH,
    JITTER,
    LEAST,
    LONGEST,
    PATIENCE,
    PAUSES,
    TEST,
    TRIES,
    DeliveryState,
    Health,
    Outcome,
    judge,
    kinds,
    message_id,
    retry_after,
    takes,
    wait,
)

NOW = 1_700_000_000.0
WELL = Health()
BROKEN = Outcome(500, "answered 500")


def test_waits_grow_from_seconds_to_a_day() -> None:
    waits = [wait(tries, 0.5) for tries in range(1, TRIES)]
    assert waits[0] == FIRST
    for short, long in pairwise(waits):
        assert long == pytest.approx(min(short * GROWTH, LONGEST))
    assert 20 * 3600 < waits[-1] <= LONGEST
    assert wait(10**6, 0.5) == LONGEST


@pytest.mark.parametrize("tries", [1, 5, TRIES])
def test_waits_are_spread(tries: int) -> None:
    middle = wait(tries, 0.5)
    assert wait(tries, 0.0) == pytest.approx(middle * (1 - JITTER))
    assert wait(tries, 1.0) == pytest.approx(middle * (1 + JITTER))


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 5.0), (1.0, 5.0), (60.0, 60.0), (1e9, LONGEST * (1 + JITTER))]
)
def test_what_the_receiver_asks_for_counts_within_bounds(
    asked: float | None, seconds: float
) -> None:
    assert wait(1, 0.5, asked) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("", None),
        ("٣", None),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), None),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_2xx_ends_it(status: int) -> None:
    verdict = judge(Outcome(status), 3, Health(7, NOW - 100), NOW, 0.5)
    assert verdict.state is DeliveryState.DELIVERED
    assert verdict.health == WELL
    assert verdict.next_at is verdict.paused_until is None


@pytest.mark.parametrize("status", [None, 301, 400, 401, 404, 408, 429, 500, 503])
def test_everything_else_is_tried_again(status: int | None) -> None:
    verdict = judge(Outcome(status, "no"), 1, WELL, NOW, 0.5)
    assert verdict.state is DeliveryState.PENDING
    assert verdict.next_at == NOW + FIRST
    assert verdict.health == Health(1, NOW)
    assert not verdict.disable
    # Only where the receiver itself has trouble do its other events wait, too.
    away = status in (None, 408, 429, 500, 503)
    assert verdict.paused_until == (NOW + FIRST if away else None)


def test_after_the_last_try_it_is_given_up() -> None:
    assert judge(BROKEN, TRIES - 1, WELL, NOW, 0.5).state is DeliveryState.PENDING
    verdict = judge(BROKEN, TRIES, WELL, NOW, 0.5)
    assert verdict.state is DeliveryState.FAILED
    assert verdict.next_at is None


def test_gone_disables() -> None:
    verdict = judge(Outcome(HTTPStatus.GONE, "answered 410 Gone"), 1, WELL, NOW, 0.5)
    assert verdict.state is DeliveryState.FAILED
    assert "410" in verdict.disable


@pytest.mark.parametrize(
    ("failures", "since", "disabled"),
    [
        (LEAST - 1, PATIENCE, True),
        (LEAST - 1, PATIENCE - 1, False),
        (LEAST - 2, PATIENCE * 2, False),
        (10_000, PATIENCE - 1, False),
    ],
)
def test_only_failures_for_days_disable(failures: int, since: float, disabled: bool) -> None:
    verdict = judge(BROKEN, 2, Health(failures, NOW - since), NOW, 0.5)
    assert bool(verdict.disable) is disabled


def test_a_receiver_that_is_down_is_left_alone_for_minutes_at_most() -> None:
    verdict = judge(BROKEN, 2, Health(50, NOW - 60), NOW, 0.5)
    assert verdict.paused_until == NOW + PAUSES


@pytest.mark.parametrize(
    ("project", "types", "event", "kind", "taken"),
    [
        ("shop", [], "shop", "migration.created", True),
        ("shop", [], "bank", "migration.created", False),
        ("shop", [], FLEET, "site", False),
        (EVERYWHERE, [], "bank", "migration.created", True),
        (EVERYWHERE, [], FLEET, "site", True),
        ("shop", ["migration."], "shop", "migration.created", True),
        ("shop", ["proposal.", "migration."], "shop", "migration.created", True),
        ("shop", ["proposal."], "shop", "migration.created", False),
        (EVERYWHERE, [], FLEET, TEST, False),
    ],
)
def test_takes(project: str, types: list[str], event: str, kind: str, taken: bool) -> None:
    assert takes(project, types, event, kind) is taken


def test_types_as_people_write_them() -> None:
    assert kinds([]) == []
    assert kinds(["io.porter.migration.", "proposal."]) == ["migration.", "proposal."]
    assert kinds(["migration.", "io.porter."]) == []
    assert kinds(["io."]) == []


def test_an_event_keeps_its_id() -> None:
    assert message_id("wh1", 7) == message_id("wh1", 7)
    assert len({message_id("wh1", 7), message_id("wh2", 7), message_id("wh1", 8)}) == 3
