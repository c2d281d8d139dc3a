"""Dialling another agent: control connections, and data streams that carry a checkpoint."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import Any

from porter.agent.peer_tls import Credentials, client_context, host_of, size_buffers, tune
from porter.agent.peer_wire import Wire
from porter.domain.errors import PorterError, Transient, from_code
from porter.protocol import VERSION

CONNECT_TIMEOUT_S = 5.0
_QUEUED_PER_STREAM = 2


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
        sock = client_context(me).wrap_socket(raw, server_hostname=to.host)
    except OSError as error:
        raw.close()
        remedy = f"check that its agent runs and that port {to.port} is open between the hosts"
        raise Transient(f"cannot reach {where}: {error}", remedy) from error
    if host_of(sock) != to.host:
        sock.close()
        raise Transient(f"cannot reach {where}: another host answers there")
    return sock


class DataStreams:
    """Several connections that share one bounded queue of frames: `checkpoint.base.Frames`.

    `send` is thread-safe and blocks when the network is slower than the sender. A payload must not
    change after it was handed over: it is written later.
    """

    def __init__(self, wires: list[Wire]) -> None:
        self._wires = wires
        self._queue: queue.Queue[tuple[dict[str, Any], bytes | memoryview] | None] = queue.Queue(
            _QUEUED_PER_STREAM * len(wires)
        )
        self._failed: PorterError | None = None
        self._threads = [
            threading.Thread(target=self._write, args=(wire,), name="peer-stream", daemon=True)
            for wire in wires
        ]
        for thread in self._threads:
            thread.start()

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """Queue one frame. Raises what broke a stream, if one broke."""
        self._put((header, payload))

    def finish(self) -> None:
        """Write all that is queued, mark the end of every stream. Raises if a stream broke."""
        for _ in self._threads:
            self._put(None)
        for thread in self._threads:
            thread.join()
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """End all connections and threads; what is queued is dropped. Idempotent."""
        if self._failed is None:
            self._failed = Transient("cannot send: the streams were closed")
        for wire in self._wires:
            wire.cut()
        self._wake()
        for thread in self._threads:
            thread.join()
        for wire in self._wires:
            wire.close()

    def cut(self) -> None:
        """Make everything that is blocked on the streams fail; from any thread."""
        for wire in self._wires:
            wire.cut()

    @property
    def wire_bytes(self) -> int:
        """Bytes sent so far on all streams."""
        return sum(wire.wire_bytes for wire in self._wires)

    def _put(self, item: tuple[dict[str, Any], bytes | memoryview] | None) -> None:
        while True:
            if self._failed is not None:
                raise self._failed
            try:
                self._queue.put(item, timeout=0.5)  # a broken stream is seen at the next round
                return
            except queue.Full:
                continue

    def _wake(self) -> None:
        """Every writer that waits for a frame gets something, sees the failure and ends."""
        for _ in self._threads:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                return  # enough lies there for all of them

    def _write(self, wire: Wire) -> None:
        try:
            while (item := self._queue.get()) is not None:
                if self._failed is not None:
                    return
                wire.send(*item)
            wire.send({"t": "end"})
        except PorterError as error:
            self._failed = self._failed or error
