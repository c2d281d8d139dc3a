"""A real process through real CRIU: dumped, shipped while it is dumped, held at the gate, run."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.checkpoint import criu
from porter.checkpoint.gate import Gate, install
from porter.checkpoint.receiver import StateReceiver
from porter.checkpoint.sender import StateSender

pytestmark = pytest.mark.integration

_PR_SET_CHILD_SUBREAPER = 36
_PROGRAM = """
import hashlib, os, random, sys, time
memory = bytearray(random.Random(5).randbytes(40_000_000))
place = sys.argv[1]
while True:
    memory[:8] = (int.from_bytes(memory[:8], "big") + 1 & 0xFFFFFFFF).to_bytes(8, "big")
    with open(place + ".new", "w") as out:
        out.write(f"{int.from_bytes(memory[:8], 'big')} {hashlib.sha256(memory[8:]).hexdigest()}")
    os.rename(place + ".new", place)
    time.sleep(0.02)
"""


def eventually(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Moved:
    """A process that counts and hashes its memory, its images on "another host", and its gate."""

    def __init__(self, tmp: Path) -> None:
        self.place, self.source, self.images = tmp / "count", tmp / "source", tmp / "images"
        self.source.mkdir()
        self.images.mkdir()
        self.script = tmp / "criu-gate"
        install(tmp / "etc", self.script)
        self.gate = Gate(self.images)
        self.restores: list[subprocess.Popen[bytes]] = []
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", _PROGRAM, str(self.place)],
            cwd="/",
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = process.pid
        try:
            eventually(lambda: self.place.exists() and self.count() > 3)
            self.before = self.state()
            self._ship()
        finally:
            process.kill()
            process.wait()
        self.stood_at = self.count()

    def _ship(self) -> None:
        receiver = StateReceiver(self.images, ())
        frames = Direct(receiver)

        def dump() -> None:
            command = ["criu", "dump", "-t", str(self.pid), "-D", str(self.source)]
            subprocess.run([*command, "-o", "dump.log"], check=True, stdout=subprocess.DEVNULL)

        manifest = StateSender().send(dump, self.source, (), frames, lambda done: None)
        assert receiver.finish(manifest) == manifest.digest
        assert manifest.memory_bytes > 40_000_000
        assert criu.pages(self.images) == criu.pages(self.source) > 40_000_000
        assert criu.tcp_connections(self.images) == 0

    def state(self) -> list[str]:
        return self.place.read_text().split()

    def count(self) -> int:
        return int(self.state()[0])

    def runs(self, seconds: float = 0.3) -> bool:
        before = self.count()
        time.sleep(seconds)
        return self.count() != before

    def restore(self) -> subprocess.Popen[bytes]:
        command = ["criu", "restore", "-D", str(self.images), "-o", "restore.log"]
        process = subprocess.Popen(
            [*command, "--action-script", str(self.script)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.restores.append(process)
        return process

    def end(self) -> None:
        for process in self.restores:
            process.kill()
            process.wait()
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it ended with its restorer


class Direct:
    """Frames that arrive at once."""

    def __init__(self, receiver: StateReceiver) -> None:
        self.send = receiver.frame


@pytest.fixture(scope="module", autouse=True)
def subreaper() -> Iterator[None]:
    """Restored processes become ours when CRIU ends, so that we can reap them."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[Moved]:
    made = Moved(tmp_path)
    yield made
    made.end()


def test_it_stands_at_the_gate_and_then_goes_on_with_its_memory(moved: Moved) -> None:
    moved.gate.prepare()
    moved.restore()
    assert moved.gate.waiting(20), criu.reason(moved.images / "restore.log")
    assert len(criu.running(moved.images)) >= 2, "CRIU and the gate's script"
    assert not moved.runs()
    moved.gate.open()
    eventually(moved.runs)
    assert moved.count() > moved.stood_at
    assert moved.state()[1] == moved.before[1]
    criu.clean(moved.images)
    assert not moved.images.exists()


def test_a_refused_restore_ends_and_can_be_tried_again(moved: Moved) -> None:
    moved.gate.prepare()
    process = moved.restore()
    assert moved.gate.waiting(20)
    moved.gate.refuse()
    assert process.wait(20) != 0
    assert not moved.runs()
    assert "action script" in criu.reason(moved.images / "restore.log")
    eventually(lambda: gone(moved.pid))
    moved.gate.prepare()
    moved.restore()
    assert moved.gate.waiting(20)
    moved.gate.open()
    eventually(moved.runs)


def test_the_gate_outlives_the_agent_that_prepared_it(moved: Moved) -> None:
    moved.gate.prepare()
    moved.restore()
    look = "import sys; from pathlib import Path; from porter.checkpoint.gate import Gate; "
    look += "sys.exit(0 if Gate(Path(sys.argv[1])).waiting(20) else 1)"
    agent = subprocess.Popen([sys.executable, "-c", look, str(moved.images)])
    assert agent.wait(30) == 0
    assert not moved.runs(), "nobody opened it"
    assert Gate(moved.images).waiting(0)
    Gate(moved.images).open()
    eventually(moved.runs)


def test_a_killed_criu_lets_nothing_run(moved: Moved) -> None:
    moved.gate.prepare()
    process = moved.restore()
    assert moved.gate.waiting(20)
    criu.stop(moved.images)
    assert process.wait(5) == -signal.SIGKILL
    assert not moved.gate.waiting(0)
    assert criu.running(moved.images) == []
    assert not moved.runs(0.5)
    moved.gate.open()
    assert not moved.runs(0.5), "too late: there is no CRIU any more to let them go"


def gone(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # not ours, or reaped
    return not Path(f"/proc/{pid}").exists()


def test_a_failed_dump_is_reported_in_criu_s_words(tmp_path: Path) -> None:
    frames: list[Any] = []

    class Kept:
        def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
            frames.append(header)

    def dump() -> None:
        command = ["criu", "dump", "-t", "999999", "-D", str(tmp_path), "-o", "dump.log"]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
            raise RuntimeError(criu.reason(tmp_path / "dump.log"))

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="999999"):
        StateSender().send(dump, tmp_path, (), Kept(), lambda done: None)
    assert frames == []
    assert threading.active_count() == before
