"""`porter policy`, `porter plan`, `porter receipt`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter.cli import app as app_module
from porter.cli import client
from porter.cli.main import main
from porter.signing import open_signer

POLICY = """version: 1
name: night
project: default
windows: [{cron: "0 2 * * *", zone: Europe/Berlin, length: 4h}]
"""
VERDICT = {
    "outcome": "needs_approval",
    "findings": [
        {
            "policy": "two",
            "rule": "approval",
            "outcome": "needs_approval",
            "why": "moves to cloud need another person's approval",
            "remedy": "have somebody decide",
        }
    ],
    "opens_at": None,
}
RULES = {
    "workloads": [
        {
            "workload": "shop",
            "project": "default",
            "policies": ["two"],
            "missing": ["gone"],
            "rules": [
                {"rule": "placement.spot", "value": "false", "policy": ""},
                {"rule": "limits.max_downtime", "value": "2s", "policy": "two"},
            ],
        }
    ]
}
NOBODY = {"amount": None, "currency": "", "source": "nobody knows", "as_of": ""}
PLAN = {
    "id": "p1",
    "hash": "ab" * 32,
    "state": "waiting",
    "workload": "shop",
    "content": {
        "from": "onprem",
        "to": "cloud",
        "mode": "cold",
        "generation": 3,
        "steps": ["preflight"],
        "forecast": {
            "bytes": 1000,
            "unknown": "its files",
            "source": "",
            "egress": NOBODY,
            "price": NOBODY,
        },
    },
    "verdict": VERDICT,
    "created_at": None,
    "created_by_name": "Ann",
    "expires_at": None,
    "decided_by_name": "",
    "reason": "",
    "migration": None,
}
RECEIPT = {
    "id": "m1",
    "workload": "shop",
    "from": "onprem",
    "to": "cloud",
    "mode": "cold",
    "state": "succeeded",
    "finished_at": "2026-01-01T00:00:00Z",
    "requested_by": "u-ann",
    "plan": "p1",
    "bytes": {},
    "phases": [],
    "connections": {},
}


class Stub:
    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Any] = {}
        self.seen: list[tuple[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        self.seen.append((f"{request.method} {request.url.path}", body))
        answer = self.routes[request.method, request.url.path]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub()

    def connect(self: app_module.App) -> client.Api:
        return client.Api(self.url, self.token_file, httpx.MockTransport(stub))

    monkeypatch.setattr(app_module.App, "api", property(connect))
    return stub


def run(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int, str, str]:
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_policies(stub: Stub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "night.yaml"
    file.write_text(POLICY)
    stub.routes["POST", "/v1/rules"] = RULES
    code, out, _ = run(capsys, "policy", "test", file)
    assert code == 0
    assert "night can be read; its" in out
    assert stub.seen[-1][1] == {"document": POLICY}
    for word in ("shop", "limits.max_downtime", "2s", "two", "no policy here: gone; nothing is"):
        assert word in out
    stub.routes["PUT", "/v1/policies/night"] = {"version": 2}
    assert "version 2" in run(capsys, "policy", "apply", file)[1]
    assert stub.seen[-1][1] == {"document": POLICY}
    stub.routes["POST", "/v1/verdicts"] = VERDICT
    code, out, _ = run(capsys, "policy", "test", file, "--workload", "shop", "--to", "cloud")
    assert code == 2
    assert "two (approval): moves to cloud need another person's approval" in out
    stub.routes["DELETE", "/v1/policies/night"] = httpx.Response(204)
    assert run(capsys, "policy", "rm", "night")[0] == 0
    file.write_text("version: 1\n")
    code, _, err = run(capsys, "policy", "apply", file)
    assert code == 2
    assert "cannot read the policy" in err


def test_a_policy_is_read_without_any_control_plane(
    stub: Stub, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Stub, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there", request=request)

    monkeypatch.setattr(Stub, "__call__", away)
    file = tmp_path / "night.yaml"
    file.write_text(POLICY)
    code, out, _ = run(capsys, "policy", "test", file)
    assert code == 0
    assert "night can be read; its" in out
    assert "is not known: cannot reach the control plane" in out
    code, out, _ = run(capsys, "policy", "schema")
    assert code == 0
    assert json.loads(out)["properties"]["placement"]


def test_migrate_says_what_to_do_when_approval_is_needed(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {
        "detail": "cannot move shop to cloud yet: policy two: …",
        "remedy": "another person approves the plan: porter plan approve p1",
        "code": "approval-required",
        "plan": "p1",
        "hash": "ab",
    }
    stub.routes["POST", "/v1/migrations"] = httpx.Response(409, json=problem)
    code, _, err = run(capsys, "migrate", "shop", "--to", "cloud")
    assert code == 2
    assert "porter plan approve p1" in err
    code, out, _ = run(capsys, "migrate", "shop", "--to", "cloud", "--json")
    error = json.loads(out)["error"]
    assert (error["code"], error["plan"], error["hash"]) == ("approval-required", "p1", "ab")


def test_a_plan_is_approved_by_the_hash_that_was_seen(
    stub: Stub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.routes["POST", "/v1/plans"] = PLAN
    code, out, _ = run(capsys, "plan", "create", "shop", "--to", "cloud")
    assert code == 0
    assert "porter plan approve p1" in out
    stub.routes["GET", "/v1/plans"] = [PLAN]
    assert "onprem → cloud" in run(capsys, "plan", "ls")[1]
    stub.routes["GET", "/v1/plans/p1"] = PLAN
    stub.routes["POST", "/v1/plans/p1/approve"] = PLAN | {"state": "approved"}
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    assert run(capsys, "plan", "approve", "p1")[0] == 130
    assert stub.seen[-1][0] == "GET /v1/plans/p1"
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "y")
    code, out, _ = run(capsys, "plan", "approve", "p1", "--reason", "ok")
    assert code == 0
    assert "unknown: nobody knows" in out
    assert stub.seen[-1][1] == {"hash": "ab" * 32, "reason": "ok"}
    run(capsys, "plan", "approve", "p1", "--hash", "cd" * 32)
    assert stub.seen[-1][1] == {"hash": "cd" * 32, "reason": ""}
    stub.routes["POST", "/v1/plans/p1/execute"] = {"id": "m1"}
    assert "m1 is under way" in run(capsys, "plan", "execute", "p1", "--detach")[1]


def test_receipts_are_proven_without_a_control_plane(
    stub: Stub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    signer, other = open_signer(tmp_path / "a.pem"), open_signer(tmp_path / "b.pem")
    signed, keys, wrong = tmp_path / "r.jws", tmp_path / "keys.json", tmp_path / "wrong.json"
    stub.routes["GET", "/v1/migrations/m1"] = {"id": "m1"}
    stub.routes["GET", "/v1/migrations/m1/receipt.jws"] = httpx.Response(
        200, text=signer.sign(RECEIPT)
    )
    stub.routes["GET", "/v1/keys"] = signer.keys()
    assert run(capsys, "receipt", "get", "m1", "-o", signed)[0] == 0
    assert run(capsys, "receipt", "keys", "-o", keys)[0] == 0
    asked = len(stub.seen)
    code, out, _ = run(capsys, "receipt", "verify", signed, "--key", keys)
    assert code == 0
    for word in ("shop", "onprem", "cloud", "u-ann", "p1", "2026-01-01T00:00:00Z"):
        assert word in out
    assert json.loads(run(capsys, "receipt", "verify", signed, "--key", keys, "--json")[1]) == (
        RECEIPT
    )
    wrong.write_text(json.dumps(other.keys()))
    text = signed.read_text()
    for content, key in (
        (text, wrong),
        (text[:-9], keys),
        (text[:40] + ("A" if text[40] != "A" else "B") + text[41:], keys),
        (other.sign(RECEIPT), keys),
        ("", keys),
    ):
        signed.write_text(content)
        code, out, err = run(capsys, "receipt", "verify", signed, "--key", key)
        assert (code, out) == (1, "")
        assert err.startswith("porter: cannot trust this receipt: ")
        assert err.count("\n") == 1
    signed.write_bytes(b"\xff\xfe")
    assert run(capsys, "receipt", "verify", signed, "--key", keys)[0] == 1
    assert len(stub.seen) == asked
