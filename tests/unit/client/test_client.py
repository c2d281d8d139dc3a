"""The typed client against stubs of the API: what is sent again, what is raised, what is read."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import porter
from porter import client
from porter.client import Porter
from porter.client import porter as porter_module
from porter.domain import errors

Answer = httpx.Response | Exception
MIGRATION = {
    "id": "m1",
    "workload": "shop",
    "project": "",
    "from": "onprem",
    "to": "cloud",
    "mode": "cold",
    "state": "running",
    "phase": "sync",
    "generation": 1,
    "reason": "",
    "cancel_requested": False,
    "created_by": "u1",
    "plan_hash": "",
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
    "steps": [],
    "a_newer_field": 1,
}


def problem(status: int, code: str = "", **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    body = {"type": f"/problems/{code}", "status": status, "detail": "cannot: why"}
    body |= {"remedy": "do this", "code": code, "request_id": "r1", **more}
    return httpx.Response(status, json=body, headers=headers)


class Script:
    """Answers in their order; the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept; the clock goes on by as much."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(slept))
    return slept


def connect(script: Callable[[httpx.Request], httpx.Response]) -> Porter:
    return Porter("http://porter.test", "tok", transport=httpx.MockTransport(script))


DOWN = httpx.ConnectError("refused")
AGAIN = [DOWN, httpx.ReadError("reset"), problem(503), problem(429, headers={"Retry-After": "7"})]


@pytest.mark.parametrize("wrong", AGAIN)
def test_a_move_is_sent_again_with_one_key(wrong: Answer, pauses: list[float]) -> None:
    script = Script(wrong, httpx.Response(202, json=MIGRATION))
    with connect(script) as api:
        begun = api.migrate("shop", "cloud", max_price=Decimal("0.10"))
    assert (begun.id, begun.source, begun.target, begun.ended) == ("m1", "onprem", "cloud", False)
    assert len({request.headers["idempotency-key"] for request in script.seen}) == 1
    assert len(script.seen) == 2
    assert json.loads(script.seen[0].content)["max_price"] == "0.10"
    assert script.seen[0].headers["authorization"] == "Bearer tok"
    (pause,) = pauses
    assert pause == 7 if wrong is AGAIN[-1] else 0 < pause <= 0.5


def test_the_first_request_may_still_be_at_work(pauses: list[float]) -> None:
    busy = problem(409, "conflict", headers={"Retry-After": "1"})
    script = Script(DOWN, busy, httpx.Response(202, json=MIGRATION))
    with connect(script) as api:
        api.migrate("shop", "cloud", idempotency_key="mine")
    assert [request.headers["idempotency-key"] for request in script.seen] == ["mine"] * 3


def test_patience_ends(pauses: list[float]) -> None:
    script = Script(DOWN)
    with connect(script) as api, pytest.raises(client.Unreachable):
        api.workload("shop")
    assert len(script.seen) == 4
    slow = Script(problem(503, headers={"Retry-After": "86400"}))
    pauses.clear()
    with connect(slow) as api, pytest.raises(client.Unavailable):
        api.workloads()
    assert max(pauses) == 30


@pytest.mark.parametrize(
    ("status", "code", "kind", "broader"),
    [
        (400, "bad_request", client.Invalid, errors.Invalid),
        (401, "denied", client.Denied, errors.Denied),
        (403, "denied", client.Denied, errors.Denied),
        (404, "not_found", client.NotFound, errors.NotFound),
        (409, "conflict", client.Conflict, errors.Conflict),
        (409, "policy", client.PolicyRefused, errors.PolicyRefused),
        (409, "approval-required", client.ApprovalRequired, client.Conflict),
        (409, "plan-lapsed", client.PlanLapsed, errors.Lapsed),
        (412, "precondition_failed", client.PreconditionFailed, client.Conflict),
        (422, "invalid", client.Invalid, errors.Invalid),
        (500, "internal", client.Unavailable, errors.Transient),
    ],
)
def test_refusals_are_classes(
    status: int, code: str, kind: type[client.ApiError], broader: type[Exception]
) -> None:
    script = Script(problem(status, code, plan="p1"))
    with connect(script) as api, pytest.raises(kind) as caught:
        api.migrate("shop", "cloud")
    error = caught.value
    assert isinstance(error, broader)
    assert isinstance(error, client.PorterError)
    assert (error.status, error.code, error.type) == (status, code, f"/problems/{code}")
    assert (error.detail, error.remedy, error.request_id) == ("cannot: why", "do this", "r1")
    assert error.members == {"plan": "p1"}
    assert len(script.seen) == 1


def test_an_answer_that_is_no_problem_is_an_error_all_the_same() -> None:
    with connect(Script(httpx.Response(418, text="<h1>tea</h1>"))) as api:
        with pytest.raises(client.Invalid, match="418"):
            api.hosts()
    for wrong in ("tea", "[1]", '{"id": "m1"}', json.dumps(MIGRATION | {"generation": "x"})):
        with connect(Script(httpx.Response(200, text=wrong))) as api:
            with pytest.raises(client.NotUnderstood):
                api.migration("m1")


