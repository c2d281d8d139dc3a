"""The REST API as the command line sees it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx

from porter.cli.events import Event, parse_events
from porter.domain.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
    PorterError,
    Transient,
)

_TRIES = 4
_PRICES_S = 120.0
"""Price lists that are read for the first time take a while."""
_STREAM_SILENCE_S = 60.0
_MEMBERS = ("plan", "proposal", "hash", "policy", "rule", "opens_at")
"""What else a refusal may name; see docs/policies-and-plans.md."""
_PAGE = 1000
"""Items of one page of a list: as many as there may be."""
_BY_STATUS: dict[int, type[PorterError]] = {
    HTTPStatus.UNAUTHORIZED: Denied,
    HTTPStatus.FORBIDDEN: Denied,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
}


class Unreachable(Transient):
    """No control plane answers at the address."""

    code = "unreachable"


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

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    # -- hosts

    def hosts(self) -> list[dict[str, Any]]:
        return self._pages("/v1/hosts")

    def remove_host(self, name: str) -> None:
        self._call("DELETE", f"/v1/hosts/{_part(name)}")

    def join_token(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/join-tokens", body))

    # -- sites

    def sites(self) -> list[dict[str, Any]]:
        return self._pages("/v1/sites")

    def site(self, name: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/sites/{_part(name)}"))

    def add_site(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/sites", body))

    def verify_site(self, name: str) -> list[dict[str, Any]]:
        return _items(self._call("POST", f"/v1/sites/{_part(name)}/verify", timeout=120.0))

    def sweep_site(self, name: str, remove: bool) -> list[dict[str, Any]]:
        path = f"/v1/sites/{_part(name)}/sweep"
        return _items(self._call("POST", path, {"remove": remove}, timeout=120.0))

    def remove_site(self, name: str) -> None:
        self._call("DELETE", f"/v1/sites/{_part(name)}")

    # -- prices

    def prices(self, query: list[tuple[str, str]]) -> list[dict[str, Any]]:
        path = f"/v1/prices?{urlencode(query)}"
        return _items(self._call("GET", path, timeout=_PRICES_S))

    def workload_prices(self, name: str, query: list[tuple[str, str]]) -> dict[str, Any]:
        path = f"/v1/workloads/{_part(name)}/prices?{urlencode(query)}"
        return _document(self._call("GET", path, timeout=_PRICES_S))

    # -- stores

    def stores(self) -> list[dict[str, Any]]:
        return self._pages("/v1/stores")

    def add_store(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/stores", body))

    def verify_store(self, name: str) -> None:
        self._call("POST", f"/v1/stores/{_part(name)}/verify", timeout=120.0)

    def remove_store(self, name: str) -> None:
        self._call("DELETE", f"/v1/stores/{_part(name)}")

    # -- checkpoints

    def checkpoints(self) -> list[dict[str, Any]]:
        return self._pages("/v1/checkpoints")

    def checkpoint(self, identity: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/checkpoints/{_part(identity)}"))

    def create_checkpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/checkpoints", body))

    def restore_checkpoint(self, identity: str, to: str) -> dict[str, Any]:
        path = f"/v1/checkpoints/{_part(identity)}/restore"
        return _document(self._call("POST", path, {"to": to}))

    def remove_checkpoint(self, identity: str) -> dict[str, Any]:
        return _document(self._call("DELETE", f"/v1/checkpoints/{_part(identity)}"))

    # -- workloads

    def declare(self, workload: str, endpoints: list[str]) -> dict[str, Any]:
        path = f"/v1/workloads/{_part(workload)}/endpoints"
        return _document(self._call("PUT", path, {"endpoints": endpoints}))

    def workloads(self) -> list[dict[str, Any]]:
        return self._pages("/v1/workloads")

    def workload(self, name: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/workloads/{_part(name)}"))

    def preflight(self, workload: str, to: str, mode: str) -> dict[str, Any]:
        path = f"/v1/workloads/{_part(workload)}/preflight"
        return _document(self._call("POST", path, {"to": to, "mode": mode}, timeout=120.0))

    # -- migrations

    def migrate(self, workload: str, to: str, mode: str, **more: Any) -> dict[str, Any]:
        """Start a migration. Repeated with one idempotency key if the answer gets lost."""
        body = {"workload": workload, "to": to, "mode": mode, **more}
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        for left in reversed(range(_TRIES)):
            try:
                return _document(self._call("POST", "/v1/migrations", body, headers))
            except Unreachable:
                if not left:
                    raise
                time.sleep(0.5)
        raise AssertionError("unreachable: the last try returns or raises")

    def migrations(self, most: int = 100) -> list[dict[str, Any]]:
        """The newest ones, so many at most."""
        return self._pages("/v1/migrations", most)

    def migration(self, identity: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/migrations/{_part(identity)}"))

    def cancel(self, identity: str) -> dict[str, Any]:
        return _document(self._call("POST", f"/v1/migrations/{_part(identity)}/cancel"))

    def rollback(self, identity: str) -> dict[str, Any]:
        return _document(self._call("POST", f"/v1/migrations/{_part(identity)}/rollback"))

    def resolve(self, identity: str, run_on: str, reason: str, **proof: bool) -> dict[str, Any]:
        body = {"run_on": run_on, "reason": reason, **proof}
        return _document(self._call("POST", f"/v1/migrations/{_part(identity)}/resolve", body))

    def receipt(self, identity: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/migrations/{_part(identity)}/receipt"))

    def find_migration(self, prefix: str) -> dict[str, Any]:
        """The migration whose id is, or alone begins with, `prefix`."""
        try:
            return self.migration(prefix)
        except NotFound:
            found = [m for m in self.migrations(10_000) if str(m["id"]).startswith(prefix)]
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

    # -- people

    def listing(self, kind: str) -> list[dict[str, Any]]:
        """All `users` or `tokens`."""
        return self._pages(f"/v1/{kind}")

    def change(self, method: str, *path: str, body: Any = None) -> dict[str, Any]:
        return _document(self._call(method, "/v1/" + "/".join(map(_part, path)), body))

    # -- audit

    def audit(self, query: dict[str, str]) -> list[dict[str, Any]]:
        return _items(self._call("GET", f"/v1/audit?{urlencode(query)}"))

    def audit_head(self) -> dict[str, Any]:
        return _document(self._call("GET", "/v1/audit/head"))

    def audit_export(self) -> tuple[str, Iterator[str]]:
        """Number and hash of the trail's last entry, and its lines as they come."""
        lines = self._lines("/v1/audit/export", "Audit-Head")
        return next(lines), lines

    # -- for modules that know their own paths

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return _document(self._call(method, path, body, timeout=_PRICES_S))

    def pages(self, path: str) -> list[dict[str, Any]]:
        return self._pages(path)

    def text(self, path: str, method: str = "GET") -> str:
        return self._send(method, path).text

    # -- plumbing

    def _lines(self, path: str, header: str) -> Iterator[str]:
        """A header of the answer, then its lines."""
        try:
            with self._http.stream("GET", path) as answer:
                if answer.is_error:
                    answer.read()
                    raise self._refusal(answer)
                yield answer.headers.get(header, "")
                yield from answer.iter_lines()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _pages(self, path: str, most: int | None = None) -> list[dict[str, Any]]:
        """A list with all its pages, or its first `most` items."""
        found: list[dict[str, Any]] = []
        following: str | None = f"{path}?limit={min(most or _PAGE, _PAGE)}"
        while following and (most is None or len(found) < most):
            answer = self._send("GET", following)
            found += _items(self._read(answer))
            following = answer.links.get("next", {}).get("url")
        return found[:most]

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Any:
        return self._read(self._send(method, path, body, headers, timeout))

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
    ) -> httpx.Response:
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
        return answer

    def _read(self, answer: httpx.Response) -> Any:
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
        error = _BY_STATUS.get(status, Invalid)(message, remedy)
        error.code = str(problem.get("code") or error.code)
        error.members = {key: problem[key] for key in _MEMBERS if problem.get(key)}
        return error


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
