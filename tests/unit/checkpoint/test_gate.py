"""The gate's script, run as CRIU would run it but without CRIU."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.checkpoint.gate import Gate, install
from porter.domain.errors import Conflict, Transient, Unsupported

Hook = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    return made


@pytest.fixture
def hook(tmp_path: Path, images: Path) -> Iterator[Hook]:
    """Starts the script with CRIU's environment; this process holds the directory as CRIU would."""
    script = tmp_path / "lib" / "criu-gate"
    install(tmp_path / "etc", script)
    held = os.open(images, os.O_RDONLY)
    started: list[subprocess.Popen[bytes]] = []

    def start(action: str = "post-restore", fd: int = held) -> subprocess.Popen[bytes]:
        environment = {
            "CRTOOLS_SCRIPT_ACTION": action,
            "CRTOOLS_IMAGE_DIR": f"/proc/{os.getpid()}/fd/{fd}",
        }
        started.append(subprocess.Popen([script], env=environment, start_new_session=True))
        return started[-1]

    yield start
    os.close(held)
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()


def test_restores_of_others_pass_untouched(images: Path, hook: Hook) -> None:
    assert hook().wait(5) == 0
    assert list(images.iterdir()) == []


def test_other_actions_pass(images: Path, hook: Hook) -> None:
    gate = Gate(images)
    gate.prepare()
    for action in ("pre-restore", "setup-namespaces", "post-resume", "post-dump"):
        assert hook(action).wait(5) == 0
    assert not gate.waiting(0)


def test_tasks_wait_until_the_gate_opens(images: Path, hook: Hook) -> None:
    gate = Gate(images)
    gate.prepare()
    assert not gate.waiting(0.01)
    process = hook()
    assert gate.waiting(5)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    assert gate.verdict() == ""
    started = time.monotonic()
    Gate(images).open()  # another agent than the one that prepared it
    assert process.wait(5) == 0
    assert time.monotonic() - started < 1, "the bell was not heard"
    gate.open()
    assert gate.verdict() == "open"
    assert not gate.waiting(0)


def test_refused_tasks_never_run(images: Path, hook: Hook) -> None:
    gate = Gate(images)
    gate.prepare()
    process = hook()
    assert gate.waiting(5)
    gate.refuse()
    assert process.wait(5) == 1
    gate.refuse()
    with pytest.raises(Conflict, match="refused"):
        gate.open()
    assert hook().wait(5) == 1, "a restore that comes late is refused as well"


def test_a_verdict_before_anyone_waits_is_remembered(images: Path, hook: Hook) -> None:
    gate = Gate(images)
    gate.prepare()
    gate.open()
    assert hook().wait(5) == 0
    with pytest.raises(Conflict, match="opened"):
        gate.refuse()


def test_of_two_verdicts_at_once_one_holds(images: Path, hook: Hook) -> None:
    gate = Gate(images)
    for _ in range(20):
        gate.prepare()
        held: list[str] = []

        def decide(verdict: Callable[[], None], name: str, held: list[str] = held) -> None:
            try:
                verdict()
                held.append(name)
            except Conflict:
                pass

        threads = [
            threading.Thread(target=decide, args=(gate.open, "open")),
            threading.Thread(target=decide, args=(gate.refuse, "refuse")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert held == [gate.verdict()]


def test_the_script_ends_when_criu_is_gone(images: Path, hook: Hook) -> None:
    gate = Gate(images)
    gate.prepare()
    criu = os.open(images, os.O_RDONLY)
    process = hook(fd=criu)
    assert gate.waiting(5)
    os.close(criu)
    assert not gate.waiting(0)
    assert process.wait(10) == 1


def test_a_note_of_a_dead_script_does_not_count(images: Path, hook: Hook) -> None:
    gate = Gate(images)
    gate.prepare()
    process = hook()
    assert gate.waiting(5)
    with pytest.raises(Conflict, match="stand at it"):
        gate.prepare()
    os.killpg(process.pid, 9)
    process.wait(5)
    assert not gate.waiting(0)
    gate.prepare()


def test_a_gate_must_be_prepared(images: Path) -> None:
    gate = Gate(images)
    assert not gate.waiting(0)
    with pytest.raises(Transient, match="never prepared"):
        gate.open()


def test_installing_twice_changes_nothing_and_keeps_the_rest(tmp_path: Path) -> None:
    etc, script = tmp_path / "etc", tmp_path / "criu-gate"
    etc.mkdir()
    config = etc / "runc.conf"
    config.write_text("# theirs\ntcp-established\nlog-file x")
    install(etc, script)
    first = (config.stat().st_mtime_ns, script.stat().st_mtime_ns)
    assert config.read_text() == f"# theirs\ntcp-established\nlog-file x\naction-script {script}\n"
    assert os.access(script, os.X_OK)
    install(etc, script)
    assert (config.stat().st_mtime_ns, script.stat().st_mtime_ns) == first
    script.write_text("old version")
    install(etc, script)
    assert "porter.gate" in script.read_text()
    assert sorted(p.name for p in etc.iterdir()) == ["runc.conf"]


def test_a_foreign_action_script_is_not_replaced(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "runc.conf").write_text("action-script  /opt/theirs\n")
    with pytest.raises(Unsupported, match=r"already has 'action-script  /opt/theirs'; remove"):
        install(etc, tmp_path / "criu-gate")
    assert (etc / "runc.conf").read_text() == "action-script  /opt/theirs\n"


def test_an_earlier_gate_of_porter_s_is_replaced(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    install(etc, tmp_path / "old" / "gate")
    install(etc, tmp_path / "lost" / "criu-gate")
    (tmp_path / "lost" / "criu-gate").unlink()
    install(etc, tmp_path / "new" / "criu-gate")
    assert (etc / "runc.conf").read_text() == f"action-script {tmp_path}/new/criu-gate\n"
