"""Where a workload has been."""

from __future__ import annotations

from porter.web.pages.journey import Stay, active, stays


def move(name: str, here: str, there: str, state: str = "succeeded") -> dict[str, str]:
    return {"id": name, "from": here, "to": there, "state": state, "finished_at": f"t-{name}"}


def test_each_move_ends_one_stay_and_begins_the_next() -> None:
    history = [move("m3", "b", "c"), move("m2", "b", "x", "rolled_back"), move("m1", "a", "b")]
    assert stays(history, "c") == [
        Stay("c", "t-m3", None, "m3"),
        Stay("b", "t-m1", "t-m3", "m1"),
        Stay("a", None, "t-m1", None),
    ]


def test_one_that_never_moved_is_where_it_is() -> None:
    assert stays([], "a") == [Stay("a", None, None, None)]
    assert stays([], None) == []


def test_one_that_was_made_anew_elsewhere_is_shown_there() -> None:
    found = stays([move("m1", "a", "b")], "z")
    assert [stay.host for stay in found] == ["z", "b", "a"]
    assert found[0].arrived_by is None


def test_the_active_one_is_found() -> None:
    assert active([move("m1", "a", "b")]) is None
    held = move("m2", "a", "b", "held")
    assert active([held, move("m1", "a", "b")]) is held
