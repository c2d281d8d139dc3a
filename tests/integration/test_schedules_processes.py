"""Schedules with real processes: three workers, a beat that dies, and each time comes once."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from porter.protocol.joining import HostNotice
from tests.integration.services import program, wait_until
from tests.integration.test_control_plane import UP, Site

pytestmark = pytest.mark.integration
PORTER = [sys.executable, "-m", "porter.cli.main"]


def test_each_time_comes_once(tmp_path: Path) -> None:
    site = Site(tmp_path / "state", None, None)
    with ExitStack() as running:
        running.enter_context(program([*UP, "up"], tmp_path / "up.log", site.env))
        site.connect()
        running.callback(site.close)
        for number in range(2):
            log = tmp_path / f"worker-{number}.log"
            running.enter_context(program([*PORTER, "worker"], log, site.env))
        put(site, "notices", cron="0 0 1 1 *", interruption=True)
        site.agents[0].sim.notices = (HostNotice("terminate", ""),)
        wait_until("the notice's run", lambda: ended(site, "notices"), 30)
        [run] = ended(site, "notices")
        assert run["trigger"] == "interruption"
        # The machine is to be taken away, so its workload is to leave it.
        [made] = site.get(f"/v1/rebalances/{run['id']}")["proposals"]
        assert [move["workload"] for move in made["moves"]] == ["shop"]
        assert made["content"]["urgent"] == ["onprem"]
        put(site, "minutely", cron="* * * * *")
        site.kill("beat")
        wait_until("two minutes' runs", lambda: len(ended(site, "minutely")) == 2, 150)
        dues = [one["due_at"] for one in ended(site, "minutely")]
        assert len(set(dues)) == 2
        assert len(ended(site, "notices")) == 1


def put(site: Site, name: str, **body: Any) -> None:
    answer = site.api.put(f"/v1/schedules/{name}", json=body)
    assert answer.status_code == 200, answer.text


def ended(site: Site, schedule: str) -> list[dict[str, Any]]:
    """Runs of a schedule that have ended; none may be there twice, or have failed."""
    found: list[dict[str, Any]] = site.get(f"/v1/rebalances?schedule={schedule}") or []
    assert all(run["state"] != "failed" for run in found), found
    assert len({run["due_at"] for run in found}) == len(found), found
    return [run for run in found if run["state"] == "done"]
