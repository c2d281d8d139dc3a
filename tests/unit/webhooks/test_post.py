"""One attempt against real sockets on loopback."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from porter.domain.webhook import Outcome
from porter.pki import open_authority
from porter.settings import load
from porter.web.tls import server_context
from porter.webhooks import post as module
from porter.webhooks.guard import Allow, allowing
from porter.webhooks.post import MEDIA_TYPE, MOST_READ, post
from tests.unit.webhooks.receivers import Receiver, receiving

HERE = allowing(["127.0.0.0/8"])
HEADERS = {"webhook-id": "wh1-7"}
BODY = '{"id": "7", "data": "grün"}'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def test_what_is_sent(receiver: Receiver) -> None:
    assert post(receiver.url, HEADERS, BODY, HERE) == Outcome(204)
    (got,) = receiver.got
    assert got.body == BODY.encode()
    assert got.headers["content-type"] == MEDIA_TYPE
    assert got.headers["webhook-id"] == "wh1-7"
    assert got.headers["host"] == receiver.url.split("/")[2]
    assert got.headers["user-agent"].startswith("porter/")
    assert post(receiver.url.removesuffix("/in"), HEADERS, BODY, HERE).delivered


def test_what_it_answers_is_told_by_its_status_alone(receiver: Receiver) -> None:
    receiver.answer, receiver.status = b"a secret of the receiver", 503
    receiver.headers = {"Retry-After": "120"}
    outcome = post(receiver.url, HEADERS, BODY, HERE)
    assert outcome == Outcome(503, "answered 503 Service Unavailable", 120.0)
    receiver.status = 599
    assert post(receiver.url, HEADERS, BODY, HERE).error == "answered 599"


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    with receiving() as other:
        for status in (301, 302, 303, 307, 308):
            receiver.status, receiver.headers = status, {"Location": other.url}
            outcome = post(receiver.url, HEADERS, BODY, HERE)
            assert outcome.status == status
            assert "redirects are not followed" in outcome.error
        assert other.got == []


def test_addresses_are_judged_at_every_attempt(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        "this machine itself"
        in post(receiver.url.replace("http:", "https:"), HEADERS, BODY, Allow()).error
    )
    assert "not https" in post(receiver.url, HEADERS, BODY, Allow()).error
    # A name that meant something else when the webhook was added.
    plain = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **m: plain("127.0.0.1", *a, **m))
    outcome = post("https://hooks.example.org/", HEADERS, BODY, Allow())
    assert "hooks.example.org: it is this machine itself" in outcome.error
    assert receiver.got == []


def test_the_address_that_was_judged_is_the_one_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is asked for once: its second meaning is never seen."""
    plain, asked = socket.getaddrinfo, list[str]()

    def turning(host: str, *args: object, **more: object) -> object:
        if host != "hooks.example.org":
            return plain(host, *args, **more)  # type: ignore[arg-type]
        asked.append(host)
        return plain("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", turning)
    url = receiver.url.replace("127.0.0.1", "hooks.example.org")
    assert post(url, HEADERS, BODY, HERE).delivered
    assert asked == ["hooks.example.org"]
    assert receiver.got[0].headers["host"].startswith("hooks.example.org:")


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        outcome = post(f"http://127.0.0.1:{taken.getsockname()[1]}/", HEADERS, BODY, HERE)
    assert outcome == Outcome(error="cannot connect: connection refused")


@contextmanager
def answering(*parts: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that sends these bytes, whatever it is asked, and then waits."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                for part in parts:
                    try:
                        peer.sendall(part)
                    except OSError:
                        return
                    over.wait(pause)
                over.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        over.set()
        thread.join(10)


def test_whoever_says_nothing_or_drips_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.3)
    drip = [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 1000]
    for parts in ([], drip):
        began = time.monotonic()
        with answering(*parts, pause=0.05) as url:
            assert post(url, HEADERS, BODY, HERE) == Outcome(error="no answer within 0 s")
        assert time.monotonic() - began < 5


def test_of_a_long_answer_little_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MOST_READ + 1)
    with answering(endless) as url:
        assert post(url, HEADERS, BODY, HERE) == Outcome(200)
    monkeypatch.setattr(module, "SECONDS", 0.3)
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"x") as url:
        assert post(url, HEADERS, BODY, HERE) == Outcome(200)


def test_what_is_no_http() -> None:
    with answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as url:
        assert post(url, HEADERS, BODY, HERE).error == "the connection broke: RemoteProtocolError"


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = open_authority(tmp_path)
    settings = load({"PORTER_STATE": str(tmp_path), "PORTER_AGENTS": "127.0.0.1:1"})
    context = server_context(authority, settings)
    with receiving(context) as receiver:
        module._trust.cache_clear()
        outcome = post(receiver.url, HEADERS, BODY, HERE)
        assert "its certificate is not good" in outcome.error
        trusting = ssl.create_default_context(cadata=authority.pem)
        monkeypatch.setattr(httpx, "create_ssl_context", lambda: trusting)
        module._trust.cache_clear()
        assert post(receiver.url, HEADERS, BODY, HERE) == Outcome(204)
        # The name in the URL counts, not the address that was connected to.
        plain = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *a, **m: plain("127.0.0.1", *a, **m)
        )
        other = receiver.url.replace("127.0.0.1", "hooks.example.org")
        assert "Hostname mismatch" in post(other, HEADERS, BODY, HERE).error
    module._trust.cache_clear()
