"""A host is lost right after the commit: the move is held, and a person decides.

The target's agent is stopped so that the source commits and gets no answer; then the host loses
its power. Its disk still says that it accepted.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from porter.lab.fleet import Fleet, wait_until
from tests.e2e.conftest import HOSTS, network_is_unlocked, only_on
from tests.e2e.test_kills import begin
from tests.moments import handover_state, stop_between_commit_and_answer

pytestmark = pytest.mark.e2e


def state_of(fleet: Fleet, migration: str) -> str:
    found: dict[str, Any] = fleet.json("migration", "show", migration)
    return str(found["state"])


def test_the_target_is_lost_and_a_person_decides(fleet: Fleet, name: str, client: Any) -> None:
    asking = begin(fleet, name, client)
    try:
        stop_between_commit_and_answer(fleet, name, "onprem", "cloud")
        fleet.lab.kill("cloud")
        migration = next(
            row["id"] for row in fleet.json("migration", "ls") if row["workload"] == name
        )
        wait_until("the move to be held", lambda: state_of(fleet, migration) == "held", 60)
        assert handover_state(fleet, "onprem", name) == "handed_over"

        words = ("migration", "resolve", migration, "--run-on", "source", "--reason", "it burnt")
        unproven = fleet.try_porter(*words)
        assert unproven.returncode == 2
        assert "nobody knows that cloud does not run it" in unproven.stderr
        decided = fleet.try_porter(*words, "--i-powered-it-off")
        assert decided.returncode == 0, decided.stderr
        assert "What cloud did since, if it ran, is lost" in decided.stderr
    finally:
        fleet.lab.start("cloud")

    receipt: dict[str, Any] = fleet.json("migration", "show", migration)
    assert receipt["state"] == "rolled_back"
    assert "decided that it runs on onprem: it burnt" in receipt["reason"]
    # The host is back: it refuses, and removes its copy.
    wait_until("cloud to refuse", lambda: handover_state(fleet, "cloud", name) == "refused", 60)

    def no_copy_there() -> bool:
        return name not in fleet.podman("cloud", "ps", "-a", "--format", "{{.Names}}").split()

    wait_until("cloud to remove its copy", no_copy_there, 60)
    only_on(fleet, name, "onprem")
    assert fleet.running(name, HOSTS) == ["onprem"]
    time.sleep(1)
    report = asking.report()
    assert not report["last"]["broken"]
    assert report["first"]["secret"] == report["last"]["secret"]
    network_is_unlocked(fleet, "onprem", name)
