"""Change windows, clock changes included."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.domain.errors import Invalid
from porter.domain.windows import Window, checked, is_open, next_open

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600


def at(text: str, zone: ZoneInfo | None = None, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC, fold=fold).timestamp()


def window(cron: str, hours: float = 1, zone: str = "Europe/Berlin") -> Window:
    return checked(Window(cron, zone, int(hours * HOUR)))


def test_opens_and_closes_by_the_second() -> None:
    saturdays = [window("0 2 * * sat", 4)]
    opens, ends = at("2026-01-03T02:00", BERLIN), at("2026-01-03T06:00", BERLIN)
    assert not is_open(saturdays, opens - 0.001)
    assert is_open(saturdays, opens)
    assert is_open(saturdays, ends - 0.001)
    assert not is_open(saturdays, ends)
    assert next_open([saturdays], ends) == at("2026-01-10T02:00", BERLIN)


def test_clocks_put_forward() -> None:
    """02:30 is left out: it opens when the clock has jumped to 03:00, for its whole length."""
    nightly = [window("30 2 * * *")]
    jump = at("2026-03-29T01:00")
    assert next_open([nightly], at("2026-03-28T12:00")) == jump
    assert is_open(nightly, jump + HOUR - 1)
    assert not is_open(nightly, jump + HOUR)
    assert next_open([nightly], jump + HOUR) == at("2026-03-30T02:30", BERLIN)


def test_clocks_put_back() -> None:
    """02:30 comes twice: it opens at the first coming only."""
    nightly = [window("30 2 * * *", 0.5)]
    first = at("2026-10-25T02:30", BERLIN)
    assert is_open(nightly, first)
    again = at("2026-10-25T02:30", BERLIN, fold=1)
    assert again == first + HOUR
    assert not is_open(nightly, again)
    assert next_open([nightly], first + HOUR / 2) == at("2026-10-26T02:30", BERLIN)


def test_lengths_are_real_time_across_a_change() -> None:
    long = [window("0 1 * * *", 3)]
    opens = at("2026-03-29T01:00", BERLIN)
    assert is_open(long, opens + 3 * HOUR - 1)
    assert not is_open(long, opens + 3 * HOUR)


def test_several_policies_must_be_open_at_once() -> None:
    nights = [window("0 22 * * *", 8, "UTC")]
    saturdays = [window("0 0 * * sat", 24, "UTC")]
    assert next_open([nights, saturdays], at("2026-01-01T12:00")) == at("2026-01-03T00:00")
    never = [window("0 12 * * *", 1, "UTC")], [window("0 14 * * *", 1, "UTC")]
    assert next_open(never, at("2026-01-01T12:00")) is None
    assert next_open([], 5.0) == 5.0


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("0 2 * *", "UTC"),
        ("* * * * * *", "UTC"),
        ("61 2 * * *", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("nonsense x y z a", "UTC"),
        ("0 2 * * *", "Europe/Nowhere"),
        ("0 2 * * *", "../etc/passwd"),
        ("0 2 * * *", "Europe"),
        ("0 2 * * *", ""),
    ],
)
def test_windows_that_cannot_be(cron: str, zone: str) -> None:
    with pytest.raises(Invalid):
        checked(Window(cron, zone, HOUR))


CRONS = st.sampled_from(
    ["30 2 * * *", "0 * * * *", "*/7 1-3 * * *", "15 1,2,3 * * sun", "0 0 1 * *", "59 23 * * fri"]
)
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
AROUND = st.one_of(
    *(
        st.floats(at(day) - 2 * 86400, at(day) + 2 * 86400)
        for day in ("2026-03-29T00:00", "2026-10-25T00:00", "2026-03-08T00:00", "2026-04-05T00:00")
    )
)


@settings(deadline=None)
@given(CRONS, ZONES, st.integers(60, 3 * 86400), AROUND)
def test_next_opening_is_the_first_moment_that_is_open(
    cron: str, zone: str, seconds: int, now: float
) -> None:
    windows = [Window(cron, zone, seconds)]
    opens = next_open([windows], now)
    assert opens is not None
    assert opens >= now
    assert is_open(windows, opens)
    if opens > now:
        assert not is_open(windows, now)
        # Between neighbouring floats the middle is one of the two.
        assert not is_open(windows, (now + opens) / 2) or (now + opens) / 2 == opens
        assert not is_open(windows, opens - 0.001)
        assert is_open(windows, opens + seconds - 0.001)


@given(CRONS, ZONES, AROUND)
@settings(deadline=None)
def test_no_opening_is_passed_by(cron: str, zone: str, now: float) -> None:
    """Wherever one begins to look, the openings are those that are found from days before."""
    windows = [Window(cron, zone, 60)]
    opens = next_open([windows], now)
    at: float | None = now - 3 * 86400
    while at is not None and at < now and not (is_open(windows, now) and now - at < 60):
        at = next_open([windows], at + 60)
    assert opens is not None
    assert (now if is_open(windows, now) else at) == opens
