"""What every request passes before its route: keys, conditions, dry runs, waiting, limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from porter.db.answers import LEASE_S, Answers
from porter.db.database import Database
from porter.web.limiting import RateLimit, limit_of
from porter.web.waiting import seconds
from tests.schema import upgrade
from tests.unit.web.conftest import Serving
from tests.unit.web.test_api import Cloud, NewAgent, refused


@pytest.fixture
def api(serving: Serving) -> Iterator[httpx.Client]:
    with serving.client() as client:
        yield client


@pytest.fixture
def cloud(serving: Serving, new_agent: NewAgent) -> Cloud:
    object.__setattr__(serving.control.engine, "_queue", serving.queue)
    return Cloud(serving, new_agent)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'answers.sqlite3'}")
    upgrade(database)
    yield database
    database.close()


def test_one_key_is_one_answer(api: httpx.Client, serving: Serving) -> None:
    key = {"Idempotency-Key": "k1"}
    body = {"ttl": 60}
    first = api.post("/v1/join-tokens", json=body, headers=key)
    again = api.post("/v1/join-tokens", json=body, headers=key)
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    other = api.post("/v1/join-tokens", json={"ttl": 61}, headers=key)
    refused(other, 409, "another request")
    refused(api.post("/v1/sites", json=body, headers=key), 409, "another request")
    long = {"Idempotency-Key": "k" * 256}
    refused(api.post("/v1/join-tokens", json=body, headers=long), 422, "Idempotency-Key")
    # The secret that was shown is nowhere to be read.
    with serving.control.database.read() as c:
        rows = c.exec_driver_sql("SELECT body FROM answers").scalars().all()
    assert rows
    assert first.json()["token"].encode() not in b"".join(rows)


def test_a_key_at_work_and_one_whose_request_crashed(database: Database) -> None:
    answers, now = Answers(database), 1000.0
    assert answers.begin("u1", "k", "h", now) is None
    there = answers.begin("u1", "k", "h", now + 1)
    assert there is not None
    assert there.status is None
    assert answers.begin("u2", "k", "h", now + 1) is None, "a key is one principal's"
    assert answers.renew("u1", "k", now, now + 20)
    assert answers.begin("u1", "k", "h", now + LEASE_S + 1) is not None, "it was renewed"
    late = now + 20 + LEASE_S + 1
    assert answers.begin("u1", "k", "h2", late) is None, "the lease is over"
    assert not answers.keep("u1", "k", now + 20, 201, {}, b"theirs"), "too late"
    assert answers.keep("u1", "k", late, 201, {"a": "b"}, b"ours")
    kept = answers.begin("u1", "k", "h2", late + 10_000)
    assert kept is not None
    assert (kept.status, kept.headers, kept.body) == (201, {"a": "b"}, b"ours")
    assert answers.begin("u1", "k", "h3", late + 24 * 3600 + 1) is None, "kept for a day"
    answers.drop("u1", "k", late + 24 * 3600 + 1)
    assert answers.begin("u1", "k", "h4", late + 24 * 3600 + 2) is None


def test_tags_and_conditions(api: httpx.Client, cloud: Cloud) -> None:
    answer = api.get("/v1/workloads/shop")
    tag = answer.headers["etag"]
    same = api.get("/v1/workloads/shop", headers={"If-None-Match": f'"x", {tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    put = "/v1/workloads/shop/endpoints"
    body: dict[str, list[str]] = {"endpoints": []}
    stale = api.put(put, json=body, headers={"If-Match": '"x"'})
    assert refused(stale, 412, "condition")["type"] == "/problems/precondition_failed"
    assert stale.headers["etag"] == tag
    assert api.put(put, json=body, headers={"If-Match": tag}).status_code == 200
    missing = api.delete("/v1/sites/nowhere", headers={"If-Match": tag})
    refused(missing, 404, "nowhere")
    refused(api.delete("/v1/hosts/cloud", headers={"If-Match": '"x"'}), 412, "condition")
    assert api.get("/v1/hosts/cloud").status_code == 200


def test_a_dry_run_changes_nothing(api: httpx.Client, cloud: Cloud) -> None:
    control = cloud.serving.control
    dry = {"dry_run": "true"}
    move = {"workload": "shop", "to": "cloud"}
    answer = api.post("/v1/migrations", json=move, params=dry)
    assert (answer.status_code, answer.headers["dry-run"]) == (202, "true")
    told = answer.json()
    assert (told["from"], told["to"], told["state"]) == ("onprem", "cloud", "pending")
    assert [step["kind"] for step in told["steps"]][:2] == ["preflight", "reserve"]
    assert told["plan"]["from"] == "onprem"
    assert control.moves.active() == {}
    refused(api.get(f"/v1/migrations/{told['id']}"), 404, told["id"])
    again = api.post("/v1/migrations", json=move | {"to": "onprem"}, params=dry)
    refused(again, 409, "already")
    refused(api.post("/v1/migrations", json=move, params={"dry_run": "si"}), 422, "dry_run")
    site = {"name": "lab2", "kind": "onprem"}
    assert api.post("/v1/sites", json=site, params=dry).status_code == 201
    refused(api.get("/v1/sites/lab2"), 404, "lab2")
    assert api.delete("/v1/hosts/cloud", params=dry).status_code == 204
    assert api.get("/v1/hosts/cloud").status_code == 200
    # A dry run keeps nothing under a key, and does not stand in the way of the real one.
    key = {"Idempotency-Key": "k"}
    api.post("/v1/migrations", json=move, params=dry, headers=key)
    real = api.post("/v1/migrations", json=move, headers=key)
    assert real.status_code == 202
    assert control.moves.active() == {"shop": real.json()["id"]}


def test_waiting_for_the_end(api: httpx.Client, cloud: Cloud) -> None:
    move = {"workload": "shop", "to": "cloud"}
    found: list[httpx.Response] = []

    def ask() -> None:
        with cloud.serving.client() as client:
            wish = {"Prefer": "respond-async, wait=20", "Idempotency-Key": "w"}
            found.append(client.post("/v1/migrations", json=move, headers=wish))

    asking = threading.Thread(target=ask)
    asking.start()
    cloud.work_until(lambda: bool(cloud.serving.queue.enqueued) or bool(found))
    busy = api.post(
        "/v1/migrations", json=move, headers={"Prefer": "wait=20", "Idempotency-Key": "w"}
    )
    refused(busy, 409, "at work")
    assert busy.headers["retry-after"] == "1"
    cloud.work_until(lambda: bool(found))
    asking.join(10)
    (answer,) = found
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=20")
    assert answer.json()["state"] == "succeeded"
    began = time.monotonic()
    cloud.beat()
    back = api.post("/v1/migrations", json=move | {"to": "onprem"}, headers={"Prefer": "wait=1"})
    assert time.monotonic() - began >= 1
    assert (back.status_code, back.headers["preference-applied"]) == (202, "wait=1")
    assert back.json()["state"] in ("pending", "running")


def test_how_long_one_would_wait() -> None:
    def asked(field: str) -> int | None:
        return seconds({"type": "http", "headers": [(b"prefer", field.encode())]})

    assert asked("wait=5") == 5
    assert asked('respond-async; foo="bar", Wait = "7"; x') == 7
    assert asked("wait=999") == 60
    assert asked("wait=-1") is asked("wait=soon") is asked("await=3") is None


def test_so_many_requests_and_no_more() -> None:
    import anyio
    from starlette.responses import Response

    from porter.domain.identity import root

    app = RateLimit(Response("fine"), limit_of("2/minute"), "/v1")

    async def status(who: str, path: str = "/v1/hosts") -> tuple[int, dict[str, str]]:
        sent = []

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = {"type": "http", "path": path, "state": {"principal": root(who)}, "headers": []}
        await app(scope, None, send)  # type: ignore[arg-type]
        headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}  # type: ignore[attr-defined]
        return int(sent[0]["status"]), headers  # type: ignore[call-overload]

    async def check() -> None:
        code, headers = await status("a")
        assert (code, headers["ratelimit-policy"]) == (200, '"principal";q=2;w=60')
        assert headers["ratelimit"].startswith('"principal";r=1;t=')
        assert (await status("a"))[0] == 200
        code, headers = await status("a")
        assert code == 429
        assert 1 <= int(headers["retry-after"]) <= 120
        assert (await status("b"))[0] == 200, "another principal has its own"
        assert (await status("a", "/healthz"))[0] == 200

    anyio.run(check)


def test_every_problem_has_a_page(api: httpx.Client) -> None:
    found = api.get("/v1/hosts/nobody", headers={"X-Request-Id": "r-7"})
    told = refused(found, 404, "nobody")
    assert (told["type"], told["request_id"]) == ("/problems/not_found", "r-7")
    page = api.get(told["type"])
    assert page.status_code == 200
    assert page.json()["code"] == "not_found"
    every = api.get("/problems").json()
    assert {"conflict", "denied", "too_many_requests", "internal"} <= {one["code"] for one in every}
    refused(api.get("/problems/none"), 404, "none")
