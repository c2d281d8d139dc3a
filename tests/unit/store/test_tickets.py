"""What an agent with tickets does when a store or whoever gives tickets misbehaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from porter.domain.errors import Denied, Invalid, Permanent, Transient
from porter.store.answers import meaning
from porter.store.base import MAX_BLOB, StoreConfig, Ticket
from porter.store.registry import open_blobs
from porter.store.tickets import TicketBlobs


class Server:
    """Answers as it was told, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, body = outer.answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass  # The client has seen enough.

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def blobs(server: Server) -> Iterator[TicketBlobs]:
    number = 0

    def ask(method: str, keys: Sequence[str], _: int) -> list[Ticket]:
        nonlocal number
        number += 1
        return [Ticket(method, f"{server.url}/{key}?secret={number}") for key in keys]

    with closing(TicketBlobs(ask, lambda _: [])) as blobs:
        yield blobs


def test_a_refused_ticket_is_replaced_once(server: Server, blobs: TicketBlobs) -> None:
    server.answers = [(403, b""), (200, b"x"), (200, b"y"), (403, b""), (403, b"")]
    assert blobs.get("a") == b"x"
    assert blobs.get("a") == b"y"
    assert server.asked == ["/a?secret=1", "/a?secret=2", "/a?secret=2"]
    with pytest.raises(Denied) as caught:
        blobs.get("a")
    assert "secret" not in str(caught.value)


def test_passing_trouble_is_waited_out(server: Server, blobs: TicketBlobs) -> None:
    server.answers = [(503, b""), (429, b""), (200, b"x")]
    assert blobs.get("a") == b"x"


def test_an_endless_answer_is_cut_off(server: Server, blobs: TicketBlobs) -> None:
    server.answers = [(200, bytes(MAX_BLOB + 1))]
    with pytest.raises(Permanent, match="more than a blob can be"):
        blobs.get("a")


def test_a_store_that_is_away_tells_no_secret() -> None:
    def ask(method: str, keys: Sequence[str], _: int) -> list[Ticket]:
        return [Ticket(method, "http://127.0.0.1:1/?secret") for _ in keys]

    with closing(TicketBlobs(ask, lambda _: [])) as blobs, pytest.raises(Transient) as caught:
        blobs.get("a")
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "tickets", [[], [Ticket("PUT", "http://x/")], [Ticket("GET", "file:///etc/passwd")]]
)
def test_wrong_tickets_are_refused(tickets: list[Ticket]) -> None:
    with closing(TicketBlobs(lambda *_: tickets, lambda _: [])) as blobs:
        with pytest.raises(Permanent):
            blobs.get("a")


@pytest.mark.parametrize(
    ("status", "detail", "error"),
    [
        (404, "NoSuchKey", "not_found"),
        (403, "SignatureDoesNotMatch", "denied"),
        (400, "ExpiredToken", "denied"),
        (400, "BadDigest", "transient"),
        (422, "", "transient"),
        (503, "SlowDown", "transient"),
        (400, "InvalidArgument", "permanent"),
        (301, "PermanentRedirect", "permanent"),
    ],
)
def test_answers_mean_the_same_everywhere(status: int, detail: str, error: str) -> None:
    assert meaning(status, "get a", detail).code == error


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "s3:///p", "swift://c", "azure://c", "file://host/x", "nothing"]
)
def test_urls_that_cannot_be_right(url: str) -> None:
    with pytest.raises(Invalid):
        open_blobs(StoreConfig("s", url, {"region": "r"}))


def test_a_store_never_shows_its_secrets(tmp_path: Path) -> None:
    config = StoreConfig("s", tmp_path.as_uri(), {}, {"secret_key": "hush"})
    assert "hush" not in repr(config)
