"""Dialling another agent: control connections, and data streams that carry a checkpoint."""

from __future__ import annotations

import queue
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from porter.agent.peer_tls import (
    Credentials,
    client_context,
    handshake,
    host_of,
    size_buffers,
    tune,
)
from porter.agent.peer_wire import Wire
from porter.domain.errors import PorterError, Transient, from_code
from porter.protocol import VERSION

CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class PeerAddress:
    """Where another agent listens, and who it must prove to be."""

    host: str
    address: str
    port: int


def dial(
    me: Credentials, to: PeerAddress, purpose: str, migration: str, token: str, **more: Any
) -> tuple[Wire, dict[str, Any]]:
    """Connect, say hello, and return the connection with the other side's welcome.

    Raises Transient if the host cannot be reached, and the other side's own error if it says no.
    """
    wire = Wire(_connect(me, to), to.host)
    hello = {"t": "hello", "v": VERSION, "purpose": purpose, "migration": migration}
    try:
        wire.timeout(CONNECT_TIMEOUT_S)
        wire.send({**hello, "token": token, "host": me.host, **more})
        welcome, _ = wire.receive()
        raise_refusal(welcome)
        wire.timeout(None)
    except PorterError:
        wire.close()
        raise
    return wire, welcome


def raise_refusal(header: dict[str, Any]) -> None:
    """Raise the error that the other side sent, if this is one."""
    if header.get("t") == "error":
        raise from_code(
            str(header.get("code")), str(header.get("message")), str(header.get("remedy", ""))
        )


def _connect(me: Credentials, to: PeerAddress) -> ssl.SSLSocket:
    where = f"host {to.host} at {to.address}:{to.port}"
    family = socket.AF_INET6 if ":" in to.address else socket.AF_INET
    raw = socket.socket(family, socket.SOCK_STREAM)
    try:
        raw.settimeout(CONNECT_TIMEOUT_S)
        size_buffers(raw)
        raw.connect((to.address, to.port))
        tune(raw)
        sock = handshake(client_context(me), raw, to.host)
    except OSError as error:
        raw.close()
        remedy = f"check that its agent runs and that port {to.port} is open between the hosts"
        raise Transient(f"cannot reach {where}: {error}", remedy) from error
    if host_of(sock) != to.host:
        sock.close()
        raise Transient(f"cannot reach {where}: another host answers there")
    return sock


class DataStreams:
    """Several connections behind one `send`: `checkpoint.base.Frames`.

    Thread-safe. Every caller writes to a connection that is free, and waits if none is: so a slow
    network holds the sender back, and nothing is copied or kept. Use as many threads as streams.
    """

    def __init__(self, wires: list[Wire]) -> None:
        self._wires = wires
        self._free: queue.SimpleQueue[Wire] = queue.SimpleQueue()
        self._failed: PorterError | None = None
        for wire in wires:
            self._free.put(wire)

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """Write one frame. Raises what broke a stream, if one broke."""
        wire = self._free.get()
        try:
            if self._failed is not None:
                raise self._failed
            wire.send(header, payload)
        except PorterError as error:
            self._failed = self._failed or error
            raise
        finally:
            self._free.put(wire)

    def finish(self) -> None:
        """Mark the end of every stream; no `send` may be at work any more."""
        if self._failed is not None:
            raise self._failed
        for wire in self._wires:
            wire.send({"t": "end"})

    def cut(self) -> None:
        """Make everything that is blocked on the streams fail, now and later; from any thread."""
        if self._failed is None:
            self._failed = Transient("cannot send: the streams were closed")
        for wire in self._wires:
            wire.cut()

    def close(self) -> None:
        """End all connections. Idempotent."""
        self.cut()
        for wire in self._wires:
            wire.close()

    @property
    def wire_bytes(self) -> int:
        """Bytes sent so far on all streams."""
        return sum(wire.wire_bytes for wire in self._wires)
