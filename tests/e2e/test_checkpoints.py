"""Checkpoints that are kept in a store: the workload runs on, and comes back as it was."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from porter.lab import load as load_program
from porter.lab.fleet import Fleet, wait_until
from tests.e2e.conftest import FAMILY, HOSTS, clean, network_is_unlocked, only_on
from tests.moments import handover_state

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
REDIS = (
    *("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""),
    *("--dir", "/data", "--appendonly", "yes", "--appendfsync", "always"),
    *("--enable-debug-command", "yes"),
)
LOAD = Path(load_program.__file__)


@pytest.fixture
def shelf(fleet: Fleet) -> Iterator[Path]:
    """A store in a directory that every host sees."""
    shelf = fleet.lab.directory / "checkpoints"
    fleet.porter("store", "add", "shelf", f"file://{shelf}")
    yield shelf
    for one in fleet.json("checkpoint", "ls"):
        fleet.try_porter("checkpoint", "rm", one["id"])
    fleet.porter("store", "rm", "shelf")


def redis(fleet: Fleet, host: str, name: str, *words: str) -> str:
    return fleet.podman(host, "exec", name, "redis-cli", *words)


def gone(fleet: Fleet, name: str, host: str) -> None:
    """Remove the workload with its volume, as a person would, and wait until Porter knows."""
    fleet.podman(host, "rm", "-f", "-t", "0", name)
    fleet.podman(host, "volume", "rm", "-f", name)
    wait_until(
        f"{name} to be gone",
        lambda: name not in {row["name"] for row in fleet.json("workload", "ls")},
    )


def answer_of(fleet: Fleet, *words: str) -> tuple[int, dict[str, Any]]:
    done = fleet.try_porter("--json", "checkpoint", *words)
    assert done.stdout.strip(), done.stderr
    return done.returncode, json.loads(done.stdout)


def aof(text: str) -> list[int]:
    """The values of `n` that an append-only file tells, in order."""
    words = text.split()
    return [int(words[at + 2]) for at, word in enumerate(words) if word == "n"]


def test_a_busy_redis_is_kept_and_comes_back_on_the_other_host(
    fleet: Fleet, name: str, shelf: Path, tmp_path: Path
) -> None:
    planted = secrets.token_urlsafe(24)
    address = fleet.run("onprem", name, *REDIS, options=("-v", f"{name}:/data"))
    fill = [sys.executable, str(LOAD), "fill", address, "6379", "--bytes", "20000000"]
    fleet.lab.exec("wan", fill, timeout=60, check=True)
    redis(fleet, "onprem", name, "set", "planted", planted)
    with counting(fleet, address, tmp_path / "stop"):
        wait_until("the writer", lambda: count(fleet, "onprem", name) > 50)
        before = count(fleet, "onprem", name)
        code, kept = answer_of(fleet, "create", name)
        after = count(fleet, "onprem", name)
        assert code == 0, kept
        wait_until("it to go on", lambda: count(fleet, "onprem", name) > after)
    last = count(fleet, "onprem", name)
    assert kept["state"] == "ready"
    assert set(kept["readers"]) == {"onprem", "cloud"}
    assert 0 < kept["downtime_ms"] < 20_000
    assert 0 < kept["stored_bytes"] < kept["size_bytes"]
    only_on(fleet, name, "onprem")
    clean(fleet, "onprem")
    network_is_unlocked(fleet, "onprem", name)
    nothing_in_clear(fleet, shelf, planted)

    code, refused = answer_of(fleet, "restore", kept["id"], "--to", "cloud")
    assert code == 2
    assert "podman rm" in refused["error"]["remedy"]
    only_on(fleet, name, "onprem")

    everything = digest(fleet, "onprem", name)
    gone(fleet, name, "onprem")
    code, back = answer_of(fleet, "restore", kept["id"], "--to", "cloud")
    assert code == 0, back
    only_on(fleet, name, "cloud")
    (found,) = [row for row in fleet.json("workload", "ls") if row["name"] == name]
    assert (found["host"], found["address"], found["generation"]) == ("cloud", address, 2)
    for host in ("onprem", "cloud"):
        clean(fleet, host)
    network_is_unlocked(fleet, "cloud", name)
    ask = ["redis-cli", "-h", address, "get", "n"]
    seen = int(fleet.lab.exec("wan", ask, timeout=10, check=True).stdout)
    assert before <= seen <= after < last
    file = fleet.podman("cloud", "exec", name, "sh", "-c", "cat /data/appendonlydir/*.incr.aof")
    # Of one moment: the file has what memory has, or lacks the one write that was on its way to it.
    assert aof(file)[-1] in (seen, seen - 1)
    assert redis(fleet, "cloud", name, "get", "planted") == planted
    assert digest(fleet, "cloud", name) == everything

    # Once more, where it was last.
    gone(fleet, name, "cloud")
    code, back = answer_of(fleet, "restore", kept["id"], "--to", "cloud")
    assert code == 0, back
    only_on(fleet, name, "cloud")
    assert int(fleet.lab.exec("wan", ask, timeout=10, check=True).stdout) == seen
    assert fleet.json("workload", "show", name)["generation"] == 3


@contextmanager
def counting(fleet: Fleet, address: str, stop: Path) -> Iterator[None]:
    """A client that sets `n` to 1, 2, 3 … one after the other."""
    loop = f"i=0; while [ ! -e {stop} ]; do i=$((i+1)); echo SET n $i; done"
    line = f"{loop} | redis-cli -h {address} >/dev/null"
    writer = fleet.lab.popen("wan", ["sh", "-c", line])
    try:
        yield
    finally:
        stop.touch()
        assert writer.wait(60) == 0


def count(fleet: Fleet, host: str, name: str) -> int:
    return int(redis(fleet, host, name, "get", "n") or 0)


def digest(fleet: Fleet, host: str, name: str) -> str:
    """Of all keys and values but the count's, which it sets back."""
    redis(fleet, host, name, "set", "n", "0")
    found = redis(fleet, host, name, "debug", "digest")
    assert len(found) == 40
    return found


