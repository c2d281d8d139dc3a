"""Byte streams through a store: what TCP promises is kept, and nothing is left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from porter.domain.errors import Conflict, Transient
from porter.pki import open_authority
from porter.store.base import Blobs
from porter.store.directory import DirectoryBlobs
from porter.store.memory import MemoryBlobs
from porter.store.segments import Flag, Pace, Segment, pack, unpack
from porter.store.tunnel import listen, serve
from tests.contracts.store_contracts import by_tickets
from tests.unit.store.hosts import make_host

pytestmark = pytest.mark.integration
QUICK = Pace(longest=0.05, beat=0.3, dead=3)
MB = 1_000_000


class Service:
    """A TCP server on a port of its own; each connection is handled in a thread."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self._handle = handle
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.errors: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._server.accept()
                threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        with sock:
            try:
                self._handle(sock)
            except OSError as error:
                self.errors.append(type(error).__name__)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@contextlib.contextmanager
def tunnel(
    near: Blobs, far: Blobs, handle: Callable[[socket.socket], None], pace: Pace = QUICK
) -> Iterator[tuple[int, Service]]:
    """Both ends in this process; at the end nothing may be left in the store."""
    service, stop = Service(handle), threading.Event()

    def dial() -> socket.socket:
        return socket.create_connection(("127.0.0.1", service.port))

    thread = threading.Thread(target=serve, args=(far, "t", dial, stop, pace))
    thread.start()
    try:
        with listen(near, "t", pace) as listener:
            yield listener.port, service
    finally:
        stop.set()
        thread.join(30)
        service.close()
    assert not thread.is_alive()
    assert [blob.key for blob in near.list("t/")] == []


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.settimeout(60)
    return sock


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def echo(sock: socket.socket) -> None:
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def answer_at_the_end(sock: socket.socket) -> None:
    """Says nothing before the other side has said all."""
    sock.sendall(hashlib.sha256(read_all(sock)).digest())


