"""The trail of hashes tells whatever was done to it."""

from __future__ import annotations

import string
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.domain.audit import Anchor, Check, Entry, Fault, Finding, follow, parse_anchor
from porter.domain.errors import Invalid

FEW = settings(max_examples=40)
words = st.text(string.printable + "äß€😀", max_size=12)
entries = st.builds(
    Entry,
    at=st.floats(0, 4e9),
    actor=words,
    actor_kind=words,
    origin=words,
    action=words,
    target=words,
    project=words,
    outcome=words,
    request=words,
    details=st.dictionaries(words, words | st.booleans() | st.integers(), max_size=2),
)


def trail(of: list[Entry]) -> list[Entry]:
    head, made = None, list[Entry]()
    for entry in of:
        made.append(follow(head, entry))
        head = Anchor(made[-1].seq, made[-1].hash)
    return made


trails = st.lists(entries, min_size=1, max_size=8).map(trail)


def faults(of: list[Entry], *anchors: Anchor) -> set[Fault]:
    return {finding.fault for finding in Check(anchors).read(of)}


def anchor(entry: Entry) -> Anchor:
    return Anchor(entry.seq, entry.hash)


@FEW
@given(trails)
def test_a_whole_trail_is_found_whole(of: list[Entry]) -> None:
    check = Check([anchor(one) for one in of])
    assert list(check.read(of)) == []
    assert (check.count, check.head) == (len(of), anchor(of[-1]))


def other(value: Any, data: st.DataObject) -> Any:
    """The same with one byte changed."""
    if isinstance(value, str) and value:
        place = data.draw(st.integers(0, len(value) - 1))
        letter = chr((ord(value[place]) + 1) % 128)
        return value[:place] + letter + value[place + 1 :]
    if isinstance(value, dict):
        return value | {"more": 1}
    return value + (1 if isinstance(value, int | float) else "x")


@settings(max_examples=100)
@given(trails, st.data())
def test_one_changed_byte(of: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(of) - 1))
    name = data.draw(st.sampled_from([field.name for field in fields(Entry)]))
    changed = replace(of[place], **{name: other(getattr(of[place], name), data)})
    assert faults([*of[:place], changed, *of[place + 1 :]])


@FEW
@given(trails, st.data())
def test_one_deleted_entry(of: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(of) - 1))
    rest = [*of[:place], *of[place + 1 :]]
    assert faults(rest, anchor(of[-1])) <= {Fault.MISSING, Fault.CUT}
    assert faults(rest, anchor(of[-1]))
    if place < len(of) - 1:
        assert Fault.MISSING in faults(rest)


@FEW
@given(st.lists(entries, min_size=2, max_size=8).map(trail), st.data())
def test_two_entries_that_changed_places(of: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(of) - 2))
    one, two = of[place : place + 2]
    assert Fault.REORDERED in faults([*of[:place], two, one, *of[place + 2 :]])
    # Also where they took each other's numbers along.
    swapped = [replace(two, seq=one.seq), replace(one, seq=two.seq)]
    assert Fault.CHANGED in faults([*of[:place], *swapped, *of[place + 2 :]])


@FEW
@given(trails, st.data())
def test_an_end_that_was_cut_off(of: list[Entry], data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(of) - 1))
    assert faults(of[:length]) == set(), "nothing in it tells"
    assert faults(of[:length], anchor(of[-1])) == {Fault.CUT}


def test_a_front_that_was_cut_off_and_a_trail_written_anew() -> None:
    plain = Entry(1.0, "u1", "user", "::1", "POST /v1/x", "t", "", "200", "r")
    of = trail([plain, replace(plain, at=2.0), replace(plain, at=3.0)])
    assert next(iter(Check().read(of[1:]))) == Finding(1, Fault.MISSING, "entry 1 not here")
    forged = trail([replace(plain, actor="u2"), *of[1:]])
    assert faults(forged) == set()
    assert faults(forged, anchor(of[1])) == {Fault.REWRITTEN}


def test_anchors_as_text() -> None:
    told = Anchor(12, "ab" * 32)
    assert parse_anchor(str(told)) == told
    for wrong in ("", "12", "12:ab", f"-1:{'ab' * 32}", f"x:{'ab' * 32}"):
        with pytest.raises(Invalid):
            parse_anchor(wrong)
