"""The embedded broker between several processes."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from porter.queues import broker

EXCHANGE = Exchange("q", "direct")
QUEUE = Queue("q", EXCHANGE, routing_key="q")


def connect(folder: Path) -> Connection:
    url, options = broker("filesystem://", folder)
    return Connection(url, transport_options=options)


def drain(folder: Path, wanted: int) -> list[Any]:
    got: list[Any] = []

    def take(body: Any, message: Any) -> None:
        got.append(body)
        message.ack()

    with connect(folder) as connection:
        with connection.Consumer(QUEUE, callbacks=[take], accept=["json"]):
            while len(got) < wanted:
                try:
                    connection.drain_events(timeout=2)
                except TimeoutError:
                    break
    return got


def put(folder: Path, first: int, count: int) -> None:
    with connect(folder) as connection:
        producer = connection.Producer()
        for number in range(first, first + count):
            producer.publish(number, exchange=EXCHANGE, routing_key="q", declare=[QUEUE])


def test_other_brokers_are_left_alone(tmp_path: Path) -> None:
    assert broker("amqp://guest@localhost//", tmp_path) == ("amqp://guest@localhost//", {})
    assert broker("redis://localhost/0", tmp_path) == ("redis://localhost/0", {})
    assert not list(tmp_path.iterdir())


def test_the_folder_may_be_named_in_the_url(tmp_path: Path) -> None:
    _, options = broker(f"filesystem://{tmp_path / 'elsewhere'}", tmp_path)
    assert options["data_folder_in"] == str(tmp_path / "elsewhere" / "messages")


def test_every_message_comes_once_and_whole(tmp_path: Path) -> None:
    """Four processes write while two threads read."""
    put(tmp_path, 0, 1)
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=put, args=(tmp_path, 1 + 50 * number, 50)) for number in range(4)
    ]
    got: list[list[Any]] = []
    readers = [
        threading.Thread(target=lambda: got.append(drain(tmp_path, 10_000))) for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert sorted(number for part in got for number in part) == list(range(201))
    assert not list((tmp_path / "messages").glob("*.msg"))
    assert not list((tmp_path / "messages").glob(".*.taken"))


@pytest.mark.parametrize("number", range(3))
def test_messages_keep_their_order(tmp_path: Path, number: int) -> None:
    put(tmp_path, number, 20)
    assert drain(tmp_path, 20) == list(range(number, number + 20))
