"""The REST API as the command line sees it."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from porter.domain.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
    PorterError,
    Transient,
)

_TRIES = 4
_STREAM_SILENCE_S = 60.0
_BY_STATUS: dict[int, type[PorterError]] = {
    HTTPStatus.UNAUTHORIZED: Denied,
    HTTPStatus.FORBIDDEN: Denied,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
}


class Unreachable(Transient):
    """No control plane answers at the address."""

    code = "unreachable"


@dataclass(frozen=True)
class Event:
    """One thing that happened in a migration. `data` depends on `kind`."""

    id: str
    kind: str
    at: str
    message: str
    data: dict[str, Any]


class Api:
    """Calls block; they raise a PorterError that says what to do."""

    def __init__(
        self, url: str, token_file: Path, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.token_file = token_file
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                f"cannot use {url!r} as the control plane's address: it is not an HTTP URL",
                "give --api or PORTER_API like http://127.0.0.1:8460",
            )
        token = _read_token(token_file)
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(30.0, connect=5.0),
            transport=transport,
            # A proxy of the surroundings has no business between us and this machine.
            trust_env=parts.hostname not in ("127.0.0.1", "::1", "localhost"),
        )

    # -- hosts, workloads

    def hosts(self) -> list[dict[str, Any]]:
        return _items(self._call("GET", "/v1/hosts"))

    def remove_host(self, name: str) -> None:
        self._call("DELETE", f"/v1/hosts/{_part(name)}")

    def join_token(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/join-tokens", body))

    def workloads(self) -> list[dict[str, Any]]:
        return _items(self._call("GET", "/v1/workloads"))

    def workload(self, name: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/workloads/{_part(name)}"))

    def preflight(self, workload: str, to: str, mode: str) -> dict[str, Any]:
        path = f"/v1/workloads/{_part(workload)}/preflight"
        return _document(self._call("POST", path, {"to": to, "mode": mode}, timeout=120.0))

    # -- migrations

    def migrate(self, workload: str, to: str, mode: str) -> dict[str, Any]:
        """Start a migration. Repeated with one idempotency key if the answer gets lost."""
        body = {"workload": workload, "to": to, "mode": mode}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        for left in reversed(range(_TRIES)):
            try:
                return _document(self._call("POST", "/v1/migrations", body, headers))
            except Unreachable:
                if not left:
                    raise
                time.sleep(0.5)
        raise AssertionError("unreachable: the last try returns or raises")

    def migrations(self) -> list[dict[str, Any]]:
        return _items(self._call("GET", "/v1/migrations"))

    def migration(self, identity: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/migrations/{_part(identity)}"))

    def cancel(self, identity: str) -> dict[str, Any]:
        return _document(self._call("POST", f"/v1/migrations/{_part(identity)}/cancel"))

    def receipt(self, identity: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/migrations/{_part(identity)}/receipt"))

    def find_migration(self, prefix: str) -> dict[str, Any]:
        """The migration whose id is, or alone begins with, `prefix`."""
        try:
            return self.migration(prefix)
        except NotFound:
            found = [m for m in self.migrations() if str(m["id"]).startswith(prefix)]
            if len(found) == 1:
                return found[0]
            if not found:
                raise
        raise Invalid(
            f"cannot tell which migration {prefix!r} is: {len(found)} ids begin so",
            "give more of the id; 'porter migration ls' lists them",
        )

    def events(self, identity: str, after: str | None = None) -> Iterator[Event]:
        """The migration's events after the one named, as they come, until the stream ends.

        Raises Unreachable when the connection breaks; call again with the last event's id.
        """
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        path = f"/v1/migrations/{_part(identity)}/events"
        timeout = httpx.Timeout(_STREAM_SILENCE_S, connect=5.0)
        try:
            with self._http.stream("GET", path, headers=headers, timeout=timeout) as answer:
                if answer.is_error:
                    answer.read()
                    raise self._refusal(answer)
                yield from parse_events(answer.iter_lines())
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    # -- plumbing

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        try:
            answer = self._http.request(
                method,
                path,
                json=body,
                headers=headers,
                timeout=httpx.Timeout(timeout, connect=5.0),
            )
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            raise self._refusal(answer)
        if answer.status_code == HTTPStatus.NO_CONTENT or not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise Transient(
                f"cannot understand the answer of {self.url}: it is not JSON",
                "check that --api names Porter's control plane",
            ) from error

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        why = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        return Unreachable(
            f"cannot reach the control plane at {self.url}: {why}",
            "start it with 'porter up', or name another with --api",
        )

    def _refusal(self, answer: httpx.Response) -> PorterError:
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        if not isinstance(problem, dict):
            problem = {}
        message = str(problem.get("detail") or problem.get("title") or "")
        remedy = str(problem.get("remedy") or "")
        status = answer.status_code
        if status == HTTPStatus.UNAUTHORIZED and not remedy:
            message = message or "cannot use the API: the token is missing or wrong"
            remedy = f"it is read from {self.token_file}; name another with --token-file"
        if not message:
            message = f"cannot do it: {self.url} answered {status} {answer.reason_phrase}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Transient(message, remedy or "'porter status' shows how the control plane is")
        return _BY_STATUS.get(status, Invalid)(message, remedy)


def parse_events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events from their lines. Comments (heartbeats) are passed over."""
    identity, data = "", []
    for line in lines:
        if line.startswith("id:"):
            identity = line[3:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            raw = json.loads("\n".join(data))
            data = []
            yield Event(
                id=identity or str(raw.get("id", "")),
                kind=str(raw.get("kind", "")),
                at=str(raw.get("at", "")),
                message=str(raw.get("message") or ""),
                data=raw.get("data") or {},
            )


def _read_token(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None  # the API says whether it wants one; then the message names this file
    except OSError as error:
        raise Denied(
            f"cannot read the API token in {path}: {error.strerror}",
            "run as its owner, or name another with --token-file",
        ) from error


def _part(name: str) -> str:
    if not name.strip("."):
        raise Invalid(f"cannot use {name!r} as a name", "give a name or an id")
    return quote(name, safe="")


def _items(answer: Any) -> list[dict[str, Any]]:
    """A list, bare or wrapped as {"items": […]}."""
    found = answer.get("items") if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        raise Transient("cannot understand the control plane's answer: a list was expected")
    return found


def _document(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise Transient("cannot understand the control plane's answer: an object was expected")
    return answer