class Chancy(MemoryBlobs):
    """Now and then a call fails, before or after it did its work."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self._chance, self._dice = chance, random.Random(1)

    def put(self, key: str, data: bytes) -> None:
        self._fail()
        super().put(key, data)
        self._fail()

    def get(self, key: str) -> bytes:
        self._fail()
        return super().get(key)

    def remove(self, key: str) -> None:
        self._fail()
        super().remove(key)

    def _fail(self) -> None:
        if self._dice.random() < self._chance:
            raise Transient("cannot: the store says no")


def test_every_small_message_is_answered_soon() -> None:
    blobs = MemoryBlobs()
    with tunnel(blobs, blobs, echo) as (port, _), connect(port) as sock:
        began = time.monotonic()
        for n in range(50):
            sock.sendall(b"message %d" % n)
            assert sock.recv(100) == b"message %d" % n
        assert time.monotonic() - began < 10


def test_half_closed() -> None:
    blobs, data = MemoryBlobs(), os.urandom(MB)
    with tunnel(blobs, blobs, answer_at_the_end) as (port, _), connect(port) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == hashlib.sha256(data).digest()


def test_the_far_side_may_end_first() -> None:
    blobs = MemoryBlobs()

    def speak_then_listen(sock: socket.socket) -> None:
        sock.sendall(b"that is all")
        sock.shutdown(socket.SHUT_WR)
        heard.append(read_all(sock))
        done.set()

    heard: list[bytes] = []
    done = threading.Event()
    with tunnel(blobs, blobs, speak_then_listen) as (port, _), connect(port) as sock:
        assert read_all(sock) == b"that is all"
        sock.sendall(b"and this is my answer")
        sock.shutdown(socket.SHUT_WR)
        assert done.wait(20)
    assert heard == [b"and this is my answer"]


def swap(sock: socket.socket, size: int, seed: int) -> tuple[bytes, float]:
    """Send so much and receive as much at the same time; digest of what came, and the seconds."""
    began = time.monotonic()
    sender = threading.Thread(target=pour, args=(sock, size, seed))
    sender.start()
    digest, left = hashlib.sha256(), size
    while left:
        part = sock.recv(1 << 20)
        assert part, "the stream ended early"
        digest.update(part)
        left -= len(part)
    sender.join()
    return digest.digest(), time.monotonic() - began


def pour(sock: socket.socket, size: int, seed: int) -> None:
    block = random.Random(seed).randbytes(MB)
    for n in range(size // MB):
        sock.sendall(block[n:] + block[:n])


def poured(size: int, seed: int) -> bytes:
    block, digest = random.Random(seed).randbytes(MB), hashlib.sha256()
    for n in range(size // MB):
        digest.update(block[n:] + block[:n])
    return digest.digest()


@pytest.mark.parametrize("tickets", [False, True], ids=["directory", "tickets"])
def test_much_both_ways(tmp_path: Path, tickets: bool, capsys: pytest.CaptureFixture[str]) -> None:
    size = 200 * MB
    store = DirectoryBlobs(tmp_path, durable=False)
    ends: list[Blobs] = [by_tickets(store) if tickets else store for _ in range(2)]
    far: list[bytes] = []

    def handle(sock: socket.socket) -> None:
        far.append(swap(sock, size, 2)[0])

    with tunnel(ends[0], ends[1], handle, Pace()) as (port, _), connect(port) as sock:
        near, seconds = swap(sock, size, 1)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
    assert near == poured(size, 2)
    assert far == [poured(size, 1)]
    with capsys.disabled():
        print(f"\ntunnel, {ends[0].__class__.__name__}: {size / seconds / MB:.0f} MB/s each way")


def test_many_at_once() -> None:
    blobs = MemoryBlobs()
    with tunnel(blobs, blobs, answer_at_the_end) as (port, _):

        def run(n: int) -> None:
            data = random.Random(n).randbytes(n * 40_000)
            with connect(port) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                if read_all(sock) == hashlib.sha256(data).digest():
                    good.append(n)

        good: list[int] = []
        threads = [threading.Thread(target=run, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(good) == list(range(16))


def test_a_failing_store_loses_nothing() -> None:
    blobs, size = Chancy(0.15), 20 * MB

    def handle(sock: socket.socket) -> None:
        swap(sock, size, 2)

    service, stop = Service(handle), threading.Event()

    def dial() -> socket.socket:
        return socket.create_connection(("127.0.0.1", service.port))

    thread = threading.Thread(target=serve, args=(blobs, "t", dial, stop, QUICK))
    thread.start()
    with listen(blobs, "t", QUICK) as listener, connect(listener.port) as sock:
        assert swap(sock, size, 1)[0] == poured(size, 2)
    stop.set()
    thread.join(30)
    service.close()
    assert not service.errors


def test_a_slow_reader_bounds_what_is_in_the_store() -> None:
    blobs, go = MemoryBlobs(), threading.Event()
    most = [0]

    def wait_then_read(sock: socket.socket) -> None:
        assert go.wait(30)
        answer_at_the_end(sock)

    with tunnel(blobs, blobs, wait_then_read) as (port, _), connect(port) as sock:
        sender = threading.Thread(target=pour, args=(sock, 300 * MB, 1))
        sender.start()
        quiet = 0
        while quiet < 10:  # Until no more fits.
            size = sum(blob.size for blob in blobs.list("t/"))
            quiet = quiet + 1 if size <= most[0] else 0
            most[0] = max(most[0], size)
            time.sleep(0.1)
        assert sender.is_alive()
        go.set()
        sender.join(60)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == poured(300 * MB, 1)
    assert most[0] < 36 * (4 << 20)


def test_a_broken_connection_breaks_on_the_other_side() -> None:
    blobs = MemoryBlobs()

    def hang_up(sock: socket.socket) -> None:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with tunnel(blobs, blobs, hang_up) as (port, _), connect(port) as sock:
        sock.sendall(b"hello")
        with pytest.raises(ConnectionResetError):
            read_all(sock)


def test_a_port_that_nobody_serves_breaks_that_connection_only() -> None:
    blobs = MemoryBlobs()
    refuse = [True]

    def dial() -> socket.socket:
        if refuse.pop():
            raise ConnectionRefusedError(111, "refused")
        return socket.create_connection(("127.0.0.1", service.port))

    service, stop = Service(echo), threading.Event()
    thread = threading.Thread(target=serve, args=(blobs, "t", dial, stop, QUICK))
    thread.start()
    with listen(blobs, "t", QUICK) as listener:
        with connect(listener.port) as sock, pytest.raises(ConnectionResetError):
            read_all(sock)
        refuse.append(False)
        with connect(listener.port) as sock:
            sock.sendall(b"hello")
            assert sock.recv(5) == b"hello"
    stop.set()
    thread.join(30)
    service.close()
    assert list(blobs.list("")) == []


def test_an_idle_connection_costs_little_and_lives() -> None:
    calls: list[str] = []

    class Counting(MemoryBlobs):
        def put(self, key: str, data: bytes) -> None:
            calls.append("put")
            super().put(key, data)

        def get(self, key: str) -> bytes:
            calls.append("get")
            return super().get(key)

    blobs, pace = Counting(), Pace(beat=1, dead=3)
    with tunnel(blobs, blobs, echo, pace) as (port, _), connect(port) as sock:
        sock.sendall(b"1")
        assert sock.recv(1) == b"1"
        time.sleep(2)  # Until it is idle.
        calls.clear()
        time.sleep(4)  # Longer than a dead peer would be waited for.
        assert calls.count("put") <= 10
        assert calls.count("get") <= 4 * 3 * 6 + 10
        sock.sendall(b"2")
        assert sock.recv(1) == b"2"


FAR = """
import socket, sys, threading
from pathlib import Path
from porter.store.directory import DirectoryBlobs
from porter.store.segments import Pace
from porter.store.tunnel import serve
port = int(sys.argv[2])
serve(DirectoryBlobs(Path(sys.argv[1]), False), "t",
      lambda: socket.create_connection(("127.0.0.1", port)), threading.Event(),
      Pace(longest=0.05, beat=0.3, dead=2))
