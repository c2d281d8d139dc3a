"""The demo's client against a real Redis: what it promises to notice, it notices."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.lab import load
from porter.lab.fleet import free_port, wait_until

pytestmark = pytest.mark.integration
SIZE = 300_000


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as server:
        try:
            wait_until("Redis to answer", lambda: connects(port))
            yield port
        finally:
            server.kill()


def connects(port: int) -> bool:
    try:
        return call(port, b"PING") == b"PONG"
    except ConnectionRefusedError:
        return False


def call(port: int, *words: bytes) -> Any:
    with load.Redis("127.0.0.1", port) as redis:
        return redis.call(*words)


def run(capsys: pytest.CaptureFixture[str], verb: str, port: int, *words: str) -> tuple[int, Any]:
    code = load.main([verb, "127.0.0.1", str(port), *words])
    return code, json.loads(capsys.readouterr().out)


def written(port: int, folder: Path, count: int) -> None:
    """Write until so many were acknowledged, then stop."""

    def stop() -> None:
        status = folder / "status"
        while not status.exists() or json.loads(status.read_text())["acknowledged"] < count:
            time.sleep(0.01)
        (folder / "stop").touch()

    stopper = threading.Thread(target=stop)
    stopper.start()
    with load.Redis("127.0.0.1", port) as redis:
        writer = load.Writer(redis, 2000, folder / "log", folder / "status")
        assert writer.run(folder / "stop")["acknowledged"] >= count
    stopper.join()


def test_what_was_written_is_found(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, filled = run(capsys, "fill", port, "--bytes", str(SIZE))
    assert code == 0
    assert filled["bytes"] >= SIZE
    written(port, tmp_path, 300)
    words = ("--bytes", str(SIZE), "--log", str(tmp_path / "log"))
    code, found = run(capsys, "verify", port, *words)
    assert code == 0
    assert found["keys"] == filled["keys"]
    assert found["writes"] >= 300
    assert found["expected"] == found["found"]


@pytest.mark.parametrize("damage", [(b"SET", b"order:7", b"{}"), (b"DEL", b"order:7")])
def test_a_changed_value_is_noticed(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: tuple[bytes, ...]
) -> None:
    run(capsys, "fill", port, "--bytes", str(SIZE))
    (tmp_path / "log").touch()
    call(port, *damage)
    words = ("--bytes", str(SIZE), "--log", str(tmp_path / "log"))
    code, answer = run(capsys, "verify", port, *words)
    assert code == 1
    assert "digest" in answer["error"]


@pytest.mark.parametrize("damage", [(b"SET", b"write:7", b"{}"), (b"DEL", b"write:7")])
def test_a_lost_write_is_noticed(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: tuple[bytes, ...]
) -> None:
    written(port, tmp_path, 20)
    call(port, *damage)
    code, answer = run(capsys, "verify", port, "--log", str(tmp_path / "log"))
    assert code == 1
    assert "write:7" in answer["error"]


def test_a_closed_connection_is_noticed(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut() -> None:
        wait_until("a first write", lambda: (tmp_path / "status").exists())
        call(port, b"CLIENT", b"KILL", b"TYPE", b"normal")

    cutter = threading.Thread(target=cut)
    cutter.start()
    files = ("--log", str(tmp_path / "log"), "--status", str(tmp_path / "status"))
    code, answer = run(capsys, "write", port, *files, "--stop", str(tmp_path / "stop"))
    cutter.join()
    assert code == 1
    assert "error" in answer
