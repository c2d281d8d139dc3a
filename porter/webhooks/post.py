"""One POST to a receiver: to a vetted address, within a fixed time, and with nothing kept of what
it answers but the status."""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus

import httpcore
import httpx

from porter import __version__
from porter.domain.errors import Invalid
from porter.domain.webhook import Outcome, retry_after
from porter.webhooks.guard import Allow, host_of, parse, vetted

log = logging.getLogger(__name__)

SECONDS = 10.0
"""For everything: finding the address, connecting, sending, and the answer's head."""
MOST_READ = 16 * 1024
"""Bytes of the answer's body that are read, so that a receiver sees its answer taken."""
MEDIA_TYPE = "application/cloudevents+json"


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds; raises ReadTimeout if there are none."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("it took too long")
        return left


class _Stream(httpcore.NetworkStream):
    """Every operation ends with the deadline: a receiver that drips bytes gains nothing."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = self._deadline.left()
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Vetted(httpcore.NetworkBackend):
    """Connects to the address that was vetted, whatever the name means by then."""

    def __init__(self, scheme: str, host: str, allow: Allow, deadline: _Deadline) -> None:
        self._scheme, self._host = scheme, host
        self._allow = allow
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        found = vetted(self._scheme, self._host, port, self._allow, self._deadline.left())
        problem: Exception | None = None
        for number, address in enumerate(found):
            # The last one may take all that is left, the others their share of it.
            share = self._deadline.left() / (len(found) - number)
            try:
                inner = self._plain.connect_tcp(str(address), port, share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
                continue
            return _Stream(inner, self._deadline)
        assert problem is not None
        raise problem


def post(url: str, headers: Mapping[str, str], body: str, allow: Allow) -> Outcome:
    """Send it. Blocks for SECONDS at most; raises nothing that a receiver can cause."""
    try:
        parts = parse(url)
        deadline = _Deadline(SECONDS)
        backend = _Vetted(parts.scheme, host_of(parts), allow, deadline)
        sent = {
            "User-Agent": f"porter/{__version__}",
            "Content-Type": MEDIA_TYPE,
            "Accept": "*/*",
            "Connection": "close",
            **headers,
        }
        context = _trust() if parts.scheme == "https" else None
        with httpcore.ConnectionPool(context, network_backend=backend, retries=0) as pool:
            with pool.stream(
                "POST", url, headers=list(sent.items()), content=body.encode()
            ) as answer:
                _read(answer)
                return _outcome(answer)
    except Invalid as error:
        return Outcome(error=error.message)
    except httpcore.TimeoutException:
        return Outcome(error=f"no answer within {SECONDS:.0f} s")
    except httpcore.ConnectError as error:
        return Outcome(error=f"cannot connect: {_reason(error)}")
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
        return Outcome(error=f"the connection broke: {type(error).__name__}")


@cache
def _trust() -> ssl.SSLContext:
    """The usual authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR."""
    return httpx.create_ssl_context()


def _read(answer: httpcore.Response) -> None:
    """The status counts, whatever becomes of the body."""
    read = 0
    try:
        for part in answer.iter_stream():
            read += len(part)
            if read >= MOST_READ:
                return
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        log.debug("the answer's body broke off")


def _outcome(answer: httpcore.Response) -> Outcome:
    named = {name.lower(): value for name, value in answer.headers}
    raw = named.get(b"retry-after")
    asked = retry_after(None if raw is None else raw.decode("latin-1"), time.time())
    if 200 <= answer.status < 300:
        return Outcome(answer.status)
    try:
        phrase = f" {HTTPStatus(answer.status).phrase}"
    except ValueError:
        phrase = ""
    more = ": redirects are not followed" if 300 <= answer.status < 400 else ""
    return Outcome(answer.status, f"answered {answer.status}{phrase}{more}", asked)


def _reason(error: Exception) -> str:
    """In the operating system's or TLS library's words, without what a receiver could put in."""
    cause: BaseException | None = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason}"
    if isinstance(cause, socket.timeout):
        return "it took too long"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return type(error).__name__
