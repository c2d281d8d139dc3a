"""Values as pages show them."""

from __future__ import annotations

import time

import pytest

from porter.web.pages import words


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "just now"),
        (-4, "just now"),
        (42, "42 s ago"),
        (125, "2 min ago"),
        (7200, "2 h ago"),
        (-7200, "in 2 h"),
        (10 * 86400, "10 d ago"),
    ],
)
def test_relative_times(seconds: float, told: str) -> None:
    assert words.ago(seconds) == told


def test_a_time_has_its_exact_form_beside_the_relative_one() -> None:
    shown = words.when(time.time() - 90)
    assert shown.startswith('<time datetime="20')
    assert "+00:00" in shown
    assert shown.endswith("data-when>2 min ago</time>")
    assert words.when(None) == "–"


def test_what_others_wrote_is_escaped() -> None:
    assert "<b>" not in words.badge("<b>")
    assert "<b>" not in words.bar(1, 2, "<b>")


def test_bars_stay_within_their_trough() -> None:
    assert 'width="100.0"' in words.bar(5, 4, "")
    assert 'class="bar bad"' in words.bar(5, 4, "")
    assert 'width="0.0"' in words.bar(5, 0, "")
    assert "style=" not in words.bar(1, 2, "")


def test_money_has_the_digits_it_needs() -> None:
    assert words.money("0.0456", "USD") == "0.0456 USD"
    assert words.money("133.12", "EUR") == "133.12 EUR"
    assert words.money(None, "EUR") == "–"
