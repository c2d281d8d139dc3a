"""What dies is started again; what is told to end, ends, with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.cli.supervisor import is_running, read_pid, take_lock
from porter.domain.errors import Conflict
from porter.settings import Settings, load

PROGRAM = """
import sys
from porter.cli.supervisor import Supervisor
from porter.settings import load
child = [sys.executable, "-c", "import sys, time; print('began', flush=True); time.sleep({nap})"]
Supervisor(load(), command=child).run()
"""


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def exists(pid: int | None) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"PORTER_STATE": str(tmp_path)})


def supervise(settings: Settings, nap: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(nap=nap)],
        env={**os.environ, **settings.environment()},
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def running(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    with supervise(settings, 1000) as process:
        until(lambda: all(pids(settings)))
        yield process
        process.kill()


def pids(settings: Settings) -> list[int | None]:
    return [read_pid(settings.run / f"{name}.pid") for name in ("web", "worker", "beat")]


def test_a_dead_child_is_started_again(
    settings: Settings, running: subprocess.Popen[bytes]
) -> None:
    before = pids(settings)
    os.kill(before[1] or 0, signal.SIGKILL)
    until(lambda: pids(settings)[1] != before[1] and exists(pids(settings)[1]))
    assert pids(settings)[0] == before[0]
    until(lambda: "began" in (settings.log / "worker.log").read_text())


def test_only_one_supervisor(settings: Settings, running: subprocess.Popen[bytes]) -> None:
    assert is_running(settings)
    with pytest.raises(Conflict, match=f"pid {running.pid}"):
        take_lock(settings)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_all_end_together(
    settings: Settings, running: subprocess.Popen[bytes], number: signal.Signals
) -> None:
    children = pids(settings)
    running.send_signal(number)
    running.wait(20)
    until(lambda: not any(map(exists, children)))
    assert not is_running(settings)
    if number is not signal.SIGKILL:
        assert list(settings.run.glob("*.pid")) == []


def test_a_child_that_cannot_live_is_not_started_all_the_time(settings: Settings) -> None:
    with supervise(settings, 0) as process:
        until(lambda: (settings.log / "beat.log").exists())
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 2.5)
        process.kill()
    # 0.2, 0.4, 0.8, 1.6 s: a handful of starts, not hundreds.
    assert (settings.log / "beat.log").read_text().count("began") <= 6
