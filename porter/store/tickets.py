"""A store seen through tickets only: agents never hold its credentials."""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from porter.domain.errors import Denied, NotFound, Permanent, PorterError, Transient
from porter.store.answers import meaning, pieces
from porter.store.base import MAX_BLOB, Blob, Ticket, check_key
from porter.store.directory import remove_file, write_file

Ask = Callable[[str, Sequence[str], int], Sequence[Ticket]]
"""`ask(method, keys, seconds)`: a ticket per key, in order. Raises errors of the domain."""
Listing = Callable[[str], Iterable[Blob]]
"""Stores can sign for one blob but not for a list: whoever gives tickets lists, too."""

SECONDS = 1800
"""How long the tickets that we ask for are to be valid."""
_MARGIN = 300
_TRIES = 5
_KEPT = 4096


class TicketBlobs:
    """`Blobs` over HTTP with tickets got from `ask`, each kept until it is nearly over."""

    def __init__(
        self, ask: Ask, listing: Listing, verify: ssl.SSLContext | None = None, parallel: int = 16
    ) -> None:
        self._ask = ask
        self._listing = listing
        self._kept: dict[tuple[str, str], tuple[float, Ticket]] = {}
        self._lock = threading.Lock()
        self._http = httpx.Client(
            verify=verify or ssl.create_default_context(),
            timeout=httpx.Timeout(60, connect=10),
            limits=httpx.Limits(max_connections=parallel, max_keepalive_connections=parallel),
        )

    def put(self, key: str, data: bytes) -> None:
        md5 = hashlib.md5(data, usedforsecurity=False)
        headers = {
            "Content-MD5": base64.b64encode(md5.digest()).decode(),
            "ETag": md5.hexdigest(),
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(data)),
        }
        self._go("PUT", key, headers, data)

    def get(self, key: str) -> bytes:
        return self._go("GET", key)

    def list(self, prefix: str) -> Iterator[Blob]:
        return iter(self._listing(prefix))

    def remove(self, key: str) -> None:
        try:
            self._go("DELETE", key)
        except NotFound:
            pass  # Absent is success.

    def expect(self, method: str, keys: Sequence[str]) -> None:
        """These will be needed soon: one question for all that are not here yet."""
        with self._lock:
            missing = [key for key in keys if (method, check_key(key)) not in self._kept]
        if missing:
            self._fetch(method, missing)

    def close(self) -> None:
        self._http.close()

    def _fetch(self, method: str, keys: Sequence[str]) -> None:
        until = time.monotonic() + SECONDS - _MARGIN
        tickets = self._ask(method, keys, SECONDS)
        if len(tickets) != len(keys) or any(one.method != method for one in tickets):
            raise Permanent("cannot use the store: other tickets came than were asked for")
        with self._lock:
            for key, ticket in zip(keys, tickets, strict=True):
                self._kept[method, key] = (until, ticket)
            while len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]

    def _ticket(self, method: str, key: str) -> Ticket:
        while True:
            with self._lock:
                until, ticket = self._kept.get((method, key), (0.0, None))
            if ticket is not None and time.monotonic() < until:
                return ticket
            self._fetch(method, [check_key(key)])

    def _go(
        self, method: str, key: str, headers: Mapping[str, str] | None = None, data: bytes = b""
    ) -> bytes:
        """Everything may be repeated. A ticket that is refused is replaced once."""
        problem: PorterError | None = None
        renewed = False
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(0.1 * 2**attempt)
            ticket = self._ticket(method, key)
            try:
                return self._use(ticket, key, headers or {}, data)
            except Transient as error:
                problem = error
            except Denied as error:
                if renewed:
                    raise
                problem, renewed = error, True
                with self._lock:
                    self._kept.pop((method, key), None)
        assert problem is not None
        raise problem

    def _use(self, ticket: Ticket, key: str, headers: Mapping[str, str], data: bytes) -> bytes:
        if ticket.url.startswith("file:"):
            return _use_file(ticket, data)
        doing = f"{ticket.method.lower()} {key}"
        try:
            with self._http.stream(
                ticket.method,
                ticket.url,
                headers={**headers, **ticket.headers},
                content=pieces(data) if ticket.method == "PUT" else None,
            ) as answer:
                body = _bounded(answer, doing)
        except httpx.HTTPError as error:
            # Without its text: that may hold the URL, which is the right itself.
            raise Transient(f"cannot {doing}: {type(error).__name__}") from None
        if not answer.is_success:
            raise meaning(answer.status_code, doing, _code(body) or answer.reason_phrase)
        return body


def _bounded(answer: httpx.Response, doing: str) -> bytes:
    parts, size = [], 0
    for part in answer.iter_raw():
        size += len(part)
        if size > MAX_BLOB:
            raise Permanent(f"cannot {doing}: the store sends more than a blob can be")
        parts.append(part)
    return b"".join(parts)


def _code(body: bytes) -> str:
    """What the store says went wrong: in XML as S3, Azure and Google do, or in Google's JSON."""
    text = body[:4000].decode(errors="replace")
    code, why = (
        text.partition(f"<{word}>")[2].partition(f"</{word}>")[0] for word in ("Code", "Message")
    )
    if not code:
        why = text.partition('"message": "')[2].partition('"')[0]
    return f"{code} {why.partition(chr(10))[0][:100]}".strip()


def _use_file(ticket: Ticket, data: bytes) -> bytes:
    path = Path(unquote(urlsplit(ticket.url).path))
    if path.suffix != ".blob":
        raise Permanent("cannot use the ticket: it leads to a file that is no blob")
    if ticket.method == "PUT":
        write_file(path, data)
    elif ticket.method == "DELETE":
        remove_file(path)
    else:
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(f"cannot get {path.name}: it is not there") from error
        except OSError as error:
            raise Transient(f"cannot get {path.name}: {error.strerror}") from error
    return b""