def test_waiting_ends_with_the_move_or_with_the_time(pauses: list[float]) -> None:
    ended = MIGRATION | {"state": "succeeded", "finished_at": "2026-01-01T00:00:09.5+00:00"}
    moving = [httpx.Response(200, json=MIGRATION)] * 5
    with connect(Script(*moving, httpx.Response(200, json=ended))) as api:
        done = api.migrate("shop", "cloud", wait=60)
    assert (done.succeeded, done.ended) == (True, True)
    assert done.finished_at is not None
    assert done.finished_at.microsecond == 500_000
    pauses.clear()
    with connect(Script(*moving)) as api, pytest.raises(client.StillUnderWay) as caught:
        api.migrate("shop", "cloud", wait=5)
    assert caught.value.migration == "m1"
    assert sum(pauses) == pytest.approx(5)
    pauses.clear()
    with connect(Script(httpx.Response(200, json=MIGRATION | {"state": "held"}))) as api:
        assert api.migrate("shop", "cloud", wait=600).state == "held"
    assert 20 <= sum(pauses) <= 22


def test_waiting_outlasts_a_control_plane_that_is_away(pauses: list[float]) -> None:
    ended = httpx.Response(200, json=MIGRATION | {"state": "rolled_back"})
    with connect(Script(httpx.Response(202, json=MIGRATION), *[DOWN] * 30, ended)) as api:
        assert api.migrate("shop", "cloud", wait=600).state == "rolled_back"
    pauses.clear()
    with connect(Script(httpx.Response(202, json=MIGRATION), DOWN)) as api:
        with pytest.raises(client.Unreachable):
            api.migrate("shop", "cloud", wait=600)
    assert sum(pauses) > porter_module.PATIENCE_S
    with connect(Script(httpx.Response(202, json=MIGRATION), problem(404))) as api:
        with pytest.raises(client.NotFound):
            api.migrate("shop", "cloud", wait=600)


def stream(*numbers: int, retry: int = 1500) -> httpx.Response:
    lines = [": hello", "id: 40", f"retry: {retry}", ""]
    for number in numbers:
        told = {"id": str(number), "type": "io.porter.x", "source": "/v1", "data": {}}
        told |= {"time": "2026-01-01T00:00:00Z"}
        lines += [f"id: {number}", f"data: {json.dumps(told)}", ""]
    return httpx.Response(200, text="\n".join(lines) + "\n")


def test_a_stream_of_events_goes_on_where_it_broke_off(pauses: list[float]) -> None:
    script = Script(stream(), DOWN, stream(41, 42), problem(503), stream(43))
    with connect(script) as api:
        found = list(itertools.islice(api.events(type="x"), 3))
    assert [one.id for one in found] == ["41", "42", "43"]
    resumed = [request.headers.get("last-event-id") for request in script.seen]
    assert resumed == [None, "40", "40", "42", "42"]
    assert pauses == [1.5] * 4
    assert script.seen[0].url.params["type"] == "x"


def test_a_stream_gives_up_after_a_while(pauses: list[float]) -> None:
    with connect(Script(stream(), DOWN)) as api, pytest.raises(client.Unreachable):
        list(api.events())
    assert sum(pauses) > porter_module.PATIENCE_S


def test_tokens_come_from_where_they_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("from-file\n")
    script = Script(httpx.Response(200, json=[]))
    transport = httpx.MockTransport(script)
    monkeypatch.setenv("PORTER_API_TOKEN", "from-environment")
    for given in ({"token": "given"}, {"token_file": tmp_path / "token"}, {}):
        with Porter("http://porter.test", **given, transport=transport) as api:
            api.plans()
    heads = [request.headers["authorization"] for request in script.seen]
    assert heads == ["Bearer given", "Bearer from-file", "Bearer from-environment"]
    with pytest.raises(client.PorterError, match="cannot read the API token"):
        Porter("http://porter.test", token_file=tmp_path / "nothing")
    with pytest.raises(errors.Invalid):
        Porter("carrier-pigeon")


def test_names_lead_nowhere_else_and_prices_are_exact() -> None:
    script = Script(httpx.Response(200, json=MIGRATION))
    with connect(script) as api:
        api.migration("../hosts?x=1")
        assert script.seen[0].url.raw_path == b"/v1/migrations/..%2Fhosts%3Fx%3D1"
        with pytest.raises(errors.Invalid):
            api.workload("..")
        with pytest.raises(errors.Invalid):
            api.migrate("shop", "cloud", max_price=0.1)


def test_it_needs_httpx_only() -> None:
    """Nothing of Porter but the domain, and httpx with what that takes along."""
    words = "import sys, porter.client.__main__; print(*sys.modules)"
    root = Path(porter.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-P", "-c", words],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    rooms = {name.split(".")[1] for name in loaded if name.startswith("porter.")}
    assert rooms == {"client", "domain"}
    assert "httpx" in loaded
    assert not loaded & {"pydantic", "fastapi", "sqlalchemy", "celery", "cronsim"}
