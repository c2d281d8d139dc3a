"""The whole OpenAPI document against real listeners, by schemathesis with all its checks.

Two simulated hosts answer commands meanwhile, so that moves and checkpoints go on. Everything stays
on loopback: sites and stores elsewhere cannot be reached from this process.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.web.api import workloads
from porter.web.openapi import every
from tests.unit.web.conftest import TOKEN, Recorder, Serving, new_agent, serving  # noqa: F401
from tests.unit.web.test_api import Cloud, NewAgent

STREAMS = ("list_events", "list_migration_events")
"""Server-sent events: a stream has no end, and no body that could be compared with a schema. What
they answer otherwise is checked by `test_streams`."""
CONFIG = Path(__file__).with_name("schemathesis.toml")
CASES = re.compile(r"(\d+) generated")
LONG = bool(os.environ.get("PORTER_LONG"))


class Elsewhere(OSError):
    """Nothing but loopback can be reached here."""


@pytest.fixture
def confined(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_lookup = socket.getaddrinfo

    def lookup(host: Any, *args: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", "localhost", "::1", None):
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is not looked up in tests")
        return plain_lookup(host, *args, **more)

    plain_connect = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith("127."):
            raise Elsewhere(f"{address} is not reached in tests")
        plain_connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.fixture
def busy(
    serving: Serving,  # noqa: F811
    new_agent: NewAgent,  # noqa: F811
    confined: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cloud]:
    """Two hosts that do what they are told, and a few workloads."""
    monkeypatch.setattr(workloads, "PATIENCE", 1.0 if LONG else 5.0)
    # Nobody advances checkpoints here: they stay as they are when asked for.
    monkeypatch.setattr(Recorder, "checkpoint", lambda self, key: None, raising=False)
    object.__setattr__(serving.control.engine, "_queue", serving.queue)
    cloud = Cloud(serving, new_agent)
    for name in ("web", "api", "cache"):
        cloud.onprem.running[name] = f"c-{name}"
    cloud.beat()
    over = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        while not over.wait(0.05):
            try:
                cloud.work()
                cloud.beat()
            except (AssertionError, KeyError, TypeError) as error:
                # A host may have been removed under its agent, as the API can.
                failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield cloud
    over.set()
    thread.join(30)
    assert not thread.is_alive()


def schemathesis(url: str, *options: str, limit: float) -> str:
    """Its report. Fails with it if any check did."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(CONFIG),
        "run",
        f"{url}/openapi.json",
        "--header",
        f"Authorization: Bearer {TOKEN}",
        "--no-color",
        "--checks=all",
        "--suppress-health-check=all",
        "--continue-on-failure",
        *(f"--exclude-operation-id={name}" for name in STREAMS),
        *options,
    ]
    env = {**os.environ, "NO_PROXY": "*"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=limit, check=False, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return done.stdout


def cases(report: str) -> int:
    """How many test cases there were."""
    found = CASES.search(report)
    assert found is not None, report[-3000:]
    return int(found[1])


SLICE = ("--phases=examples,fuzzing", "--max-examples=3", "--seed=1")
CASES_LONG = 10_000
PIECE_S = 220
COVERAGE_S = 1800
PIECES = 16
"""At most so many pieces of the long run, each with another seed."""


@pytest.mark.timeout(COVERAGE_S + (PIECE_S + 60) * PIECES if LONG else 120)
def test_all_operations(busy: Cloud) -> None:
    if not LONG:
        assert cases(schemathesis(busy.serving.url, *SLICE, limit=110)) >= 150
        return
    found = cases(schemathesis(busy.serving.url, "--phases=coverage", limit=COVERAGE_S))
    for seed in range(PIECES):
        if found >= CASES_LONG:
            break
        options = ("--phases=fuzzing", f"--max-time={PIECE_S}", f"--seed={seed}")
        found += cases(schemathesis(busy.serving.url, *options, limit=PIECE_S + 60))
    assert found >= CASES_LONG


def test_streams(busy: Cloud) -> None:
    """What an event stream answers before its first event, and its media type."""
    with busy.serving.client() as api:
        document = api.get("/openapi.json").json()
        operations = [one for one in every(document) if one[2]["operationId"] in STREAMS]
        assert operations
        began = api.post("/v1/migrations", json={"workload": "web", "to": "cloud"}).json()["id"]
        for _, path, operation in operations:
            for identity in (began, "nobody"):
                for after in ("0", "x", "-1", "9" * 40):
                    target = path.replace("{migration_id}", identity)
                    with api.stream("GET", target, headers={"Last-Event-ID": after}) as answer:
                        status = str(answer.status_code)
                        kind = answer.headers["content-type"].partition(";")[0]
                    assert status in operation["responses"], (target, after)
                    assert kind in operation["responses"][status]["content"], (target, after)
