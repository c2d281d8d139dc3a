"""What runs and proposals say, in words and pictures."""

from __future__ import annotations

from typing import Any

import pytest

from porter.web.pages import savings, words
from tests.unit.web.rich import SPOT, TRAFFIC, lines, stay, sums


@pytest.mark.parametrize(
    ("gap", "told"),
    [
        (0.0, "proven to be the best"),
        (0.004, "proven within 0.4 % of the best"),
        (0.12, "proven within 12.0 % of the best"),
        (1.0, "how good it is, is not proven"),
    ],
)
def test_how_good_an_answer_is(gap: float, told: str) -> None:
    assert savings.proven({"gap": gap, "method": "exact"}) == told
    assert savings.proven(None) == savings.method({}) == ""


def content(saving: str, moves: int) -> dict[str, Any]:
    found = [
        {"workload": f"w{n}", "from": "a", "to": f"b{n % 2}", "new": n == 1} for n in range(moves)
    ]
    return {
        "moves": found,
        "ended": ["a"] * (moves > 1),
        "sums": {"saving": saving, "currency": "USD"},
    }


def test_titles_and_routes() -> None:
    assert savings.title(content("1234.5", 3)) == "3 moves save 1,234.50 USD"
    assert savings.title(content("-0.25", 1)) == "1 move costs 0.2500 USD more"
    assert savings.route(content("1", 1)) == "a → b0"
    assert savings.route(content("1", 3)) == "a → b0, b1 (new); a ends"
    assert savings.who(content("1", 1)) == "Move w0"
    assert savings.who(content("1", 3)) == "Move w0, w1 and w2"
    assert savings.who(content("1", 6)) == "Move w0, w1, w2 and 3 more"


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    before, after = savings.bars(sums(lines(["shop", "mail"])))
    assert [(one.kind, one.x, one.width) for one in before.parts] == [("machines", 0.0, 100.0)]
    assert [one.kind for one in after.parts] == ["machines", "risk", "once"]
    assert sum(one.width for one in after.parts) == pytest.approx(26.46 / 138.24 * 100, abs=0.1)
    nothing = {"before": "0", "after": "0", "currency": "USD", "lines": []}
    assert [one.parts for one in savings.bars(nothing)] == [(), ()]


def test_prices_and_sums_keep_their_digits() -> None:
    assert savings.price(SPOT) == "0.0321 USD an hour, spot"
    assert savings.price(TRAFFIC) == "0.184 USD"
    assert savings.price({"source": "measured"}) == savings.price({**SPOT, "amount": None}) == ""
    assert words.exact("1234.500000", "EUR") == "1,234.50 EUR"
    assert words.exact("0.000001") == "0.000001"
    assert words.exact(None) == words.cost(None) == "–"
    assert words.cost("-0.5") == "-0.5000"
    assert (words.cost(-0.0), words.cost("-0.00001")) == ("0.00", "0.0000")
    assert [words.over(one) for one in (2592000, 3600, 5400)] == ["30 days", "1 hour", "90 minutes"]


def test_moves_stand_in_waves_with_their_progress() -> None:
    wishes = [{"workload": name} for name in "abc"]
    moves = [
        {"workload": name, "wave": wave, "migration": made, "state": "begun"}
        for name, wave, made in (("a", 0, "m1"), ("b", 0, None), ("c", 1, None))
    ]
    steps = [{"state": one} for one in ("done", "running", "pending")]
    at = {"m1": {"id": "m1", "steps": steps, "phase": "dump", "state": "running"}}
    first, second = savings.waves({"content": {"moves": wishes}, "moves": moves}, at)
    assert first.moves[0]["at"] == {"done": 1, "of": 3, "phase": "dump"}
    assert (first.moves[1]["at"], second.number, second.moves[0]["workload"]) == (None, 2, "c")


def test_what_stays_is_found_by_all_words() -> None:
    stays = {"b": stay("spot", "Not on spot"), "a": stay("spot", "full"), "c": stay("price", "x")}
    assert [name for name, _ in savings.staying(stays, "")] == ["a", "b", "c"]
    assert [name for name, _ in savings.staying(stays, "SPOT not")] == ["b"]
    assert savings.reasons(stays) == [("spot", 2), ("price", 1)]
