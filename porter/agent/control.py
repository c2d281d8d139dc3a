"""The agent's calls to the control plane: HTTPS, authenticated by this host's certificate."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import httpx

from porter.agent.peer_tls import Credentials
from porter.domain.errors import Transient, from_code
from porter.protocol import codec
from porter.protocol.checkpoints import Granted, Listed, WantTickets
from porter.protocol.joining import Heartbeat, Network, Orders
from porter.protocol.messages import Progress, Result
from porter.store.base import Blob, Blobs, Ticket
from porter.store.tickets import TicketBlobs

_TIMEOUT_S = 15.0
_CODES = {401: "denied", 403: "denied", 404: "not_found", 409: "conflict", 410: "not_found"}
_FIRST_BACKOFF_S, _LAST_BACKOFF_S = 0.1, 2.0


class ControlPlane:
    """One agent's view of the control plane. Thread-safe.

    Every call raises Transient if the control plane is away or answers with a server error, and
    the error that it names otherwise.
    """

    def __init__(self, url: str, who: Credentials) -> None:
        context = verified_context(who.ca.read_text())
        context.load_cert_chain(who.certificate, who.key)
        self._client = httpx.Client(
            base_url=f"{url}/agent/v1", verify=context, timeout=_TIMEOUT_S, trust_env=False
        )

    def close(self) -> None:
        """Calls in progress in other threads fail."""
        self._client.close()

    def heartbeat(self, beat: Heartbeat) -> Network:
        return codec.load(Network, self._call("POST", "/heartbeat", codec.dump(beat)).json())

    def poll(self, wait: float, network: int, resume: bool) -> Orders:
        """Commands for this host; blocks up to `wait` seconds until there are some."""
        where = f"/commands?wait={wait:g}&network={network}&resume={int(resume)}"
        return codec.load(Orders, self._call("GET", where, wait=wait).json())

    def progress(self, command: str, news: Progress) -> None:
        self._call("POST", f"/commands/{command}/progress", codec.dump(news))

    def result(self, command: str, result: Result) -> None:
        self._call("POST", f"/commands/{command}/result", codec.dump(result))

    def store(self, migration: str) -> Blobs:
        """The store of a migration or checkpoint in which this host takes part, by tickets."""

        def ask(method: str, keys: Sequence[str], seconds: int) -> list[Ticket]:
            want = WantTickets(migration, method, tuple(keys), seconds)
            answer = self._call("POST", "/tickets", codec.dump(want)).json()
            granted = codec.load(Granted, answer).tickets
            return [Ticket(one.method, one.url, one.headers) for one in granted]

        def listing(prefix: str) -> list[Blob]:
            where = f"/blobs?{urlencode({'migration': migration, 'prefix': prefix})}"
            answer = codec.load(Listed, self._call("GET", where).json())
            return [Blob(key, size) for key, size in answer.blobs]

        return TicketBlobs(ask, listing)

    def _call(self, verb: str, where: str, body: Any = None, wait: float = 0.0) -> httpx.Response:
        try:
            answer = self._client.request(verb, where, json=body, timeout=_TIMEOUT_S + wait)
        except (httpx.TransportError, RuntimeError) as error:  # RuntimeError: closed meanwhile
            raise Transient(f"cannot reach the control plane: {error}") from error
        raise_for(answer, f"{verb} {where.partition('?')[0]}")
        return answer


class Backoff:
    """Waits that grow from 0.1 to 2 s; `reset` after a success."""

    def __init__(self) -> None:
        self._next = _FIRST_BACKOFF_S

    def reset(self) -> None:
        self._next = _FIRST_BACKOFF_S

    def next(self) -> float:
        """Seconds to wait before the next try."""
        now, self._next = self._next, min(self._next * 2, _LAST_BACKOFF_S)
        return now


def verified_context(ca_pem: str) -> ssl.SSLContext:
    """Trusts this CA and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ca_pem)
    return context


def raise_for(answer: httpx.Response, doing: str) -> None:
    """Raise the error in an answer that is none of success; its body is problem+json."""
    if answer.is_success:
        return
    if answer.status_code >= 500 or answer.status_code == 429:
        raise Transient(f"cannot {doing}: the control plane answered {answer.status_code}")
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or problem.get("title") or f"answer {answer.status_code}"
    code = str(problem.get("code") or _CODES.get(answer.status_code, "invalid"))
    message = str(detail)
    if not message.startswith("cannot"):
        message = f"cannot {doing}: {message}"
    raise from_code(code, message, str(problem.get("remedy") or ""))
