"""Moments of a handover, seen from outside: in the agents' own journals."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing

from porter.lab.fleet import Fleet

SLICE = 0.001
"""Seconds that a target's agent runs at a time: too short to take over and to tell of it."""


def handover_state(fleet: Fleet, host: str, workload: str) -> str:
    """The newest state in the host's own journal; empty if it has none of this workload."""
    path = fleet.lab.host_directory(host) / "porter" / "agent" / "journal.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as journal:
        rows = journal.execute(
            "SELECT state FROM handovers WHERE workload = ? ORDER BY updated DESC LIMIT 1",
            (workload,),
        ).fetchall()
    return str(rows[0][0]) if rows else ""


def stop_between_commit_and_answer(
    fleet: Fleet, workload: str, source: str, target: str, seconds: float = 60
) -> None:
    """Stop the target's agent when the source has handed over and has not heard that it runs.

    From the freeze on that agent is let run for a moment at a time, and is given no more once it
    has accepted than the source needs to hear of it.
    """
    deadline = time.monotonic() + seconds
    while handover_state(fleet, source, workload) != "frozen":
        assert time.monotonic() < deadline, "it was never frozen"
    agent = fleet.lab.agent_pid(target)
    while True:
        os.kill(agent, signal.SIGSTOP)
        if handover_state(fleet, target, workload) == "accepted":
            time.sleep(0.05)  # the source may have heard of it, and is writing
        if handover_state(fleet, source, workload) != "frozen":
            break
        assert time.monotonic() < deadline, "it was never accepted"
        os.kill(agent, signal.SIGCONT)
        time.sleep(SLICE)
    assert handover_state(fleet, source, workload) == "handed_over"
