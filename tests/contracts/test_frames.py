"""What every `Frames` promises its sender. So far one: streams over TLS between agents."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from porter.agent.peer_client import DataStreams
from porter.agent.peer_tls import client_context, handshake, server_context
from porter.agent.peer_wire import Wire
from porter.domain.errors import PorterError, Transient
from tests.unit.agent.ca import Authority

STREAMS = 3
SENDERS = 5
EACH = 40


class Link:
    """Streams, and a reader at the other end of each that keeps what it got."""

    def __init__(self, place: Path) -> None:
        authority = Authority(place)
        self._client = client_context(authority.host("h-a"))
        self._server = server_context(authority.host("h-b"))
        self.got: list[tuple[int, bytes]] = []
        self.ended = 0
        self.reading = threading.Event()
        self.reading.set()
        self._lock = threading.Lock()
        self._far: list[Wire] = []
        self._readers: list[threading.Thread] = []
        self.frames = DataStreams([self._stream() for _ in range(STREAMS)])

    def _stream(self) -> Wire:
        near, far = socket.socketpair()
        thread = threading.Thread(target=self._read, args=(far,))
        thread.start()
        self._readers.append(thread)
        return Wire(handshake(self._client, near, "h-b"), "h-b")

    def _read(self, far: socket.socket) -> None:
        wire = Wire(handshake(self._server, far), "h-a")
        with self._lock:
            self._far.append(wire)
        try:
            while self.reading.wait(10):
                header, payload = wire.receive()
                with self._lock:
                    if header["t"] == "end":
                        self.ended += 1
                        return
                    self.got.append((header["n"], bytes(payload)))
        except PorterError:
            return  # the test broke it

    def break_one(self) -> None:
        self._far[0].cut()

    def close(self) -> None:
        self.reading.set()
        self.frames.close()
        for thread in self._readers:
            thread.join(10)
        for wire in self._far:
            wire.close()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    made = Link(tmp_path)
    yield made
    made.close()


def test_every_frame_arrives_once_and_whole(link: Link) -> None:
    def send(sender: int) -> None:
        for n in range(EACH):
            number = sender * EACH + n
            link.frames.send({"t": "chunk", "n": number}, bytes([number % 256]) * (n * 1000))

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join()
    link.frames.finish()
    link.close()
    assert link.ended == STREAMS
    assert sorted(link.got) == [
        (number, bytes([number % 256]) * (number % EACH * 1000)) for number in range(SENDERS * EACH)
    ]


def test_the_buffer_is_free_again_when_send_returns(link: Link) -> None:
    buffer = bytearray(100_000)
    for n in range(20):
        buffer[:] = bytes([n]) * len(buffer)
        link.frames.send({"t": "chunk", "n": n}, memoryview(buffer))
    link.frames.finish()
    link.close()
    assert all(set(payload) == {n} for n, payload in link.got)


def test_a_slow_reader_holds_the_sender_back(link: Link) -> None:
    link.reading.clear()
    sent = []

    def send() -> None:
        try:
            for n in range(1000):
                link.frames.send({"t": "chunk", "n": n}, bytes(1_000_000))
                sent.append(n)
        except PorterError:
            return  # closed at the end of the test

    thread = threading.Thread(target=send)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    assert len(sent) < 100
    link.frames.cut()
    thread.join(10)
    assert not thread.is_alive()


def test_a_broken_stream_is_an_error_for_everybody(link: Link) -> None:
    link.break_one()

    def send_much() -> None:
        for n in range(1000):
            link.frames.send({"t": "chunk", "n": n}, bytes(100_000))

    with pytest.raises(Transient):
        send_much()
    with pytest.raises(Transient):
        link.frames.send({"t": "chunk", "n": 1}, b"x")
    with pytest.raises(Transient):
        link.frames.finish()