def nothing_in_clear(fleet: Fleet, shelf: Path, *planted: str) -> None:
    """Neither values, nor keys of hosts, nor tokens."""
    words = [word.encode() for word in planted]
    for host in ("onprem", "cloud"):
        key = fleet.lab.host_directory(host) / "porter" / "agent" / "key.pem"
        words += key.read_bytes().splitlines()[1:2]
        environment = Path(f"/proc/{fleet.lab.agent_pid(host)}/environ").read_bytes().split(b"\0")
        (token,) = [one for one in environment if one.startswith(b"PORTER_JOIN_TOKEN=")]
        words += [token.partition(b"=")[2].partition(b".")[0]]
    words += [(fleet.state / "api-token").read_bytes().strip()]
    files = [path for path in shelf.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert all(len(word) >= 20 for word in words)
    for path in files:
        content = path.read_bytes()
        assert not [word for word in words if word in content], path


def test_an_agent_killed_in_the_middle_leaves_it_running(
    fleet: Fleet, name: str, shelf: Path
) -> None:
    ballast = "import os; ballast = os.urandom(60_000_000)\n"
    fleet.run(
        "onprem", name, "python3", "-u", "-c", ballast + FAMILY, options=("-v", f"{name}:/data")
    )
    begun = fleet.json("checkpoint", "create", name, "--detach")
    wait_until("the freeze", lambda: handover_state(fleet, "onprem", name) == "frozen")
    os.kill(fleet.lab.agent_pid("onprem"), signal.SIGKILL)

    def ended() -> Any:
        found = fleet.json("checkpoint", "show", begun["id"])
        return found if found["state"] != "creating" else None

    found = wait_until("the checkpoint to end", ended, 60)
    assert found["state"] == "failed"
    assert "restarted" in found["reason"]
    assert [path for path in shelf.rglob("*") if path.is_file()] == []
    runs_on(fleet, name)
    clean(fleet, "onprem")
    network_is_unlocked(fleet, "onprem", name)
    code, kept = answer_of(fleet, "create", name, "--for", "onprem")
    assert code == 0, kept
    assert kept["readers"] == ["onprem"]
    runs_on(fleet, name)

    spoil(shelf)
    gone(fleet, name, "onprem")
    code, refused = answer_of(fleet, "restore", kept["id"], "--to", "cloud")
    assert code == 1
    assert refused["state"] == "ready"
    assert refused["task"]["outcome"] == "failed"
    assert "other bytes" in refused["task"]["reason"]
    assert refused["readers"] == ["onprem", "cloud"], "onprem has let cloud read it"
    assert fleet.running(name, HOSTS) == []
    assert name not in fleet.podman("cloud", "ps", "-a", "--format", "{{.Names}}").split()
    assert name not in fleet.podman("cloud", "volume", "ls", "-q").split()
    clean(fleet, "cloud")
    fleet.porter("checkpoint", "rm", kept["id"])
    fleet.porter("checkpoint", "rm", begun["id"])
    assert [path for path in shelf.rglob("*") if path.is_file()] == []


def runs_on(fleet: Fleet, name: str) -> None:
    """It makes progress, and nobody else has it."""
    only_on(fleet, name, "onprem")

    def lines() -> int:
        return len(fleet.podman("onprem", "exec", name, "cat", "/data/journal.log").split())

    now = lines()
    wait_until("it to go on", lambda: lines() > now)


def spoil(shelf: Path) -> None:
    """Change one byte in the middle of the largest part."""
    part = max(shelf.glob("data/*/parts/*"), key=lambda path: path.stat().st_size)
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
