"""Streams to a host that cannot be reached, through a store that both reach.

The control plane gives a ticket for every blob: no credential of the store comes here. What goes
through is TLS between the two agents, as on a direct connection.

A tunnel's prefix serves once, so each opening of the near end gets a number of its own, kept in the
journal: `VIA/1`, after a restart or a broken tunnel `VIA/2` … The far end serves whichever appear.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from porter.agent.journal import Journal
from porter.domain.errors import Conflict, PorterError, Transient
from porter.store.base import Blobs
from porter.store.tunnel import Listener, listen, serve

log = logging.getLogger(__name__)
_LOOK_S = 1.0
_DIAL_S = 5.0
_ENDS_S = 5.0


class Opener(Protocol):
    def __call__(self, migration: str) -> Blobs:
        """The store of a migration, as this host may use it."""
        ...


class _FarEnd:
    """Serves every opening of one tunnel until stopped."""

    def __init__(self, blobs: Blobs, via: str, dial: Callable[[], socket.socket]) -> None:
        self._blobs, self._via, self._dial = blobs, via, dial
        self._stop = threading.Event()
        self._served: dict[str, threading.Thread] = {}
        self._thread = threading.Thread(target=self._look, name="tunnels", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        self._serve("1")
        while not self._stop.wait(_LOOK_S):
            try:
                keys = [blob.key for blob in self._blobs.list(f"{self._via}/")]
            except PorterError as error:
                log.info("cannot look for tunnels: %s", error)
                continue
            for number in {key[len(self._via) + 1 :].partition("/")[0] for key in keys}:
                self._serve(number)

    def _serve(self, number: str) -> None:
        if number in self._served:
            return
        where = (self._blobs, f"{self._via}/{number}", self._dial, self._stop)
        thread = threading.Thread(target=serve, args=where, name="tunnel", daemon=True)
        self._served[number] = thread
        thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(_ENDS_S)
        for thread in self._served.values():
            thread.join(_ENDS_S)


class Tunnels:
    """All tunnels of one agent. Thread-safe; everything may be repeated."""

    def __init__(self, opener: Opener, journal: Journal, peer_port: Callable[[], int]) -> None:
        self._opener = opener
        self._journal = journal
        self._peer_port = peer_port
        self._lock = threading.Lock()
        self._near: dict[str, Listener] = {}
        self._far: dict[str, _FarEnd] = {}

    def port(self, via: str) -> int:
        """A local port that leads to the other host of a migration."""
        with self._lock:
            listener = self._near.get(via)
            if listener is None:
                listener = self._near[via] = self._open(via)
            return listener.port

    def _open(self, via: str) -> Listener:
        key = f"tunnel {via}"
        number = int(self._journal.recall(key) or 0) + 1
        self._journal.remember(key, number)
        try:
            return listen(self._opener(via.rpartition("/")[2]), f"{via}/{number}")
        except Conflict as error:
            raise Transient(f"cannot open a tunnel: {error}") from error

    def broken(self, via: str) -> None:
        """Nothing comes through any more: the next use opens it anew."""
        with self._lock:
            listener = self._near.pop(via, None)
        if listener is not None:
            threading.Thread(target=listener.close, name="tunnel-end", daemon=True).start()

    def serve(self, via: str) -> None:
        """Let the other host reach our peer port through the store."""
        with self._lock:
            if via not in self._far:
                self._far[via] = _FarEnd(self._opener(via.rpartition("/")[2]), via, self._dial)

    def _dial(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._peer_port()), _DIAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def close(self, via: str) -> None:
        """End both ends of a tunnel here and clean up. What never was is closed."""
        self.broken(via)
        with self._lock:
            far = self._far.pop(via, None)
        if far is not None:
            far.stop()

    def close_all(self) -> None:
        for via in {*self._near, *self._far}:
            self.close(via)
