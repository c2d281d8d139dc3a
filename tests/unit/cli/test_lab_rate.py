"""How a link's rate is written."""

from __future__ import annotations

import pytest

from porter.cli.lab import parse_rate
from porter.domain.errors import Invalid


@pytest.mark.parametrize(
    ("text", "mbit"),
    [
        ("1gbit", 1000),
        ("2.5Gbit", 2500),
        ("100mbit", 100),
        ("100 Mbps", 100),
        ("64000kbit", 64),
        ("10g", 10000),
        ("none", 0),
        ("0", 0),
    ],
)
def test_rates(text: str, mbit: int) -> None:
    assert parse_rate(text) == mbit


@pytest.mark.parametrize("text", ["", "fast", "1", "-1gbit", "1kbit", "0mbit", "1gbyte"])
def test_what_is_not_a_rate_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="cannot limit the links"):
        parse_rate(text)
