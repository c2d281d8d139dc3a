"""The host's first process keeps an agent running; here it supervises from an ordinary process."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.lab import init


def wait_for(what: str, test: Any, seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := test()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)
    return answer


def status(directory: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError):
        return dict(json.loads((directory / "agent.status").read_text()))
    return {"pid": 0, "restarts": 0, "key": ""}


def want(directory: Path, key: str, *argv: str) -> None:
    text = json.dumps({"argv": argv, "env": {"PATH": os.environ["PATH"]}, "key": key})
    (directory / "agent.json").write_text(text)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    code = "import sys; from pathlib import Path; from porter.lab import init\n"
    argv = [sys.executable, "-c", code + "init.serve(Path(sys.argv[1]))", str(tmp_path)]
    process = subprocess.Popen(argv)
    wait_for("the first status", (tmp_path / "agent.status").exists)
    yield process
    # Its agent first: without a namespace around them it would outlive the supervisor.
    (tmp_path / "agent.json").unlink(missing_ok=True)
    process.send_signal(signal.SIGHUP)
    wait_for("the agent's end", lambda: not status(tmp_path)["pid"])
    process.terminate()
    assert process.wait(5) == 0


def test_without_an_agent_there_is_nothing_to_do(
    tmp_path: Path, supervisor: subprocess.Popen[bytes]
) -> None:
    assert status(tmp_path) == {"pid": 0, "restarts": 0, "key": ""}


def test_an_agent_is_started_restarted_changed_and_stopped(
    tmp_path: Path, supervisor: subprocess.Popen[bytes]
) -> None:
    want(tmp_path, "one", "sleep", "1000")
    supervisor.send_signal(signal.SIGHUP)
    first = wait_for("the start", lambda: status(tmp_path)["pid"])
    assert os.getsid(first) == first
    os.kill(first, signal.SIGKILL)
    second = wait_for(
        "the restart", lambda: status(tmp_path)["restarts"] and status(tmp_path)["pid"]
    )
    assert second != first

    want(tmp_path, "two", "sh", "-c", "echo hello; exec sleep 1000")
    supervisor.send_signal(signal.SIGHUP)
    wait_for("the change", lambda: status(tmp_path)["key"] == "two")
    wait_for("its output", lambda: (tmp_path / "agent.log").read_text() == "hello\n")
    assert not Path(f"/proc/{second}").exists()


def test_restarts_slow_down(tmp_path: Path, supervisor: subprocess.Popen[bytes]) -> None:
    want(tmp_path, "one", "sh", "-c", "date +%s.%N")
    supervisor.send_signal(signal.SIGHUP)
    wait_for("three restarts", lambda: status(tmp_path)["restarts"] >= 3)
    times = [float(line) for line in (tmp_path / "agent.log").read_text().split()]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[0] > 0.15
    assert gaps[1] > 0.35


def test_a_program_that_is_not_there_is_told_in_the_log(
    tmp_path: Path, supervisor: subprocess.Popen[bytes]
) -> None:
    want(tmp_path, "one", "no-such-program")
    supervisor.send_signal(signal.SIGHUP)
    log = tmp_path / "agent.log"
    wait_for("the message", lambda: log.exists() and "cannot start the agent" in log.read_text())


def test_an_agent_that_will_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "_STOP_GRACE_S", 0.05)
    want(tmp_path, "one", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    supervisor = init.Supervisor(tmp_path)
    supervisor.reload()
    supervisor.tick()
    pid = status(tmp_path)["pid"]
    log = tmp_path / "agent.log"
    wait_for("its start", lambda: log.exists() and log.read_text() == "ready\n")
    (tmp_path / "agent.json").unlink()
    supervisor.reload()
    assert 0 < supervisor.tick() <= 0.05
    time.sleep(0.06)
    supervisor.tick()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    supervisor.on_exit(pid)
    assert status(tmp_path)["pid"] == 0
    assert supervisor.tick() > 1000
