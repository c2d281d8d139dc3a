"""The agents' TLS listener: the control plane's own CA, client certificates, who is calling."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import tempfile
from dataclasses import dataclass
from typing import Any

import psutil
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from porter.pki import URI, Authority
from porter.settings import Settings, split_address

PEER = "porter.peer"
"""Key in the ASGI scope: the Peer that holds the client certificate."""


@dataclass(frozen=True)
class Peer:
    """Whom a verified client certificate names."""

    host: str
    serial: str


def peer_of(certificate: dict[str, Any] | None) -> Peer | None:
    """The host named by a verified certificate; None without one."""
    if not certificate:
        return None
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "URI" and value.startswith(URI):
            serial = f"{int(certificate['serialNumber'], 16):x}"
            return Peer(host=value.removeprefix(URI), serial=serial)
    return None


class PeerProtocol(H11Protocol):
    """Uvicorn's HTTP/1.1 protocol that tells the application who is calling."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self.app = _knowing(self.app, peer_of(tls.getpeercert() if tls else None))


def _knowing(app: Any, peer: Peer | None) -> ASGIApp:
    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        scope[PEER] = peer
        await app(scope, receive, send)

    return wrapped


def listener_names(settings: Settings) -> list[str]:
    """Every name and address by which agents may reach the listener."""
    host, _ = split_address(settings.agents)
    names = ["localhost", "127.0.0.1", socket.gethostname(), *settings.agent_names]
    if host in ("0.0.0.0", "::"):
        for addresses in psutil.net_if_addrs().values():
            for address in addresses:
                if address.family in (socket.AF_INET, socket.AF_INET6):
                    names.append(address.address.partition("%")[0])
    else:
        names.append(host)
    return list(dict.fromkeys(names))


def server_context(authority: Authority, settings: Settings) -> ssl.SSLContext:
    """TLS 1.3 with a fresh certificate; hosts may show theirs, verified against our CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authority.pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    key, chain = authority.listener(listener_names(settings))
    # The ssl module reads keys from files only; this one is gone when we return.
    handle, path = tempfile.mkstemp(prefix="porter-listener-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key + chain)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)
    return context
