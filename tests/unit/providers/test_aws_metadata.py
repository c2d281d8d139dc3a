"""The instance metadata service, version 2, as EC2 documents it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from porter.domain.errors import NotFound, Transient
from porter.domain.site import SiteKind
from porter.providers.base import Metadata, Notice, SiteConfig
from porter.providers.registry import open_site

TOKEN = "t0ken"


class Service(ThreadingHTTPServer):
    documents: dict[str, str]
    status: int = 200


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_PUT(self) -> None:
        asked = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
        good = self.path == "/latest/api/token" and asked is not None
        self._say(self.server.status if good else 400, TOKEN)

    def do_GET(self) -> None:
        document = self.server.documents.get(self.path.removeprefix("/latest/meta-data/"))
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self._say(401, "")
        else:
            self._say(404 if document is None else 200, document or "")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service(("127.0.0.1", 0), Handler)
    made.documents = {"instance-id": "i-0123456789abcdef0"}
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def ask(service: Service) -> Metadata:
    url = f"http://127.0.0.1:{service.server_port}"
    found = open_site(SiteConfig("aws", SiteKind.AWS, "eu-west-1", {"metadata_url": url})).metadata
    assert found is not None
    return found


def test_a_machine_knows_itself(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask(service).instance() == "i-0123456789abcdef0"
    assert ask(service).notices() == []


@pytest.mark.parametrize("name", ["", "ocid1.instance", "12345"])
def test_another_clouds_machine_is_none_of_ec2(service: Service, name: str) -> None:
    service.documents["instance-id"] = name
    with pytest.raises(NotFound):
        ask(service).instance()


@pytest.mark.parametrize("status", [404, 405, 500])
def test_without_tokens_it_is_not_ec2(service: Service, status: int) -> None:
    service.status = status
    with pytest.raises(NotFound):
        ask(service).instance()


def test_nobody_answers() -> None:
    closed = Service(("127.0.0.1", 0), Handler)
    closed.server_close()
    with pytest.raises(NotFound):
        ask(closed).instance()
    with pytest.raises(Transient):
        ask(closed).notices()


@pytest.mark.parametrize(
    ("path", "document", "notices"),
    [
        (
            "spot/instance-action",
            {"action": "terminate", "time": "2026-09-18T08:22:00Z"},
            [Notice("terminate", "2026-09-18T08:22:00Z")],
        ),
        (
            "spot/instance-action",
            {"action": "hibernate", "time": "2026-09-18T08:22:00Z"},
            [Notice("stop", "2026-09-18T08:22:00Z")],
        ),
        (
            "events/recommendations/rebalance",
            {"noticeTime": "2026-09-18T08:22:00Z"},
            [Notice("maintenance", "")],
        ),
        (
            "events/maintenance/scheduled",
            [
                {
                    "NotBefore": "21 Jan 2027 09:00:43 GMT",
                    "Code": "system-reboot",
                    "State": "active",
                },
                {"Code": "instance-retirement", "State": "completed"},
                {"Code": "instance-retirement", "NotBefore": "", "State": "active"},
                {"Code": "something-new", "State": "active"},
            ],
            [
                Notice("restart", "2027-01-21T09:00:43+00:00"),
                Notice("terminate", ""),
                Notice("maintenance", ""),
            ],
        ),
    ],
)
def test_notices_are_told(
    service: Service, path: str, document: object, notices: list[Notice]
) -> None:
    service.documents[path] = json.dumps(document)
    assert ask(service).notices() == notices


def test_a_broken_answer_is_no_notice(service: Service) -> None:
    service.documents["spot/instance-action"] = "<html>"
    with pytest.raises(Transient):
        ask(service).notices()
