"""How the REST API is called: token, retries, pages, streams, and refusals as errors."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from porter.client.errors import ApiError, NotUnderstood, Unreachable, refusal
from porter.client.sse import Frame, frames
from porter.domain.errors import Invalid

TIMEOUT_S = 30.0
CONNECT_S = 5.0
TRIES = 4
LONGEST_PAUSE_S = 30.0
"""No longer than that is waited before one more try, whatever `Retry-After` says."""
STREAM_SILENCE_S = 60.0
PAGE = 1000
"""Items of one page of a list: as many as there may be."""
_HERE = ("127.0.0.1", "::1", "localhost")
_AGAIN = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE)
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True)
class Remedies:
    """What to do, in the words of whoever calls: a program, or a person at the command line."""

    url: str = "give it like https://porter.example.org"
    unreachable: str = "see that it runs, and that the address is right"
    token: str = "give a token that 'porter token create' made"
    down: str = "try again; GET /healthz says how it is"


class Transport:
    """Thread-safe. Calls block; they raise PorterErrors: an ApiError for what was refused,
    Unreachable where no answer came."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        tries: int = TRIES,
        remedies: Remedies | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.tries = tries
        self._remedies = remedies or Remedies()
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                f"cannot use {url!r} as the control plane's address: it is not an HTTP URL",
                self._remedies.url,
            )
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S),
            transport=transport,
            # A proxy of the surroundings has no business between us and this machine.
            trust_env=parts.hostname not in _HERE,
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        *,
        key: str | None = None,
        tries: int | None = None,
        timeout: float = TIMEOUT_S,
    ) -> httpx.Response:
        """An answer below 400. What may be sent twice is sent up to `tries` times, if no answer
        comes or the answer says to come again: a POST only with an idempotency `key`."""
        headers = {**(headers or {}), **({"Idempotency-Key": key} if key else {})}
        left = (tries or self.tries) if method in _IDEMPOTENT or key else 1
        pause = 0.5
        while True:
            left -= 1
            try:
                answer = self._once(method, path, body, headers, timeout)
            except Unreachable:
                if not left:
                    raise
                asked = None
            else:
                if not answer.is_error:
                    return answer
                asked = _pause_asked(answer)
                if not left or not _worth_another(answer, key):
                    raise self._refusal(answer)
            time.sleep(asked if asked is not None else pause * random.uniform(0.5, 1.0))
            pause *= 2

    def call(self, method: str, path: str, *args: Any, **more: Any) -> Any:
        """The JSON that `send` is answered with; None where there is none."""
        return self.read(self.send(method, path, *args, **more))

    def read(self, answer: httpx.Response) -> Any:
        if answer.status_code == HTTPStatus.NO_CONTENT or not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise NotUnderstood(
                f"cannot understand the answer of {self.url}: it is not JSON",
                "check that the address is Porter's control plane",
            ) from error

    def pages(self, path: str, most: int | None = None) -> list[dict[str, Any]]:
        """A list with all its pages, or its first `most` items."""
        found: list[dict[str, Any]] = []
        mark = "&" if "?" in path else "?"
        following: str | None = f"{path}{mark}limit={min(most or PAGE, PAGE)}"
        while following and (most is None or len(found) < most):
            answer = self.send("GET", following)
            found += items(self.read(answer))
            following = answer.links.get("next", {}).get("url")
        return found[:most]

    def frames(self, path: str, after: str | None = None) -> Iterator[Frame]:
        """A stream's frames after the event named, as they come, until the stream ends."""
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = after
        timeout = httpx.Timeout(STREAM_SILENCE_S, connect=CONNECT_S)
        with self.streaming(path, headers, timeout) as answer:
            yield from frames(answer.iter_lines())

    @contextmanager
    def streaming(
        self, path: str, headers: dict[str, str] | None = None, timeout: Any = None
    ) -> Iterator[httpx.Response]:
        """An answer that is read as it comes. Breaking off raises Unreachable in the body."""
        more = {} if timeout is None else {"timeout": timeout}
        try:
            with self._http.stream("GET", path, headers=headers, **more) as answer:
                if answer.is_error:
                    answer.read()
                    raise self._refusal(answer)
                yield answer
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _once(
        self, method: str, path: str, body: Any, headers: dict[str, str], timeout: float
    ) -> httpx.Response:
        limits = httpx.Timeout(timeout, connect=CONNECT_S)
        try:
            return self._http.request(method, path, json=body, headers=headers, timeout=limits)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        why = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        return Unreachable(
            f"cannot reach the control plane at {self.url}: {why}", self._remedies.unreachable
        )

    def _refusal(self, answer: httpx.Response) -> ApiError:
        return refusal(answer, self.url, self._remedies.token, self._remedies.down)


def _pause_asked(answer: httpx.Response) -> float | None:
    """Seconds of `Retry-After`; Porter gives no dates there."""
    given = answer.headers.get("Retry-After", "")
    return min(float(given), LONGEST_PAUSE_S) if given.isdigit() else None


def _worth_another(answer: httpx.Response, key: str | None) -> bool:
    # The first request with this key is still at work: its answer is to be had in a moment.
    busy = answer.status_code == HTTPStatus.CONFLICT and "Retry-After" in answer.headers
    return answer.status_code in _AGAIN or (busy and key is not None)


def part(name: str) -> str:
    """A name as a part of a path. Raises Invalid for what would lead elsewhere."""
    if not name.strip("."):
        raise Invalid(f"cannot use {name!r} as a name", "give a name or an id")
    return quote(name, safe="")


def items(answer: Any) -> list[dict[str, Any]]:
    """A list, bare or wrapped as {"items": […]}."""
    found = answer.get("items") if isinstance(answer, dict) else answer
    if not isinstance(found, list):
        raise NotUnderstood("cannot understand the control plane's answer: a list was expected")
    return found


def document(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise NotUnderstood("cannot understand the control plane's answer: an object was expected")
    return answer
