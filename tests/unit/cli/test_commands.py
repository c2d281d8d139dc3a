"""The command line against a stub of the API: output, exit codes, sentences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter.cli import app as app_module
from porter.cli import client, watch
from porter.cli.main import COMMANDS, main

Handler = Callable[[httpx.Request], httpx.Response]
ID = "01hqz3d8"

RECEIPT = {
    "id": ID,
    "workload": "shop",
    "from": "onprem",
    "to": "cloud",
    "mode": "cold",
    "state": "succeeded",
    "generation": 2,
    "started_at": "2026-01-01T00:00:00+00:00",
    "finished_at": "2026-01-01T00:00:03+00:00",
    "downtime_ms": 812.4,
    "total_ms": 3021.0,
    "bytes": {"memory": 231_000_000, "files": 5, "image": 0, "wire": 90, "wire_frozen": 80},
    "rounds": [],
    "phases": [{"name": "freeze", "ms": 12.0}, {"name": "transfer", "ms": 800.4}],
    "connections": {"kept": 1, "closed": 0},
    "verified": "ab" * 32,
    "reason": "",
}
FORECAST = {
    "downtime_ms": {"low": 420.0, "likely": 610.0, "high": 1100.0},
    "total_ms": {"low": 3000.0, "likely": 4000.0, "high": 9000.0},
    "wire": {"low": 1e6, "likely": 2e6, "high": 4e6},
    "cost": {"low": "0.02", "likely": "0.04", "high": "0.09", "currency": "USD", "source": "list"},
    "failure": 0.03,
    "known": False,
    "basis": "no cold move was ever measured here",
}
HOSTS = [
    {"id": "h1a", "name": "onprem", "site": "home", "range": "10.77.1.0/24", "alive": True},
    {
        "id": "h2b",
        "name": "cloud",
        "site": "aws:eu-west-1",
        "range": "10.77.2.0/24",
        "alive": False,
    },
]


def problem(status: int, detail: str, remedy: str = "") -> httpx.Response:
    body = {"type": "about:blank", "title": "No", "status": status, "detail": detail}
    return httpx.Response(status, json=body | ({"remedy": remedy} if remedy else {}))


def stream(*events: dict[str, Any]) -> httpx.Response:
    lines = [": hello", ""]
    for event in events:
        lines += [f"id: {event['id']}", f"event: {event['kind']}", f"data: {json.dumps(event)}", ""]
    return httpx.Response(200, text="\n".join(lines) + "\n")


def event(number: int, kind: str, message: str = "", **data: Any) -> dict[str, Any]:
    return {"id": number, "kind": kind, "at": float(number), "message": message, "data": data}


class Stub:
    """Answers by (method, path); what is not listed is not found."""

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Any] = {
            ("GET", "/v1/hosts"): HOSTS,
            ("GET", "/v1/workloads"): [{"name": "shop", "host": "onprem", "state": "running"}],
            ("GET", f"/v1/migrations/{ID}/receipt"): RECEIPT,
            ("GET", f"/v1/migrations/{ID}"): {"id": ID, "state": "succeeded"},
        }
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.routes.get((request.method, request.url.path))
        if answer is None:
            name = request.url.path.rpartition("/")[2]
            return problem(404, f"cannot find {name!r}: there is none", "list them with ls")
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json=answer)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stub:
    stub = Stub()

    def connect(self: app_module.App) -> client.Api:
        return client.Api(self.url, self.token_file, httpx.MockTransport(stub))

    monkeypatch.setattr(app_module.App, "api", property(connect))
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("PORTER_STATE", str(tmp_path))
    (tmp_path / "api-token").write_text("s3cret\n")
    return stub


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_hosts_as_a_table_and_as_json(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "host", "ls")
    assert (code, err) == (0, "")
    assert "onprem" in out
    assert "aws:eu-west-1" in out
    for argv in (["host", "ls", "--json"], ["--json", "host", "ls"]):
        code, out, _ = run(capsys, *argv)
        assert (code, json.loads(out)) == (0, HOSTS)
    assert stub.seen[0].headers["authorization"] == "Bearer s3cret"


def test_a_site_is_added_with_secrets_from_files(
    stub: Stub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("hush\n")
    stub.routes["POST", "/v1/sites"] = lambda request: httpx.Response(201, json={"name": "x"})
    words = ["--set", "image=ami-1", "--set", "subnet=a=b", "--secret", f"key={tmp_path / 'key'}"]
    code, out, _ = run(capsys, "site", "add", "aws:eu-west-1", *words)
    assert code == 0
    assert "hush" not in out
    assert json.loads(stub.seen[-1].content) == {
        "name": "aws:eu-west-1",
        "kind": "aws",
        "region": "eu-west-1",
        "settings": {"image": "ami-1", "subnet": "a=b"},
        "secrets": {"key": "hush"},
    }
    assert run(capsys, "site", "add", "somewhere")[0] == 2
    assert run(capsys, "site", "add", "aws:x", "--set", "novalue")[0] == 2
    assert run(capsys, "site", "add", "aws:x", "--secret", "k=/no/such/file")[0] == 2


def test_a_missing_right_is_shown_with_its_remedy(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {"name": "ec2:RunInstances", "granted": False, "purpose": "p", "remedy": "add it"}
    stub.routes["POST", "/v1/sites/aws:x/verify"] = [right]
    code, out, _ = run(capsys, "site", "verify", "aws:x")
    assert code == 2
    assert "ec2:RunInstances" in out
    assert "add it" in out
    stub.routes["POST", "/v1/sites/aws:x/verify"] = [right | {"granted": True}]
    assert run(capsys, "site", "verify", "aws:x")[0] == 0


def test_a_move_may_make_and_release_machines(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.routes["POST", "/v1/migrations"] = {"id": ID}
    words = ["--provision", "always", "--release", "--max-price", "0.10", "--detach"]
    assert run(capsys, "migrate", "shop", "--to", "aws:x", *words)[0] == 0
    sent = json.loads(stub.seen[-1].content)
    assert (sent["provision"], sent["release"], sent["max_price"]) == ("always", True, "0.10")


@pytest.mark.parametrize("wanted", ["cloud", "h2"])
def test_a_host_is_removed_by_name_or_prefix(
    stub: Stub, capsys: pytest.CaptureFixture[str], wanted: str
) -> None:
    stub.routes["DELETE", "/v1/hosts/cloud"] = httpx.Response(204)
    assert run(capsys, "host", "rm", wanted)[0] == 0
    assert stub.seen[-1].url.path == "/v1/hosts/cloud"


@pytest.mark.parametrize("wanted", ["nope", "h"])
def test_no_host_is_removed_by_guess(
    stub: Stub, capsys: pytest.CaptureFixture[str], wanted: str
) -> None:
    code, out, err = run(capsys, "host", "rm", wanted)
    assert (code, out) == (2, "")
    assert err.startswith("porter: cannot ")
    assert "cloud, onprem" in err
    assert all(request.method == "GET" for request in stub.seen)


def test_a_join_token_can_be_captured(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.routes["POST", "/v1/join-tokens"] = {"token": "tok", "expires_at": 1.0}
    code, out, err = run(capsys, "host", "token")
    assert (code, out) == (0, "tok\n")
    assert "one host" in err


def moving(*events: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {
        ("POST", "/v1/migrations"): httpx.Response(202, json={"id": ID}),
        ("GET", f"/v1/migrations/{ID}/events"): stream(*events),
    }


def test_migrate_prints_the_receipt(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.routes |= moving(
        event(1, "step.started", step="handover"),
        event(2, "progress", step="handover", phase="transfer", done=1, total=4),
        event(3, "progress", step="handover", phase="transfer", done=4, total=4),
        event(4, "step.done", step="handover"),
        event(5, "migration.succeeded", state="succeeded"),
    )
    code, out, err = run(capsys, "migrate", "shop", "--to", "cloud")
    assert (code, err) == (0, "")
    assert "freeze and hand over: done in 3.00 s" in out
    assert "transfer: 4 B of 4 B" in out
    assert "812 ms" in out
    assert "1 kept, 0 closed" in out
    code, out, err = run(capsys, "migrate", "shop", "--to", "cloud", "--json")
    assert (code, json.loads(out), err) == (0, RECEIPT, "")
    posted = [request for request in stub.seen if request.method == "POST"]
    assert json.loads(posted[0].content) == {"workload": "shop", "to": "cloud", "mode": "auto"}
    assert posted[0].headers["idempotency-key"] != posted[1].headers["idempotency-key"]


@pytest.mark.parametrize("state", ["rolled_back", "failed"])
def test_a_migration_that_did_not_succeed_is_exit_1(
    stub: Stub, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    stub.routes |= moving(
        event(1, "step.failed", "no space", step="reserve"), event(2, f"migration.{state}", "no")
    )
    receipt = RECEIPT | {"state": state, "reason": "cannot restore: no space"}
    stub.routes["GET", f"/v1/migrations/{ID}/receipt"] = receipt
    code, out, _ = run(capsys, "migrate", "shop", "--to", "cloud")
    assert code == 1
    assert "cannot restore: no space" in out
    assert "failed: no space" in out


def test_a_migration_that_stays_held_is_exit_1(
    stub: Stub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "HELD_PATIENCE_S", 0.0)
    stub.routes |= moving(event(1, "migration.held", "cannot ask cloud"))
    stub.routes["GET", f"/v1/migrations/{ID}/receipt"] = RECEIPT | {"state": "held"}
    code, out, _ = run(capsys, "migrate", "shop", "--to", "cloud", "--json")
    assert (code, json.loads(out)["state"]) == (1, "held")


def test_the_start_is_repeated_with_one_key(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [httpx.ReadError("reset"), httpx.Response(202, json={"id": ID})]
    stub.routes["POST", "/v1/migrations"] = lambda _: answers.pop(0)
    code, out, _ = run(capsys, "migrate", "shop", "--to", "cloud", "--detach")
    assert code == 0
    assert ID in out
    keys = [request.headers["idempotency-key"] for request in stub.seen]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_watching_survives_the_control_plane(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Any] = [
        stream(event(1, "step.done", step="reserve")),
        httpx.ConnectError("refused"),
        stream(event(2, "migration.succeeded")),
    ]
    states: list[Any] = ["running"]

    def migration(_: httpx.Request) -> Any:
        return {"id": ID, "state": states.pop() if states else "running"}

    stub.routes["GET", f"/v1/migrations/{ID}/events"] = lambda _: answers.pop(0)
    stub.routes["GET", f"/v1/migrations/{ID}"] = migration
    code, out, _ = run(capsys, "migration", "watch", ID)
    assert code == 0
    assert "out of reach" in out
    assert "is back" in out
    asked = [r for r in stub.seen if r.url.path.endswith("/events")]
    assert [r.headers.get("last-event-id") for r in asked] == [None, "1", "1"]


def test_ctrl_c_says_that_the_migration_goes_on(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: httpx.Request) -> Any:
        raise KeyboardInterrupt

    stub.routes |= moving()
    stub.routes["GET", f"/v1/migrations/{ID}/events"] = interrupt
    code, _, err = run(capsys, "migrate", "shop", "--to", "cloud")
    assert code == 130
    assert f"porter migration watch {ID}" in err
    assert f"porter migration cancel {ID}" in err


def test_a_dry_run_says_what_stands_in_the_way(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    blocker = {"code": "tty-attached", "message": "it has a terminal", "remedy": "drop -t"}
    path = ("POST", "/v1/workloads/shop/preflight")
    stub.routes[path] = {"blockers": [blocker]}
    code, out, _ = run(capsys, "migrate", "shop", "--to", "cloud", "--dry-run")
    assert code == 2
    assert "it has a terminal" in out
    assert "drop -t" in out
    stub.routes[path] = {"blockers": []}
    assert run(capsys, "migrate", "shop", "--to", "cloud", "--dry-run")[0] == 0
    stub.routes[path] = {"blockers": [], "forecast": FORECAST}
    code, out, _ = run(capsys, "migrate", "shop", "--to", "cloud", "--dry-run")
    assert code == 0
    for word in (
        "610 ms (420 ms to 1.10 s)",
        "0.04 (0.02 to 0.09) USD, list",
        "in 3.0% of",
        "a gu",
    ):
        assert word in out
    unknown = FORECAST | {"cost": {"low": None, "likely": None, "high": None, "source": "nobody"}}
    stub.routes[path] = {"blockers": [], "forecast": unknown | {"known": True}}
    out = run(capsys, "migrate", "shop", "--to", "cloud", "--dry-run")[1]
    assert "unknown: nobody" in out
    assert "a guess" not in out


def test_a_receipt_says_how_good_its_forecast_was(
    stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    off = {"downtime": 1.332, "total": 0.8}
    stub.routes["GET", f"/v1/migrations/{ID}"] = {"id": ID, "state": "succeeded"}
    stub.routes["GET", f"/v1/migrations/{ID}/receipt"] = RECEIPT | {
        "forecast": FORECAST,
        "forecast_error": off,
    }
    code, out, _ = run(capsys, "migration", "show", ID)
    assert code == 0
    told = " ".join(out.replace("│", " ").split())
    assert "downtime 610 ms (420 ms to 1.10 s)" in told
    assert "downtime came to 1.332 × that, total came to 0.8 × that" in told
    running = {"id": ID, "state": "running", "forecast": FORECAST, "steps": []}
    stub.routes["GET", f"/v1/migrations/{ID}"] = running
    assert "expected downtime" in run(capsys, "migration", "show", ID)[1]


def test_how_good_forecasts_were(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    figure = {"count": 9, "median": 0.1823, "p90": 0.6931, "inside": 0.78}
    none = {"count": 0, "median": None, "p90": None, "inside": None}
    found = {"share": 0.8, "moves": 9, "downtime": figure, "total": figure, "wire": figure}
    stub.routes["GET", "/v1/forecasts/accuracy"] = found | {"cost": none}
    code, out, _ = run(capsys, "forecast", "--workload", "shop")
    assert code == 0
    for word in ("1.20 ×", "2.00 ×", "78% (of 80%)"):
        assert word in out
    stub.routes["GET", "/v1/forecasts/accuracy"] = found | {"cost": none, "moves": 0}
    assert "No move with a forecast" in run(capsys, "forecast")[1]


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (401, 2), (403, 2), (404, 2), (409, 2), (422, 2), (503, 1)]
)
def test_a_refusal_is_one_sentence(
    stub: Stub, capsys: pytest.CaptureFixture[str], status: int, code: int
) -> None:
    stub.routes["POST", "/v1/migrations"] = lambda _: problem(status, "cannot: why", "do this")
    got, out, err = run(capsys, "migrate", "shop", "--to", "cloud")
    assert (got, out, err) == (code, "", "porter: cannot: why; do this\n")
    got, out, _ = run(capsys, "migrate", "shop", "--to", "cloud", "--json")
    assert json.loads(out)["error"]["message"] == "cannot: why"


def test_a_wrong_token_names_its_file(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.routes["GET", "/v1/hosts"] = httpx.Response(401, text="no")
    code, _, err = run(capsys, "host", "ls")
    assert code == 2
    assert "api-token" in err


def test_an_absent_control_plane_is_exit_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, "--api", "http://127.0.0.1:9", "host", "ls")
    assert (code, out) == (1, "")
    assert "porter up" in err


@pytest.mark.parametrize(
    "argv",
    [
        ["nope"],
        ["host", "nope"],
        ["migrate"],
        ["migrate", "shop"],
        ["migrate", "shop", "--to", "cloud", "--mode", "warp"],
        ["--api", "carrier-pigeon", "host", "ls"],
        ["workload", "show", ".."],
        ["migration", "show", "zzz"],
    ],
)
def test_bad_input_is_exit_2(
    stub: Stub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
) -> None:
    stub.routes["GET", "/v1/migrations"] = []
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("porter: ")
    assert err.count("\n") == 1


def test_ids_may_be_shortened_while_unique(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    known = [{"id": ID, "state": "succeeded"}, {"id": "01zz", "state": "running"}]
    stub.routes["GET", "/v1/migrations"] = known
    code, out, _ = run(capsys, "migration", "show", "01h", "--json")
    assert (code, json.loads(out)["id"]) == (0, ID)
    code, _, err = run(capsys, "migration", "show", "01")
    assert code == 2
    assert "more of the id" in err


def test_rollback_follows_what_undoes_it(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.routes["GET", f"/v1/migrations/{ID}"] = RECEIPT
    where = "POST", f"/v1/migrations/{ID}/rollback"
    stub.routes[where] = problem(409, "cannot roll back: shop has moved on since")
    code, _, err = run(capsys, "migration", "rollback", ID)
    assert code == 2
    assert "moved on" in err
    back = {"id": "01back", "workload": "shop", "to": "onprem"}
    stub.routes[where] = back
    code, out, _ = run(capsys, "migration", "rollback", ID, "--detach")
    assert code == 0
    assert "01back moves shop back to onprem" in out
    for kind in ("", "/receipt"):
        stub.routes["GET", f"/v1/migrations/01back{kind}"] = RECEIPT | {"id": "01back"}
    stub.routes["GET", "/v1/migrations/01back/events"] = stream(event(1, "migration.succeeded"))
    assert run(capsys, "migration", "rollback", ID)[0] == 0


def test_resolve_says_what_is_given_up(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["migration", "resolve", ID, "--run-on", "source", "--reason", "it burnt"]
    stub.routes["POST", f"/v1/migrations/{ID}/resolve"] = {"id": ID, "gives_up": "two seconds"}
    code, _, err = run(capsys, *words, "--i-powered-it-off", "--detach")
    assert code == 0
    assert "two seconds" in err
    posted = next(r for r in stub.seen if r.method == "POST")
    assert json.loads(posted.content) == {
        "run_on": "source",
        "reason": "it burnt",
        "fenced": True,
    }
    undone = RECEIPT | {"state": "rolled_back"}
    stub.routes |= moving(event(1, "migration.rolled_back"))
    stub.routes["GET", f"/v1/migrations/{ID}"] = undone
    stub.routes["GET", f"/v1/migrations/{ID}/receipt"] = undone
    assert run(capsys, *words, "--fence")[0] == 0
    assert run(capsys, "migration", "resolve", ID, "--run-on", "source")[0] == 2


def test_help_imports_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)


def test_nothing_asked_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 2
    assert "Usage: porter" in out
