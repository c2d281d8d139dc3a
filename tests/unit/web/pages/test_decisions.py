"""The audit trail, verified by its page."""

from __future__ import annotations

import json
from dataclasses import asdict

from porter.domain.audit import Anchor, Entry, Fault, follow
from porter.web.pages.decisions import _utc, _verify


def trail(count: int) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(count):
        new = Entry(float(number), "u1", "user", "::1", "POST /v1/tokens", "t1", "", "201", "r")
        head = Anchor(entries[-1].seq, entries[-1].hash) if entries else None
        entries.append(follow(head, new))
    return entries


def lines(entries: list[Entry]) -> str:
    return "".join(json.dumps(asdict(one)) + "\n" for one in entries)


def test_a_whole_trail_is_whole() -> None:
    entries = trail(3)
    findings, count, head = _verify(lines(entries))
    assert (findings, count, head) == ([], 3, Anchor(3, entries[-1].hash))


def test_one_changed_byte_and_one_missing_entry_are_told() -> None:
    text = lines(trail(3))
    changed, _, _ = _verify(text.replace('"201"', '"200"', 1))
    assert [(one.seq, one.fault) for one in changed] == [(1, Fault.CHANGED)]
    first, _, third = text.splitlines()
    missing, _, _ = _verify(f"{first}\n{third}\n")
    assert (2, Fault.MISSING) in [(one.seq, one.fault) for one in missing]


def test_a_browsers_time_is_taken_as_utc() -> None:
    assert _utc("2026-11-24T03:15") == "2026-11-24T03:15Z"
    assert _utc("2026-11-24T03:15:00+01:00") == "2026-11-24T03:15:00+01:00"
    assert _utc("") == ""
