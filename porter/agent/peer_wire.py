"""Frames between two agents over one TLS connection.

A frame is `!IQ` (length of header, length of payload), a msgpack map, and the payload. Both lengths
are bounded: the other side is authenticated, but not trusted with our memory.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from typing import Any

import msgpack

from porter.domain.errors import Permanent, Transient

MAX_HEADER = 64 * 1024
MAX_PAYLOAD = 8 * 1024 * 1024
_PREFIX = struct.Struct("!IQ")
_JOIN_BELOW = 16 * 1024
"""Payloads under one TLS record's size travel in one write with their header."""
_TCP_INFO_BYTES_SENT = 200
"""Offset of tcpi_bytes_sent in the kernel's struct tcp_info."""
_CLOSE_REMEDY = "see the other host's agent and the network between the two"


class Wire:
    """One authenticated connection to another agent.

    Not thread-safe, except for `cut`, which makes a blocked call in another thread fail. All
    failures of the connection are raised as Transient, frames out of bounds as Permanent.
    """

    def __init__(self, sock: ssl.SSLSocket, host: str) -> None:
        self.host = host
        """The id in the other side's certificate."""
        self._sock = sock
        self._prefix = memoryview(bytearray(_PREFIX.size))
        self._buffer = memoryview(bytearray(MAX_HEADER))
        self._counted = 0
        self._sent_at_close: int | None = None

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        """Write one frame. Blocks while the other side does not read."""
        packed = msgpack.packb(header)
        if len(packed) > MAX_HEADER or len(payload) > MAX_PAYLOAD:
            raise Permanent(f"cannot send {header.get('t')!r}: the frame is too large")
        head = _PREFIX.pack(len(packed), len(payload)) + packed
        try:
            if len(payload) < _JOIN_BELOW:
                self._sock.sendall(head + bytes(payload))
            else:
                self._sock.sendall(head)
                self._sock.sendall(payload)
        except (OSError, ValueError) as error:
            raise self._lost(error) from error
        self._counted += len(head) + len(payload)

    def receive(self) -> tuple[dict[str, Any], memoryview]:
        """The next frame. The payload is a view into a buffer that the next call overwrites."""
        self._fill(self._prefix)
        header_size, payload_size = _PREFIX.unpack(self._prefix)
        if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
            raise Permanent(
                f"cannot read from host {self.host}: a frame of {header_size} + {payload_size} "
                "bytes is out of bounds"
            )
        raw = self._buffer[:header_size]
        self._fill(raw)
        header = self._unpack(raw)
        if payload_size > len(self._buffer):
            self._buffer = memoryview(bytearray(payload_size))
        payload = self._buffer[:payload_size]
        self._fill(payload)
        return header, payload

    def readable(self, timeout: float) -> bool:
        """Whether something, be it the end, can be read within `timeout` seconds."""
        try:
            return self._sock.pending() > 0 or bool(select.select([self._sock], [], [], timeout)[0])
        except (OSError, ValueError) as error:
            raise self._lost(error) from error

    def timeout(self, seconds: float | None) -> None:
        """Bound every later read and write; None waits as long as the connection lives."""
        try:
            self._sock.settimeout(seconds)
        except OSError as error:
            raise self._lost(error) from error

    @property
    def wire_bytes(self) -> int:
        """Bytes that left for the other side, TLS and retransmissions included."""
        if self._sent_at_close is not None:
            return self._sent_at_close
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:
            return self._counted  # closed already: the frames are the best we know
        if len(info) < _TCP_INFO_BYTES_SENT + 8:
            return self._counted  # kernels before 4.19 do not tell
        return int(struct.unpack_from("=Q", info, _TCP_INFO_BYTES_SENT)[0])

    def cut(self) -> None:
        """End the connection from any thread; blocked calls fail at once."""
        try:
            # Not SSLSocket.shutdown: that would take the TLS layer from under a writing thread.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            pass  # not connected any more: as wanted

    def close(self) -> None:
        """Flush nothing, free the descriptor. Idempotent."""
        if self._sent_at_close is None:
            self._sent_at_close = self.wire_bytes
        self.cut()
        self._sock.close()

    def _fill(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            try:
                count = self._sock.recv_into(view[done:])
            except (OSError, ValueError) as error:
                raise self._lost(error) from error
            if count == 0:
                raise self._lost(None)
            done += count

    def _unpack(self, raw: memoryview) -> dict[str, Any]:
        try:
            header = msgpack.unpackb(raw, raw=False, strict_map_key=True)
        except (ValueError, msgpack.UnpackException) as error:
            raise Permanent(f"cannot read from host {self.host}: {error}") from error
        if not isinstance(header, dict):
            raise Permanent(f"cannot read from host {self.host}: a header is no map")
        return header

    def _lost(self, error: Exception | None) -> Transient:
        why = "the connection was closed" if error is None else str(error) or type(error).__name__
        return Transient(f"cannot go on with host {self.host}: {why}", _CLOSE_REMEDY)
