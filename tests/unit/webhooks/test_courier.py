"""Events become deliveries, in order and once; deliveries are sent until they arrive or are given
up. The proofs run on PostgreSQL, too."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from porter.db import tables as t
from porter.db.database import Database
from porter.db.deliveries import Deliveries
from porter.db.happenings import SETTLE
from porter.domain.errors import Conflict, Invalid, NotFound
from porter.domain.identity import EVERYWHERE, FLEET
from porter.domain.webhook import (
    DISABLED,
    FIRST,
    KEPT,
    LEAST,
    PATIENCE,
    PAUSES,
    TRIES,
    DeliveryState,
    Health,
    Outcome,
    judge,
    message_id,
)
from porter.webhooks.courier import AT_ONCE, MARGIN, PRUNE_EVERY, TURN
from porter.webhooks.post import SECONDS
from tests.unit.webhooks.office import BAD, GOOD, Office, Sent

LEASE = SECONDS + MARGIN
REJECTED = Outcome(400, "answered 400 Bad Request")


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database)


def kinds(sent: list[Sent]) -> list[str]:
    return [one.kind for one in sent]


def prove_selection(office: Office) -> None:
    """Each webhook gets its events, in their order, once. Also used with PostgreSQL."""
    office.happen("earlier")
    office.now += SETTLE
    hooks = {
        "shop": office.hook("shop"),
        "moves": office.hook("shop", ["migration.", "proposal."]),
        "bank": office.hook("bank"),
        "all": office.hook(EVERYWHERE),
    }
    office.happen("migration.created", "step", project="shop")
    office.happen("migration.created", project="bank")
    office.happen("site", project=FLEET)
    office.happen("migration.succeeded", project="shop")
    office.pass_on(SETTLE)
    got = {name: kinds(to(office, hook.id)) for name, hook in hooks.items()}
    assert got == {
        "shop": ["migration.created", "step", "migration.succeeded"],
        "moves": ["migration.created", "migration.succeeded"],
        "bank": ["migration.created"],
        "all": ["migration.created", "step", "migration.created", "site", "migration.succeeded"],
    }
    assert office.pass_on(3600) == []
    for sent in office.sent:
        hook = sent.url.rpartition("/")[2]
        event = int(sent.id.rpartition("-")[2])
        assert sent.id == message_id(hook, event)


def to(office: Office, hook: str) -> list[Sent]:
    return [one for one in office.sent if one.url.endswith(hook)]


def test_selection(office: Office) -> None:
    prove_selection(office)


def test_signed_with_its_own_secret(office: Office) -> None:
    hook = office.hook()
    office.hook()
    (number,) = office.happen("one")
    office.pass_on(SETTLE)
    mine, other = (to(office, one)[0] for one in office.secrets)
    signer = Webhook(office.secrets[hook.id])
    at = int(mine.headers["webhook-timestamp"])
    assert at == int(office.now)
    for sent, good in ((mine, True), (other, False)):
        expected = signer.sign(mine.id, datetime.fromtimestamp(at, UTC), mine.body)
        assert (expected in sent.headers["webhook-signature"].split()) is good
    assert f'"id":"{number}"' in mine.body


def test_what_follows_a_gap_waits(office: Office) -> None:
    office.happen("zero")
    office.now += SETTLE
    hook = office.hook()
    row = {"at": office.now, "workload": "", "message": "", "data": {}, "project": hook.project}
    begin = hook.cursor
    with office.database.write() as c:
        c.execute(sa.insert(t.events).values(id=begin + 2, kind="second", **row))
    assert office.pass_on() == []
    with office.database.write() as c:
        c.execute(sa.insert(t.events).values(id=begin + 1, kind="first", **row))
    assert kinds(office.pass_on()) == ["first", "second"]


def test_many_events_at_once(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porter.db.deliveries.CHUNK", 5)
    monkeypatch.setattr("porter.webhooks.courier.STRIDE", 3)
    hook = office.hook()
    office.happen(*[f"e{number}" for number in range(7)])
    office.now += SETTLE
    office.courier.sweep()
    assert len(office.log(hook)) == 5
    office.courier.sweep()
    assert len(office.log(hook)) == 7
    office.queue.clear()
    assert office.courier.deliver(hook.id) == 3
    # Others have their turn first.
    assert office.queue == [hook.id]
    office.pass_on()
    assert kinds(office.sent) == [f"e{number}" for number in range(7)]


def test_a_slow_receiver_has_its_turn_and_no_more(office: Office) -> None:
    hook = office.hook()
    office.happen("one", "two", "three")
    office.now += SETTLE
    office.courier.sweep()
    office.queue.clear()

    def answers(sent: Sent) -> Outcome:
        office.now += TURN * 0.6
        return GOOD

    office.answers = answers
    assert office.courier.deliver(hook.id) == 2
    assert office.queue == [hook.id]


def test_tries_until_it_is_given_up(office: Office) -> None:
    hook = office.hook()
    office.happen("one")
    office.answers = lambda sent: REJECTED
    assert len(office.pass_on(SETTLE)) == 1
    assert office.pass_on(FIRST - 0.1) == []
    for _ in range(TRIES - 1):
        (waiting,) = office.log(hook, DeliveryState.PENDING)
        assert waiting.next_at is not None
        assert len(office.pass_on(waiting.next_at - office.now)) == 1
    (failed,) = office.log(hook)
    assert (failed.state, failed.attempts, failed.status) == (DeliveryState.FAILED, TRIES, 400)
    assert failed.error == "answered 400 Bad Request"
    assert len({one.id for one in office.sent}) == 1
    assert len({one.body for one in office.sent}) == 1
    assert len({one.headers["webhook-timestamp"] for one in office.sent}) == TRIES
    assert office.pass_on(86400) == []


def test_an_event_that_is_rejected_holds_up_no_other(office: Office) -> None:
    office.hook()
    office.happen("bad", "good")
    office.answers = lambda sent: REJECTED if sent.kind == "bad" else GOOD
    assert kinds(office.pass_on(SETTLE)) == ["bad", "good"]
    assert kinds(office.pass_on(FIRST)) == ["bad"]


def test_a_receiver_that_is_down_is_left_alone_and_keeps_none_waiting(office: Office) -> None:
    down, up = office.hook(), office.hook()
    office.answers = lambda sent: BAD if sent.url == down.url else GOOD
    office.happen("one", "two", "three")
    office.pass_on(SETTLE)
    assert kinds(to(office, down.id)) == ["one"]
    assert kinds(to(office, up.id)) == ["one", "two", "three"]
    assert office.deliveries.due(office.now, 9) == []
    # It comes up: what waits is sent in its order.
    office.answers = lambda sent: GOOD
    office.sent.clear()
    office.pass_on(FIRST)
    assert kinds(office.sent) == ["one", "two", "three"]
    assert office.hooks.get(down.id).health.failures == 0


def test_webhooks_that_do_well_come_first(office: Office) -> None:
    down, up = office.hook(), office.hook()
    office.answers = lambda sent: BAD if sent.url == down.url else GOOD
    office.happen("one")
    office.pass_on(SETTLE)
    office.happen("two")
    office.now += SETTLE + FIRST
    office.courier.sweep()
    assert office.queue == [up.id, down.id]


def test_retry_after_is_honoured(office: Office) -> None:
    office.hook()
    office.happen("one")
    office.answers = lambda sent: Outcome(429, "answered 429", retry_after=100.0)
    office.pass_on(SETTLE)
    assert office.pass_on(99) == []
    assert len(office.pass_on(1)) == 1


def test_gone_disables_and_cancels(office: Office) -> None:
    hook, other = office.hook("shop"), office.hook("shop")
    office.answers = lambda sent: Outcome(410, "answered 410") if sent.url == hook.url else GOOD
    office.happen("one", "two", project="shop")
    office.pass_on(SETTLE)
    assert [one.state for one in office.log(hook)] == [
        DeliveryState.FAILED,
        DeliveryState.CANCELLED,
    ]
    known = office.hooks.get(hook.id)
    assert known.disabled == office.now
    assert "410" in known.reason
    # What Porter did by itself is an event of the project.
    told = office.pass_on(SETTLE)
    assert [(one.url, one.kind) for one in told] == [(other.url, DISABLED)]
    assert hook.id in told[0].body
    assert hook.url not in told[0].body


def test_only_failures_for_days_disable(office: Office) -> None:
    hook = office.hook()
    office.answers = lambda sent: BAD
    began = office.now
    for _ in range(100):
        office.happen("one")
        office.pass_on(PATIENCE / 12)
        if office.hooks.get(hook.id).disabled is not None:
            break
    known = office.hooks.get(hook.id)
    assert known.disabled is not None
    assert PATIENCE <= known.disabled - began <= PATIENCE + PATIENCE / 6
    assert known.reason == "nothing could be delivered for 5 days"
    assert known.health.failures >= LEAST
    # Enabled again it begins afresh, with what happens from then on.
    office.answers = lambda sent: GOOD
    office.now += SETTLE
    office.hooks.enable(hook.id, max(one.event for one in office.log(hook)) + 1)
    office.happen("fresh")
    assert kinds(office.pass_on(SETTLE)) == ["fresh"]


def test_a_disabled_one_gets_nothing(office: Office) -> None:
    hook = office.hook()
    office.happen("one")
    office.now += SETTLE
    office.courier.sweep()
    office.hooks.disable(hook.id, "ann did so", office.now)
    assert office.pass_on() == []
    office.happen("two")
    assert office.pass_on(SETTLE) == []
    assert [one.state for one in office.log(hook)] == [DeliveryState.CANCELLED]
    for change in (
        lambda: office.deliveries.replay_missed(hook.id, office.now),
        lambda: office.deliveries.replay_since(hook.id, 0, office.now),
        lambda: office.deliveries.test(hook.id, "ann", office.now),
    ):
        with pytest.raises(Conflict, match="it is disabled"):
            change()


def prove_leases(office: Office) -> None:
    """A worker that dies leaves its lease to run out; the same event comes again under the same id.
    Also used with PostgreSQL."""
    hook = office.hook()
    office.happen("one", "two")
    office.now += SETTLE
    office.courier.sweep()
    dead = Deliveries(office.database).claim(hook.id, office.now, LEASE)
    assert dead is not None
    # Doubled and late messages meanwhile: nothing is sent, also not the next event.
    assert office.another().deliver(hook.id) == 0
    assert office.pass_on(LEASE - 1) == []
    sent = office.pass_on(2)
    assert [one.id for one in sent] == [
        dead.delivery.id,
        message_id(hook.id, dead.delivery.event + 1),
    ]
    first, _ = office.log(hook)
    assert (first.attempts, first.state) == (2, DeliveryState.DELIVERED)
    # The dead one was only slow: what it says comes too late to count.
    verdict = judge(BAD, 1, Health(), office.now, 0.5)
    assert not office.deliveries.settle(dead, BAD, verdict, office.now)
    assert office.log(hook)[0].state is DeliveryState.DELIVERED
    assert office.hooks.get(hook.id).health.failures == 0


def test_leases(office: Office) -> None:
    prove_leases(office)


def prove_one_at_a_time(office: Office, workers: int = 4, events: int = 12) -> None:
    """Many workers, many messages, several webhooks: each event once, each webhook's in order and
    one at a time. Also used with PostgreSQL."""
    hooks = [office.hook() for _ in range(3)]
    office.happen(*[f"e{number}" for number in range(events)])
    office.now += SETTLE
    busy: dict[str, int] = {hook.url: 0 for hook in hooks}
    problems: list[str] = []
    lock = threading.Lock()

    def answers(sent: Sent) -> Outcome:
        with lock:
            busy[sent.url] += 1
            if busy[sent.url] > 1:
                problems.append(sent.url)
        with lock:
            busy[sent.url] -= 1
        return GOOD

    office.answers = answers
    couriers = [office.another() for _ in range(workers)]
    barrier = threading.Barrier(workers)

    def work(number: int) -> None:
        barrier.wait(30)
        couriers[number].sweep()
        for turn in range(len(hooks)):
            couriers[number].deliver(hooks[(number + turn) % len(hooks)].id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    office.pass_on()
    assert problems == []
    for hook in hooks:
        assert kinds(to(office, hook.id)) == [f"e{number}" for number in range(events)]


def test_one_at_a_time(office: Office) -> None:
    prove_one_at_a_time(office)


def test_few_threads_of_a_worker_wait_for_receivers(office: Office) -> None:
    hooks = [office.hook() for _ in range(AT_ONCE + 1)]
    office.happen("one")
    office.now += SETTLE
    office.courier.sweep()
    gate, begun = threading.Event(), threading.Semaphore(0)

    def answers(sent: Sent) -> Outcome:
        begun.release()
        gate.wait(30)
        return GOOD

    office.answers = answers
    threads = [
        threading.Thread(target=office.courier.deliver, args=(hook.id,)) for hook in hooks[:AT_ONCE]
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=30)
    assert office.courier.deliver(hooks[-1].id) == 0
    gate.set()
    for thread in threads:
        thread.join()
    assert office.courier.deliver(hooks[-1].id) == 1


def prove_replay(office: Office) -> None:
    """Also used with PostgreSQL."""
    hook, other = office.hook("shop"), office.hook("bank")
    early = office.now
    first, second = office.happen("one", "two", project="shop")
    office.now += 60
    (third,) = office.happen("three", project="shop")
    (foreign,) = office.happen("four", project="bank")
    office.pass_on(SETTLE)
    ids = {one.kind: one.id for one in to(office, hook.id)}

    def again(count: int, *expected: str) -> None:
        office.now += 60
        sent = office.pass_on()
        assert count == len(expected)
        assert [(one.kind, one.id) for one in sent] == [(kind, ids[kind]) for kind in expected]
        assert {one.headers["webhook-timestamp"] for one in sent} == {str(int(office.now))}

    replay = office.deliveries
    again(replay.replay_event(hook.id, first, office.now), "one")
    again(replay.replay_since(hook.id, early + 1, office.now), "three")
    again(replay.replay_since(hook.id, early, office.now), "one", "two", "three")
    assert [one.attempts for one in office.log(hook)] == [3, 2, 3]
    assert replay.replay_missed(hook.id, office.now) == 0
    # Another project's events are none of its.
    for wrong in (foreign, third + 1000):
        with pytest.raises(NotFound, match="none of this webhook's"):
            replay.replay_event(hook.id, wrong, office.now)
    assert kinds(to(office, other.id)) == ["four"]
    assert second == first + 1


def test_replay(office: Office) -> None:
    prove_replay(office)


def test_a_replay_of_what_was_given_up(office: Office) -> None:
    hook = office.hook()
    office.happen("one")
    office.answers = lambda sent: BAD
    office.pass_on(SETTLE)
    with office.database.write() as c:
        c.execute(sa.update(t.deliveries).values(tries=TRIES - 1))
    office.pass_on(PAUSES)
    assert [one.state for one in office.log(hook)] == [DeliveryState.FAILED]
    office.answers = lambda sent: GOOD
    assert office.deliveries.replay_missed(hook.id, office.now) == 1
    assert kinds(office.pass_on()) == ["one"]
    (done,) = office.log(hook)
    assert (done.state, done.attempts, done.tries) == (DeliveryState.DELIVERED, 3, 1)


def test_a_replay_during_an_attempt_counts(office: Office) -> None:
    hook = office.hook()
    (event,) = office.happen("one")

    def answers(sent: Sent) -> Outcome:
        if len(office.sent) == 1:
            office.deliveries.replay_event(hook.id, event, office.now)
        return GOOD

    office.answers = answers
    assert kinds(office.pass_on(SETTLE)) == ["one", "one"]
    assert [one.state for one in office.log(hook)] == [DeliveryState.DELIVERED]


def test_a_replay_of_very_much_is_refused(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("porter.db.deliveries.MOST_REPLAYED", 2)
    hook = office.hook()
    office.happen("one", "two", "three")
    office.pass_on(SETTLE)
    with pytest.raises(Invalid, match="cannot replay 3 events at once"):
        office.deliveries.replay_since(hook.id, 0, office.now)


def test_a_test_goes_to_one_webhook_only(office: Office) -> None:
    hook, _ = office.hook(types=["migration."]), office.hook()
    office.hook(EVERYWHERE)
    made = office.deliveries.test(hook.id, "ann", office.now)
    assert made.kind == "webhook.test"
    (sent,) = office.pass_on(SETTLE)
    assert sent.url == hook.url
    assert office.deliveries.get(hook.id, made.event).state is DeliveryState.DELIVERED


def test_removed_while_it_is_sent(office: Office) -> None:
    hook = office.hook()
    office.happen("one", "two")

    def answers(sent: Sent) -> Outcome:
        office.hooks.remove(hook.id)
        return GOOD

    office.answers = answers
    assert kinds(office.pass_on(SETTLE)) == ["one"]
    assert office.log(hook) == []


def test_disabled_while_it_is_sent(office: Office) -> None:
    hook = office.hook()
    office.happen("one", "two")

    def answers(sent: Sent) -> Outcome:
        office.hooks.disable(hook.id, "ann did so", office.now)
        return GOOD

    office.answers = answers
    assert kinds(office.pass_on(SETTLE)) == ["one"]
    assert {one.state for one in office.log(hook)} == {DeliveryState.CANCELLED}


def test_no_session_is_open_while_something_is_sent(office: Office) -> None:
    office.hook()
    office.happen("one")
    seen: list[int] = []

    def answers(sent: Sent) -> Outcome:
        seen.append(office.database.engine.pool.checkedout())  # type: ignore[attr-defined]
        return GOOD

    office.answers = answers
    office.pass_on(SETTLE)
    assert seen == [0]


def test_old_deliveries_are_forgotten(office: Office) -> None:
    hook = office.hook()
    office.happen("one")
    office.pass_on(SETTLE)
    office.happen("two")
    office.pass_on(KEPT - PRUNE_EVERY)
    assert len(office.log(hook)) == 2
    office.pass_on(2 * PRUNE_EVERY)
    assert [one.kind for one in office.log(hook)] == ["two"]


def test_secrets_sealed_with_another_key_fail_the_delivery(office: Office) -> None:
    hook = office.hook()
    office.happen("one")
    with office.database.write() as c:
        c.execute(sa.update(t.webhooks).values(sealed="v1:AAAA"))
    assert office.pass_on(SETTLE) == []
    (waiting,) = office.log(hook)
    assert waiting.state is DeliveryState.PENDING
    assert "sealed with another key" in waiting.error


def test_what_breaks_unexpectedly_comes_to_an_end(office: Office) -> None:
    hook = office.hook()
    office.happen("one")

    def broken(sent: Sent) -> Outcome:
        raise KeyError("a bug")

    office.answers = broken
    office.pass_on(SETTLE)
    (waiting,) = office.log(hook)
    assert (waiting.error, waiting.tries) == ("internal error (KeyError)", 1)
    assert waiting.next_at == office.now + FIRST


def test_any_text_of_an_event_can_be_sent(office: Office) -> None:
    office.hook()
    office.happen("one", data={"text": "grün \ud800 \u0000 \u2028"})
    (sent,) = office.pass_on(SETTLE)
    assert json.loads(sent.body)["data"]["data"]["text"] == "grün \ud800 \u0000 \u2028"
    assert sent.body.isascii()


def test_the_log_is_read_in_pages(office: Office) -> None:
    hook = office.hook()
    numbers = office.happen(*["one"] * 7)
    office.pass_on(SETTLE)
    found, after = list[int](), None
    while True:
        page = office.deliveries.page(hook.id, 3, after)
        found += [one.event for one in page.items]
        if page.next is None:
            break
        after = int(page.next[0])
    assert found == numbers[::-1]
    assert office.deliveries.page(hook.id, 3, state=DeliveryState.FAILED).items == []
