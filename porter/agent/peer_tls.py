"""TLS between agents: TLS 1.3, both sides show certificates of the control plane's CA."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

_BUFFER = 4 * 1024 * 1024


@dataclass(frozen=True)
class Credentials:
    """Files of this host's identity, and its id."""

    host: str
    key: Path
    certificate: Path
    ca: Path


def client_context(who: Credentials) -> ssl.SSLContext:
    """For dialling another agent: its certificate must carry its host id as DNS name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context, who)
    return context


def server_context(who: Credentials) -> ssl.SSLContext:
    """For being dialled: no certificate of the CA, no conversation."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context, who)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # sessions are never resumed; unread tickets would end in a reset
    return context


def _restrict(context: ssl.SSLContext, who: Credentials) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cafile=who.ca)
    context.load_cert_chain(who.certificate, who.key)


def handshake(context: ssl.SSLContext, raw: socket.socket, to: str | None = None) -> ssl.SSLSocket:
    """TLS over a connected socket, as client if `to` (a host id) is given. Raises OSError.

    Takes the socket over: it is closed on failure, too. The handshake is explicit because
    `wrap_socket` leaves it out, silently, if the other side has gone away already.
    """
    raw.getpeername()  # fails if the other side is gone; `wrap_socket` would lose the descriptor
    server = to is None
    sock = context.wrap_socket(
        raw, server_side=server, do_handshake_on_connect=False, server_hostname=to
    )
    try:
        sock.do_handshake()
    except (OSError, ValueError):
        sock.close()
        raise
    return sock


def host_of(sock: ssl.SSLSocket) -> str:
    """The host id in the other side's verified certificate; empty if it has none."""
    names = (sock.getpeercert() or {}).get("subjectAltName", ())
    return next((str(name[1]) for name in names if name[0] == "DNS"), "")


def size_buffers(sock: socket.socket) -> None:
    """Large kernel buffers; must precede the connection to have their full effect."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def tune(sock: socket.socket) -> None:
    """No waiting for more to send, and a dead host is noticed within about ten seconds."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
