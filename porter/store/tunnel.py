"""A byte stream between two hosts that cannot reach each other, carried by a store.

`listen` on one host gives a local port; each connection to it comes out of `serve` on the other.
Streams are reliable and ordered, may be half-closed, and know windows; nothing is encrypted here:
the two agents speak TLS through it, end to end. Each tunnel has a prefix of its own, used once.

A connection's first segment is `PREFIX/NUMBER/up/0000000000`. Both sides remove what they have
read, and at the end whatever is left.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from porter.domain.errors import Conflict, NotFound, PorterError, Transient
from porter.store.base import Blobs, check_key
from porter.store.carrier import Carrier, Pools, sweep
from porter.store.segments import Flag, Pace, connection_key, segment_key

DEFAULT_PACE = Pace()
_AHEAD = (0, 1, 0, 2, 0, 3)
"""A connection that never came into being must not hide those after it."""


class Listener:
    """A local port that leads through the store. Close it to end the tunnel."""

    def __init__(self, blobs: Blobs, prefix: str, pace: Pace = DEFAULT_PACE) -> None:
        self._prefix = check_key(prefix)
        if next(iter(blobs.list(f"{prefix}/")), None) is not None:
            raise Conflict(f"cannot open a tunnel at {prefix}: something is there already")
        self._blobs, self._pace = blobs, pace
        self._pools = Pools()
        self._carriers: list[Carrier] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accepting, daemon=True)
        self._thread.start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Accept no more, break what is still open, clean up. Harmless to repeat."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()
        _end(self._blobs, self._prefix, self._carriers, self._pools, self._pace)

    def _accepting(self) -> None:
        number = 0
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return  # Closed.
            base = connection_key(self._prefix, number)
            number += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ways = (f"{base}/up", f"{base}/down")
            carrier = Carrier(self._blobs, self._pools, ways, sock, self._pace, Flag.SYN)
            carrier.start()
            self._carriers = [one for one in self._carriers if not one.ended.is_set()]
            self._carriers.append(carrier)


def listen(blobs: Blobs, prefix: str, pace: Pace = DEFAULT_PACE) -> Listener:
    """Open the near end; its `port` is on 127.0.0.1. Raises Conflict if the prefix is in use."""
    return Listener(blobs, prefix, pace)


def serve(
    blobs: Blobs,
    prefix: str,
    dial: Callable[[], socket.socket],
    stop: threading.Event,
    pace: Pace = DEFAULT_PACE,
) -> None:
    """The far end: connect each new connection to what `dial` gives; until `stop`. Blocks.

    A `dial` that fails with OSError breaks that connection only. At the end everything under the
    prefix is removed. Raises the store's errors that are not Transient, such as Denied.
    """
    check_key(prefix)
    pools, carriers = Pools(), list[Carrier]()
    seen: set[int] = set()
    number, turn, pause = 0, 0, pace.shortest
    try:
        while not stop.is_set():
            wanted = number + _AHEAD[turn % len(_AHEAD)]
            if wanted not in seen and _is_there(blobs, prefix, wanted):
                seen.add(wanted)
                carriers = [one for one in carriers if not one.ended.is_set()]
                carriers.append(_connect(blobs, pools, connection_key(prefix, wanted), dial, pace))
                turn, pause = 0, pace.shortest
            else:
                turn += 1
                stop.wait(pause)
                pause = min(pause * 1.3, pace.longest)
            while number in seen:
                seen.remove(number)
                number += 1
    finally:
        _end(blobs, prefix, carriers, pools, pace)


def _is_there(blobs: Blobs, prefix: str, number: int) -> bool:
    try:
        blobs.get(segment_key(f"{connection_key(prefix, number)}/up", 0))
    except (NotFound, Transient):
        return False
    return True


def _connect(
    blobs: Blobs, pools: Pools, base: str, dial: Callable[[], socket.socket], pace: Pace
) -> Carrier:
    why = None
    try:
        sock = dial()
        sock.settimeout(None)
    except OSError as error:
        why = Transient(f"cannot connect: {error.strerror or type(error).__name__}")
        sock = socket.socket()
    carrier = Carrier(blobs, pools, (f"{base}/down", f"{base}/up"), sock, pace)
    if why is not None:
        carrier.abort(why)
    carrier.start()
    return carrier


def _end(blobs: Blobs, prefix: str, carriers: list[Carrier], pools: Pools, pace: Pace) -> None:
    broken = [carrier for carrier in carriers if not carrier.ended.is_set()]
    for carrier in broken:
        carrier.abort(Transient("cannot carry on: the tunnel is closed"))
    for carrier in broken:
        carrier.ended.wait()
    pools.close()
    until = time.monotonic() + (10 * pace.longest if broken else 0)
    with contextlib.suppress(PorterError):
        # The other side should hear that it is over, and then cleans up itself.
        while time.monotonic() < until and next(iter(blobs.list(f"{prefix}/")), None):
            time.sleep(pace.longest / 2)
    sweep(blobs, f"{prefix}/")