"""


def test_a_killed_peer_is_noticed(tmp_path: Path) -> None:
    service, blobs = Service(echo), DirectoryBlobs(tmp_path, durable=False)
    far = subprocess.Popen([sys.executable, "-c", FAR, str(tmp_path), str(service.port)])
    try:
        with listen(blobs, "t", Pace(longest=0.05, beat=0.3, dead=2)) as listener:
            with connect(listener.port) as sock:
                sock.sendall(b"x" * MB)
                got = 0
                while got < MB:
                    got += len(sock.recv(1 << 16))
                far.kill()
                far.wait()
                began = time.monotonic()
                with pytest.raises(ConnectionResetError):
                    read_all(sock)
                assert 1 < time.monotonic() - began < 8
    finally:
        far.kill()
        far.wait()
        service.close()
    assert list(blobs.list("")) == []


def test_mutual_tls_runs_through(tmp_path: Path) -> None:
    """As the agents speak it: both sides know the other by its certificate."""
    authority = open_authority(tmp_path / "ca")
    contexts = []
    for side, protocol in (
        ("near", ssl.PROTOCOL_TLS_CLIENT),
        ("far", ssl.PROTOCOL_TLS_SERVER),
    ):
        host = make_host(tmp_path, side)
        (tmp_path / f"{side}.key").write_bytes(host.pem)
        (tmp_path / f"{side}.crt").write_text(host.certificate)
        context = ssl.SSLContext(protocol)
        context.load_cert_chain(tmp_path / f"{side}.crt", tmp_path / f"{side}.key")
        context.load_verify_locations(cadata=authority.pem)
        context.verify_mode = ssl.CERT_REQUIRED
        contexts.append(context)
    near, far = contexts

    def handle(sock: socket.socket) -> None:
        with far.wrap_socket(sock, server_side=True) as secure:
            peers.append(str(secure.getpeercert()))
            swap(secure, 5 * MB, 2)

    peers: list[str] = []
    blobs = MemoryBlobs()
    with tunnel(blobs, blobs, handle) as (port, service), connect(port) as sock:
        with near.wrap_socket(sock, server_hostname="far") as secure:
            assert swap(secure, 5 * MB, 1)[0] == poured(5 * MB, 2)
            assert read_all(secure) == b""
    assert "near" in peers[0]
    assert not service.errors


def test_a_tunnel_needs_a_place_of_its_own() -> None:
    blobs = MemoryBlobs()
    blobs.put("t/1", b"")
    with pytest.raises(Conflict):
        listen(blobs, "t")


def test_a_segment_is_of_its_place() -> None:
    blob = pack("t/0/up/1", Segment(Flag.FIN, 7, b"data"))
    assert unpack("t/0/up/1", blob) == Segment(Flag.FIN, 7, b"data")
    for key, other in (
        ("t/0/up/2", blob),
        ("t/0/up/1", blob[:-1]),
        ("t/0/up/1", blob[:5]),
        ("t/0/up/1", bytes([blob[0] ^ 1]) + blob[1:]),
    ):
        with pytest.raises(Exception, match="cannot read"):
            unpack(key, other)
