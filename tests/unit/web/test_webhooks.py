"""/v1/webhooks: secrets are shown once, other projects' are not there, and URLs are judged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from porter.db import rows
from porter.db import tables as t
from porter.domain.identity import EVERYWHERE, Grant, Role
from porter.domain.webhook import Outcome
from porter.webhooks.courier import Courier
from tests.unit.web.conftest import Serving, served
from tests.unit.web.test_tokens import Person

HOOKS = "/v1/webhooks"
URL = "https://203.0.114.7/porter/secret-path"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with served(tmp_path_factory.mktemp("hooks")) as serving:
        yield serving


@pytest.fixture
def root(place: Serving) -> Iterator[httpx.Client]:
    with place.client() as client:
        yield client
        for one in client.get(HOOKS).json():
            client.delete(f"{HOOKS}/{one['id']}")


def add(client: httpx.Client, **more: Any) -> Any:
    answer = client.post(HOOKS, json={"url": URL, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def deliver(place: Serving, outcome: Outcome = Outcome(204)) -> list[dict[str, str]]:
    """What workers would send: (headers and body) of each attempt."""
    sent: list[dict[str, str]] = []

    def post(url: str, headers: Any, body: str) -> Outcome:
        sent.append({**headers, "url": url, "body": body})
        return outcome

    queue: list[str] = []
    now = time.time() + 10
    courier = Courier(
        place.control.deliveries, place.control.vault, lambda: now, queue.append, post
    )
    courier.sweep()
    for hook in queue:
        courier.deliver(hook)
    return sent


def happen(place: Serving, kind: str, project: str) -> None:
    with place.control.database.write() as c:
        rows.add_event(c, time.time(), kind, kind, project=project)


def test_the_secret_is_shown_once(place: Serving, root: httpx.Client) -> None:
    made = add(root, types=["io.porter.migration.", "proposal."])
    assert made["secret"].startswith("whsec_")
    assert made["types"] == ["migration.", "proposal."]
    assert made["url"] == URL
    path = f"{HOOKS}/{made['id']}"
    for answer in (root.get(HOOKS), root.get(path), root.post(f"{path}/disable")):
        assert "whsec_" not in answer.text
    turned = root.post(f"{path}/rotate", json={}).json()
    assert turned["secret"] not in (None, made["secret"])
    assert turned["rotated_at"] is not None
    with place.control.database.read() as c:
        kept = str([c.execute(sa.select(table)).all() for table in t.metadata.tables.values()])
    for secret in (made["secret"], turned["secret"]):
        assert secret not in kept
        assert secret.removeprefix("whsec_") not in kept


def test_both_secrets_sign_after_a_rotation(place: Serving, root: httpx.Client) -> None:
    made = add(root)
    path = f"{HOOKS}/{made['id']}"
    second = root.post(f"{path}/rotate", json={"grace": 3600}).json()["secret"]
    assert root.post(f"{path}/test").status_code == 202
    (sent,) = deliver(place)
    for secret in (made["secret"], second):
        Webhook(secret).verify(sent["body"], sent)
    third = root.post(f"{path}/rotate", json={"grace": 0}).json()["secret"]
    root.post(f"{path}/test")
    (sent,) = deliver(place)
    assert len(sent["webhook-signature"].split()) == 1
    Webhook(third).verify(sent["body"], sent)
    for wrong in (-1, 86401, "soon", False):
        assert root.post(f"{path}/rotate", json={"grace": wrong}).status_code == 422


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://203.0.114.7/", "it is not https"),
        ("https://127.0.0.1/", "it is this machine itself"),
        ("https://[::1]:8443/", "it is this machine itself"),
        ("https://169.254.169.254/latest/meta-data", "the metadata service of a cloud"),
        ("https://10.0.0.1/", "it is a private address"),
        ("https://localhost/", "it is this machine itself"),
        ("https://user:pw@203.0.114.7/", "it holds a user or password"),
        ("gopher://203.0.114.7/", "it is no URL like"),
    ],
)
def test_where_it_may_not_lead(root: httpx.Client, url: str, why: str) -> None:
    answer = root.post(HOOKS, json={"url": url})
    assert answer.status_code == 422
    assert "cannot send webhooks to" in answer.json()["detail"]
    assert why in answer.json()["detail"]
    assert root.get(HOOKS).json() == []


def test_what_another_project_has_is_not_there(place: Serving, root: httpx.Client) -> None:
    mine, theirs = add(root, project="shop"), add(root, project="bank")
    every = add(root, project=EVERYWHERE)
    happen(place, "secret", "bank")
    (event,) = {json.loads(one["body"])["id"] for one in deliver(place)}
    path = f"{HOOKS}/{theirs['id']}"
    with Person(place, Grant("shop", Role.ADMIN)).client() as admin:
        assert [one["id"] for one in admin.get(HOOKS).json()] == [mine["id"]]
        for hook in (theirs["id"], every["id"], "wh0"):
            known = f"{HOOKS}/{hook}"
            for method, target, body in (
                ("GET", known, None),
                ("DELETE", known, None),
                ("GET", f"{known}/deliveries", None),
                ("GET", f"{known}/deliveries/{event}", None),
                ("POST", f"{known}/enable", None),
                ("POST", f"{known}/disable", None),
                ("POST", f"{known}/test", None),
                ("POST", f"{known}/rotate", {}),
                ("POST", f"{known}/replay", {"event": int(event)}),
            ):
                answer = admin.request(method, target, json=body)
                assert answer.status_code == 404, (method, target, answer.text)
                assert answer.json()["detail"] == f"cannot find the webhook {hook!r}"
        # Nor is an event of theirs to be had through a webhook of one's own.
        answer = admin.post(f"{HOOKS}/{mine['id']}/replay", json={"event": int(event)})
        assert answer.status_code == 404
        for project in ("bank", EVERYWHERE):
            refused = admin.post(HOOKS, json={"url": URL, "project": project})
            assert refused.status_code == 403
    assert root.get(path).json()["disabled_at"] is None


def test_who_may_only_read_sees_the_log_and_no_path(place: Serving, root: httpx.Client) -> None:
    made = add(root, project="shop")
    for role in (Role.VIEWER, Role.OPERATOR, Role.APPROVER):
        with Person(place, Grant("shop", role)).client() as reader:
            (seen,) = reader.get(HOOKS).json()
            assert seen["url"] == "https://203.0.114.7"
            assert reader.get(f"{HOOKS}/{made['id']}/deliveries").json() == []
            assert reader.post(f"{HOOKS}/{made['id']}/test").status_code == 403
            assert reader.delete(f"{HOOKS}/{made['id']}").status_code == 403
            assert reader.post(HOOKS, json={"url": URL, "project": "shop"}).status_code == 403


def test_the_log_and_a_replay(place: Serving, root: httpx.Client) -> None:
    made = add(root, project="shop")
    for kind in ("one", "two", "three"):
        happen(place, kind, "shop")
    assert len(deliver(place, Outcome(400, "answered 400 Bad Request"))) == 3
    path = f"{HOOKS}/{made['id']}/deliveries"
    page = root.get(path, params={"limit": 2})
    assert [one["type"] for one in page.json()] == ["io.porter.three", "io.porter.two"]
    rest = root.get(page.links["next"]["url"]).json()
    assert [one["type"] for one in rest] == ["io.porter.one"]
    (one,) = rest
    assert (one["state"], one["status"], one["attempts"]) == ("pending", 400, 1)
    assert one["error"] == "answered 400 Bad Request"
    assert root.get(f"{path}/{one['event']}").json() == one
    assert root.get(path, params={"state": "delivered"}).json() == []
    assert root.get(path, params={"state": "lost"}).status_code == 422
    assert root.get(f"{path}/999999").status_code == 404
    replay = f"{HOOKS}/{made['id']}/replay"
    assert root.post(replay, json={"event": one["event"]}).json() == {"events": 1}
    assert root.post(replay, json={}).json() == {"events": 0}
    assert root.post(replay, json={"since": "2020-01-01T00:00:00Z"}).json() == {"events": 3}
    both = {"since": "2020-01-01T00:00:00Z", "event": one["event"]}
    for wrong in (both, {"event": 0}, {"since": "yesterday"}, {"all": True}):
        assert root.post(replay, json=wrong).status_code == 422
    assert [one["webhook-id"] for one in deliver(place)] == [
        one["id"] for one in root.get(path).json()[::-1]
    ]


def test_disabled_and_enabled(place: Serving, root: httpx.Client) -> None:
    hook = add(root, project="shop")["id"]
    path = f"{HOOKS}/{hook}"
    happen(place, "before", "shop")
    off = root.post(f"{path}/disable").json()
    assert off["reason"] == "root did so"
    assert root.post(f"{path}/disable").json() == off
    assert root.post(f"{path}/test").status_code == 409
    assert root.post(f"{path}/replay", json={}).status_code == 409
    assert deliver(place) == []
    on = root.post(f"{path}/enable").json()
    assert (on["disabled_at"], on["reason"]) == (None, "")
    assert root.post(f"{path}/enable").json() == on
    with place.control.database.read() as c:
        disabled = sa.and_(t.events.c.kind == "webhook.disabled", t.events.c.message.contains(hook))
        (told,) = c.execute(sa.select(t.events).where(disabled)).all()
    assert told.project == "shop"
    assert "to https://203.0.114.7 was disabled: root did so" in told.message
    assert "secret-path" not in str(told)


def test_a_dry_run_adds_nothing_and_asks_nobody(root: httpx.Client) -> None:
    answer = root.post(f"{HOOKS}?dry_run=true", json={"url": "https://hooks.invalid/in"})
    assert answer.status_code == 201
    assert answer.headers["Dry-Run"] == "true"
    assert root.get(HOOKS).json() == []
    assert root.post(HOOKS, json={"url": "https://hooks.invalid/in"}).status_code == 422


def test_not_too_many(root: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porter.db.webhooks.MOST", 2)
    for _ in range(2):
        add(root, project="crowd")
    answer = root.post(HOOKS, json={"url": URL, "project": "crowd"})
    assert answer.status_code == 409
    add(root, project="other")


def test_changes_are_in_the_audit_trail(root: httpx.Client) -> None:
    made = add(root, project="shop")
    root.post(f"{HOOKS}/{made['id']}/rotate", json={})
    found = root.get("/v1/audit", params={"project": "shop", "limit": 2}).json()
    assert [(one["action"], one["target"]) for one in found] == [
        ("POST /v1/webhooks/{webhook_id}/rotate", made["id"]),
        ("POST /v1/webhooks", made["id"]),
    ]
    assert "whsec_" not in json.dumps(found)
