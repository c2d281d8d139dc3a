"""A network on which one bit turns over: a proxy that changes a certain mark as it passes."""

from __future__ import annotations

import contextlib
import socket
import threading


class TurningProxy:
    """Forwards connections to a port; in what goes there, one bit of every `mark` is turned."""

    def __init__(self, port: int, mark: bytes) -> None:
        self._to, self._mark = port, mark
        self._turned = bytes([mark[0] ^ 1]) + mark[1:]
        self.turned = 0
        self._done: dict[frozenset[socket.socket], int] = {}
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                pair = frozenset((near, far))
                for ends in ((near, far, True, pair), (far, near, False, pair)):
                    threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        turn: bool,
        ends: frozenset[socket.socket],
    ) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                data = held + data
                if turn:
                    self.turned += data.count(self._mark)
                    data = data.replace(self._mark, self._turned)
                    data, held = self._split(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._done[ends] = self._done.get(ends, 0) + 1
            if self._done[ends] == 2:
                source.close()
                target.close()

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """What may go on, and an end that may be the beginning of a mark."""
        for size in range(min(len(self._mark) - 1, len(data)), 0, -1):
            if self._mark.startswith(data[-size:]):
                return data[:-size], data[-size:]
        return data, b""
