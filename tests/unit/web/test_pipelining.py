"""Requests that follow one another on one connection share nothing else."""

from __future__ import annotations

import json
import socket
from http.client import HTTPResponse
from typing import Any

import httpx

from porter.db.audit import Audit, Query
from tests.unit.web.conftest import TOKEN, Serving


def _request(name: str, query: str = "") -> bytes:
    body = json.dumps({"name": name, "kind": "onprem"}).encode()
    lines = [
        f"POST /v1/sites{query} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {TOKEN}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _answer(connection: socket.socket) -> int:
    answer = HTTPResponse(_OneByOne(connection))  # type: ignore[arg-type]
    answer.begin()
    answer.read()
    return answer.status


class _OneByOne:
    """A socket of which no more is read than one answer has: HTTPResponse closes its file."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def makefile(self, *_: Any) -> Any:
        return self._connection.makefile("rb", buffering=0)


def test_a_dry_run_ends_with_its_answer(serving: Serving) -> None:
    """The second request is there before the first is answered, so that the server stops reading
    and goes on while it works on the first; the third comes after both."""
    address = httpx.URL(serving.url)
    with socket.create_connection((address.host, address.port or 0), timeout=10) as connection:
        connection.sendall(_request("first", "?dry_run=true") + _request("second"))
        assert [_answer(connection), _answer(connection)] == [201, 201]
        connection.sendall(_request("third"))
        assert _answer(connection) == 201
    with serving.client() as api:
        names = [one["name"] for one in api.get("/v1/sites").json()]
    assert {"second", "third"} <= set(names)
    assert "first" not in names
    rows = Audit(serving.control.database).list(Query(), None, None, 10)
    assert len([row for row in rows if row.action == "POST /v1/sites"]) == 3
