"""Price lists over HTTP: short time-outs, few tries, pages until a deadline."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from porter import __version__
from porter.domain.errors import Denied, PorterError, Transient

CONNECT_SECONDS, READ_SECONDS = 2.0, 8.0
TOTAL_SECONDS = 25.0
"""For all pages of one question."""
MAX_PAGES = 200
_PAUSE = 0.5
_LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass
class Lists:
    """One price list. Every page must come from where the first one did."""

    name: str
    """How errors and quotes call it."""
    endpoint: str
    headers: Mapping[str, str]
    seconds: float = TOTAL_SECONDS

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.seconds
        self._pages = 0
        self._http = httpx.Client(
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": f"porter/{__version__}", **self.headers},
            trust_env=urlsplit(self.endpoint).hostname not in _LOCAL,
        )

    def __enter__(self) -> Lists:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def page(self, url: str, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
        """One page, a JSON object. Raises Transient or Denied; no secret is in the message."""
        self._pages += 1
        if not _same_origin(url, self.endpoint):
            raise Transient(f"cannot read the {self.name}: it points elsewhere")
        if self._pages > MAX_PAGES:
            raise Transient(f"cannot read the {self.name}: it has more than {MAX_PAGES} pages")
        answer = self._get(url, parameters)
        if answer.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            time.sleep(_PAUSE)
            answer = self._get(url, parameters)
        if not answer.is_success:
            raise self._refused(answer.status_code)
        try:
            parsed = answer.json()
        except ValueError:
            parsed = None
        if not isinstance(parsed, dict):
            raise Transient(f"cannot read the {self.name}: the answer is no JSON object")
        return parsed

    def _get(self, url: str, parameters: Mapping[str, str] | None) -> httpx.Response:
        if time.monotonic() > self._until:
            raise Transient(f"cannot read the {self.name} within {self.seconds:.0f} s")
        try:
            return self._http.get(url, params=parameters)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The text of some errors holds the URL, and that may hold a key.
            why = type(error).__name__
            raise Transient(f"cannot reach the {self.name}: {why}") from None

    def _refused(self, status: int) -> PorterError:
        kind = Denied if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) else Transient
        return kind(f"cannot read the {self.name}: it answered {status}")


def _same_origin(url: str, other: str) -> bool:
    try:
        return urlsplit(url)[:2] == urlsplit(other)[:2]
    except ValueError:
        return False
