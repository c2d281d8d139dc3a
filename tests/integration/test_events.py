"""GET /v1/events: what the caller may read, each once, as a list and as a stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from porter.db import rows
from porter.db import tables as t
from porter.db.happenings import SETTLE, Happenings
from tests.unit.web.conftest import Serving, serving  # noqa: F401

STREAM = {"Accept": "text/event-stream"}


def happen(serving: Serving, kind: str, project: str = "", **more: Any) -> None:  # noqa: F811
    with serving.control.database.write() as c:
        rows.add_event(c, time.time(), kind, f"{kind} happened", project=project, **more)


def read(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """The stream's events. It has begun when this returns: what happens now is in it."""
    lines = answer.iter_lines()
    assert next(lines) == ": hello"
    return (json.loads(line[6:]) for line in lines if line.startswith("data: "))


def token(serving: Serving, project: str) -> str:  # noqa: F811
    asked = {"name": "ci", "project": project, "scopes": ["read"]}
    with serving.client() as api:
        answer = api.post("/v1/tokens", json=asked)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


def test_a_list_tells_events_in_their_order_from_a_number_on(serving: Serving) -> None:  # noqa: F811
    for kind in ("site", "migration.created", "migration.succeeded"):
        happen(serving, kind, migration="m1", request="r1")
    with serving.client() as api:
        found = api.get("/v1/events", params={"type": "io.porter.migration."}).json()
        assert [one["type"] for one in found] == [
            "io.porter.migration.created",
            "io.porter.migration.succeeded",
        ]
        assert found[0]["source"] == "/v1/migrations/m1"
        assert (found[0]["migration"], found[0]["requestid"]) == ("m1", "r1")
        assert found[0]["specversion"] == "1.0"
        later = api.get("/v1/events", params={"after": found[0]["id"], "limit": 1}).json()
        assert later == found[1:]


def test_a_stream_resumes_after_a_number_and_goes_on(serving: Serving) -> None:  # noqa: F811
    happen(serving, "one")
    happen(serving, "two")
    with serving.client() as api:
        first = api.get("/v1/events").json()[-2]
        headers = STREAM | {"Last-Event-ID": first["id"]}
        with api.stream("GET", "/v1/events", headers=headers) as answer:
            events = read(answer)
            assert next(events)["type"] == "io.porter.two"
            happen(serving, "three")
            assert next(events)["type"] == "io.porter.three"


def test_a_stream_that_breaks_before_its_first_event_misses_nothing(serving: Serving) -> None:  # noqa: F811
    happen(serving, "before")
    with serving.client() as api:
        with api.stream("GET", "/v1/events", headers=STREAM) as answer:
            lines = answer.iter_lines()
            assert next(lines) == ": hello"
            number = next(lines).removeprefix("id: ")
            assert next(lines).startswith("retry: ")
        happen(serving, "meanwhile")
        headers = STREAM | {"Last-Event-ID": number}
        with api.stream("GET", "/v1/events", headers=headers) as answer:
            assert next(read(answer))["type"] == "io.porter.meanwhile"


def test_signs_of_life_say_where_to_resume(
    serving: Serving,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("porter.web.api.happenings.SILENCE", 0.05)
    own = {"type": "wanted"}
    with serving.client() as api:
        with api.stream("GET", "/v1/events", params=own, headers=STREAM) as answer:
            lines = answer.iter_lines()
            assert next(lines) == ": hello"
            happen(serving, "unwanted")
            last = api.get("/v1/events").json()[-1]["id"]
            assert any(line == f"id: {last}" for line in lines)
            happen(serving, "wanted")
            first = next(line for line in lines if line.startswith("data: "))
            assert json.loads(first[6:])["type"] == "io.porter.wanted"


def test_a_token_of_one_project_hears_nothing_of_another(serving: Serving) -> None:  # noqa: F811
    own = token(serving, "shop")
    with serving.client(own) as api:
        with api.stream("GET", "/v1/events", headers=STREAM) as answer:
            events = read(answer)
            happen(serving, "secret", project="bank")
            happen(serving, "known", project="shop")
            happen(serving, "fleet")
            assert next(events)["type"] == "io.porter.known"
            assert next(events)["type"] == "io.porter.fleet"
        told = [one["type"] for one in api.get("/v1/events").json()]
        assert "io.porter.secret" not in told
        assert "io.porter.known" in told


def test_a_number_that_is_none_is_refused(serving: Serving) -> None:  # noqa: F811
    with serving.client() as api:
        for wrong in ("-1", "x", "9" * 30):
            answer = api.get("/v1/events", headers=STREAM | {"Last-Event-ID": wrong})
            assert answer.status_code == 422


def test_what_follows_a_gap_waits_until_the_gap_is_filled_or_old(serving: Serving) -> None:  # noqa: F811
    happenings, now = Happenings(serving.control.database), time.time()
    row = {"at": now, "workload": "", "message": "", "data": {}, "project": ""}
    with serving.control.database.write() as c:
        c.execute(sa.insert(t.events).values(id=1001, kind="a", **row | {"at": now - 60}))
        c.execute(sa.insert(t.events).values(id=1003, kind="c", **row))
    assert [one.id for one in happenings.settled(1000, now)] == [1001]
    assert happenings.newest(now) == 1001
    assert [one.id for one in happenings.settled(1000, now + SETTLE)] == [1001, 1003]
    with serving.control.database.write() as c:
        c.execute(sa.insert(t.events).values(id=1002, kind="b", **row))
    assert [one.id for one in happenings.settled(1000, now)] == [1001, 1002, 1003]


def test_a_stream_ends_soon_after_its_token_is_revoked(
    serving: Serving,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("porter.web.api.happenings.SILENCE", 0.05)
    monkeypatch.setattr("porter.web.api.happenings.ASK_AGAIN", 0.1)
    own = token(serving, "shop")
    with serving.client(own) as api, api.stream("GET", "/v1/events", headers=STREAM) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": hello"
        with serving.client() as admin:
            (known,) = admin.get("/v1/tokens").json()
            assert admin.delete(f"/v1/tokens/{known['id']}").status_code == 200
        rest = list(lines)  # comes to an end, or the test's time-out strikes
        assert not [line for line in rest if line.startswith("data:")]
