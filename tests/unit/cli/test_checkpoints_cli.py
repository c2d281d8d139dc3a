"""`porter checkpoint` against a stub of the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter.cli import app as app_module
from porter.cli import checkpoints, client
from porter.cli.main import main

ID = "k0123456789"
FOUND: dict[str, Any] = {
    "id": ID,
    "workload": "shop",
    "host": "onprem",
    "store": "shelf",
    "state": "ready",
    "reason": "",
    "created_at": "2026-01-01T00:00:00+00:00",
    "taken_at": "2026-01-01T00:00:01+00:00",
    "downtime_ms": 812.4,
    "memory_bytes": 20_000_000,
    "file_bytes": 1000,
    "size_bytes": 20_001_000,
    "stored_bytes": 7_000_000,
    "image": "redis",
    "address": "10.77.1.2",
    "digest": "ab",
    "phases": [],
    "readers": ["onprem", "cloud"],
    "progress": None,
    "task": {
        "kind": "create",
        "to": None,
        "outcome": "succeeded",
        "reason": "",
        "ended_at": None,
    },
}


def with_task(state: str, outcome: str | None, kind: str = "create", **more: Any) -> dict[str, Any]:
    return FOUND | {
        "state": state,
        **more,
        "task": FOUND["task"] | {"kind": kind, "outcome": outcome},
    }


class Stub:
    """Answers each call with the next of its list; the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], list[Any]] = {}
        self.bodies: list[Any] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content) if request.content else None)
        left = self.answers[request.method, request.url.path]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer, json={"detail": "cannot do it: no", "remedy": "mend it"})
        return httpx.Response(200, json=answer)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stub:
    stub = Stub()

    def connect(self: app_module.App) -> client.Api:
        return client.Api(self.url, self.token_file, httpx.MockTransport(stub))

    monkeypatch.setattr(app_module.App, "api", property(connect))
    monkeypatch.setattr(checkpoints, "_LOOK_S", 0.0)
    monkeypatch.setenv("PORTER_STATE", str(tmp_path))
    return stub


Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *argv: str) -> tuple[int, str, str]:
    code = main(["checkpoint", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_create_waits_for_the_end(stub: Stub, capsys: Capture) -> None:
    creating = with_task("creating", None)
    waiting = with_task("creating", None, reason="waiting for onprem")
    away = httpx.ConnectError("refused")
    stub.answers["POST", "/v1/checkpoints"] = [creating]
    stub.answers["GET", f"/v1/checkpoints/{ID}"] = [creating, away, waiting, waiting, FOUND]
    words = ("create", "shop", "--store", "shelf", "--for", "cloud", "--for", "third", "--json")
    code, out, err = run(capsys, *words)
    assert (code, json.loads(out)) == (0, FOUND)
    assert err == "porter: waiting for onprem\n"
    assert stub.bodies[0] == {"workload": "shop", "readers": ["cloud", "third"], "store": "shelf"}


def test_a_failure_is_exit_code_1_and_a_refusal_2(stub: Stub, capsys: Capture) -> None:
    stub.answers["POST", "/v1/checkpoints"] = [with_task("creating", None)]
    failed = with_task("failed", "failed", reason="cannot dump: no")
    stub.answers["GET", f"/v1/checkpoints/{ID}"] = [failed]
    code, out, _ = run(capsys, "create", "shop")
    assert code == 1
    assert "cannot dump: no" in out
    stub.answers["POST", f"/v1/checkpoints/{ID}/restore"] = [409]
    code, _, err = run(capsys, "restore", ID, "--to", "cloud")
    assert code == 2
    assert err == "porter: cannot do it: no; mend it\n"


def test_restore_tells_its_own_outcome(stub: Stub, capsys: Capture) -> None:
    begun = with_task("restoring", None, "restore")
    stub.answers["POST", f"/v1/checkpoints/{ID}/restore"] = [begun]
    for outcome, expected in (("failed", 1), ("succeeded", 0)):
        ended = with_task("ready", outcome, "restore")
        stub.answers["GET", f"/v1/checkpoints/{ID}"] = [begun, ended]
        code, out, _ = run(capsys, "restore", ID, "--to", "cloud")
        assert code == expected
        assert f"restore {outcome}" in out
    assert {"to": "cloud"} in stub.bodies


def test_rm_waits_until_it_is_gone(stub: Stub, capsys: Capture) -> None:
    removing = with_task("removing", None, "remove")
    stub.answers["DELETE", f"/v1/checkpoints/{ID}"] = [removing]
    stub.answers["GET", f"/v1/checkpoints/{ID}"] = [removing, 404]
    code, out, _ = run(capsys, "rm", ID, "--json")
    assert (code, json.loads(out)) == (0, {"removed": ID})


def test_ls_and_show(stub: Stub, capsys: Capture) -> None:
    stub.answers["GET", "/v1/checkpoints"] = [[FOUND], []]
    stub.answers["GET", f"/v1/checkpoints/{ID}"] = [FOUND]
    code, out, _ = run(capsys, "ls")
    assert code == 0
    for word in (ID, "shop", "onprem", "shelf", "ready", "20 MB", "7 MB"):
        assert word in out
    assert "No checkpoints yet." in run(capsys, "ls")[1]
    code, out, _ = run(capsys, "show", ID)
    assert code == 0
    for word in ("812 ms", "onprem, cloud", "redis", "10.77.1.2"):
        assert word in out


def test_detached_it_returns_at_once(stub: Stub, capsys: Capture) -> None:
    stub.answers["POST", "/v1/checkpoints"] = [with_task("creating", None)]
    code, out, _ = run(capsys, "create", "shop", "--detach")
    assert code == 0
    assert f"porter checkpoint show {ID}" in out


def test_a_bar_for_a_person(stub: Stub, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "interactive", lambda: True)
    dumping = with_task("creating", None, progress={"phase": "dump", "done": 5, "total": 10})
    stub.answers["POST", "/v1/checkpoints"] = [with_task("creating", None)]
    stub.answers["GET", f"/v1/checkpoints/{ID}"] = [dumping, FOUND]
    code, out, _ = run(capsys, "create", "shop")
    assert code == 0
    assert ID in out
