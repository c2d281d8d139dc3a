"""The receiver of docs/events.md, as it stands there, against what Porter really sends."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.db.database import Database
from porter.db.happenings import SETTLE
from porter.webhooks.signing import seal, unseal
from tests.unit.webhooks.office import Office, Sent

PAGE = Path(__file__).parents[3] / "docs" / "events.md"
Receive = Callable[[dict[str, str], bytes], int]


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database, now=time.time())


class Documented:
    """What `handle` was given."""

    def __init__(self, secret: str, folder: Path) -> None:
        self.events: list[Any] = []
        self.broken = False
        (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        self.names = {
            "SECRET": secret,
            "FILE": folder / "seen.sqlite3",
            "handle": self.handle,
        }
        exec(compile(source, str(PAGE), "exec"), self.names)

    def handle(self, event: Any) -> None:
        if self.broken:
            raise RuntimeError("cannot handle it now")
        self.events.append(event)

    def receive(self, sent: Sent, **changes: str) -> int:
        body = changes.pop("body", sent.body)
        headers = {**sent.headers, **{name.replace("_", "-"): v for name, v in changes.items()}}
        receive: Receive = self.names["receive"]  # type: ignore[assignment]
        return receive(headers, body.encode())

    def close(self) -> None:
        self.names["seen"].close()  # type: ignore[attr-defined]


@pytest.fixture
def receiver(office: Office, tmp_path: Path) -> Iterator[Documented]:
    hook = office.hook()
    one = Documented(office.secrets[hook.id], tmp_path)
    yield one
    one.close()


@pytest.fixture
def sent(office: Office, receiver: Documented) -> Sent:
    office.happen("migration.succeeded", workload="shop", project="default")
    (sent,) = office.pass_on()
    return sent


def test_it_takes_what_porter_sends_once(receiver: Documented, sent: Sent) -> None:
    assert receiver.receive(sent) == 204
    assert receiver.receive(sent) == 204
    (event,) = receiver.events
    assert event["type"] == "io.porter.migration.succeeded"
    assert event == json.loads(sent.body)


def test_replayed_under_its_id_it_is_handled_no_second_time(
    office: Office, receiver: Documented, sent: Sent
) -> None:
    receiver.receive(sent)
    (hook,) = office.hooks.all()
    office.deliveries.replay_missed(hook.id, office.now)
    office.deliveries.replay_event(hook.id, office.log(hook)[0].event, office.now)
    office.now += 2
    (again,) = office.pass_on()
    assert again.id == sent.id
    assert again.headers["webhook-timestamp"] != sent.headers["webhook-timestamp"]
    assert receiver.receive(again) == 204
    assert len(receiver.events) == 1


def test_what_could_not_be_handled_is_handled_when_it_comes_again(
    receiver: Documented, sent: Sent
) -> None:
    receiver.broken = True
    with pytest.raises(RuntimeError):
        receiver.receive(sent)
    receiver.broken = False
    assert receiver.receive(sent) == 204
    assert len(receiver.events) == 1


def test_it_refuses_the_rest(receiver: Documented, sent: Sent) -> None:
    at = int(sent.headers["webhook-timestamp"])
    forged = "v1," + base64.b64encode(b"x" * 32).decode()
    for changes in (
        {"body": sent.body.replace("succeeded", "failed")},
        {"webhook_id": sent.id + "1"},
        {"webhook_timestamp": str(at + 1)},
        {"webhook_timestamp": "soon"},
        {"webhook_signature": forged},
        {"webhook_signature": sent.headers["webhook-signature"].replace("v1,", "v2,")},
        {"webhook_signature": "nonsense"},
        {"webhook_signature": "v1,*"},
        {"webhook_signature": ""},
    ):
        assert receiver.receive(sent, **changes) == 401, changes
    assert receiver.events == []
    assert receiver.receive(sent) == 204


@pytest.mark.parametrize("age", [301, 3600, -600])
def test_it_refuses_what_is_expired_or_of_the_future(
    office: Office, receiver: Documented, age: float
) -> None:
    office.happen("one")
    office.now -= age
    # Signed then, whenever it comes.
    with office.database.write() as c:
        c.exec_driver_sql("UPDATE events SET at = 0")
    (sent,) = office.pass_on()
    assert receiver.receive(sent) == 401


def test_it_refuses_what_another_webhook_signed(office: Office, receiver: Documented) -> None:
    mine, other = office.hooks.all()[0], office.hook()
    office.happen("one")
    office.pass_on(SETTLE)
    by = {one.url.rpartition("/")[2]: one for one in office.sent}
    assert receiver.receive(by[other.id]) == 401
    assert receiver.receive(by[other.id], webhook_id=by[mine.id].id) == 401
    assert receiver.receive(by[mine.id]) == 204


def test_it_takes_the_old_and_the_new_secret_while_both_sign(
    office: Office, receiver: Documented, tmp_path: Path
) -> None:
    (hook,) = office.hooks.all()
    turned = unseal(office.vault, hook.id, hook.sealed).rotated(office.now, 60)
    office.hooks.rotate(hook, seal(office.vault, hook.id, turned), office.now)
    (tmp_path / "new").mkdir()
    fresh = Documented(turned.current, tmp_path / "new")
    office.happen("one")
    (sent,) = office.pass_on()
    assert receiver.receive(sent) == fresh.receive(sent) == 204
    fresh.close()
