"""The source's connections to the target of one handover: one for words, several for data."""

from __future__ import annotations

import os
import time
from typing import Any

import msgpack

from porter.agent.context import Context
from porter.agent.peer_client import DataStreams, PeerAddress
from porter.agent.peer_wire import Wire
from porter.agent.target import parse
from porter.checkpoint.base import Manifest
from porter.domain.errors import PorterError, Transient
from porter.domain.handover import Source, Target
from porter.protocol import codec
from porter.protocol.messages import Handover

_MAX_STREAMS = 16
_PROBE_PIECE = 512 * 1024
_PROBE_PIECES = 6
_PROBE_S = 10.0
_LAST_WORD_S = 0.3
_TELL_S = 2.0


class TargetLink:
    """Made before the freeze, so that nothing about the network is learnt after it."""

    def __init__(self, context: Context, order: Handover) -> None:
        to = PeerAddress(order.target_host, order.peer_address, order.peer_port)
        self._control, _ = context.dial(to, "control", order)
        self._data: list[Wire] = []
        try:
            for _ in range(max(1, min(order.streams, _MAX_STREAMS))):
                self._data.append(context.dial(to, "data", order)[0])
        except PorterError:
            for wire in (self._control, *self._data):
                wire.close()
            raise
        self.streams = DataStreams(self._data)

    def measure_speed(self) -> int | None:
        """The link's speed in bytes per second, by sending what cannot be compressed.

        Costs about 3 MB; the connections are warm afterwards.
        """
        wire = self._data[0]
        junk = os.urandom(_PROBE_PIECE)
        wire.timeout(_PROBE_S)
        start = time.monotonic()
        for left in reversed(range(_PROBE_PIECES)):
            wire.send({"t": "probe", "last": left == 0}, junk)
        wire.receive()
        took = time.monotonic() - start
        wire.timeout(None)
        return int(_PROBE_PIECE * _PROBE_PIECES / took) if took > 0 else None

    def finish(self, manifest: Manifest) -> None:
        """Write what is queued, end the data streams, and say what was sent."""
        self.streams.finish()
        word = {"t": "manifest", "manifest": codec.dump(manifest), "streams": len(self._data)}
        self._control.send(word)

    def next_state(self, timeout: float) -> tuple[dict[str, Any], memoryview]:
        """The target's next word on its state. Raises Transient if none comes in time."""
        if not self._control.readable(timeout):
            raise Transient(f"cannot go on: no word from the target within {timeout:.0f} s")
        word, payload = self._control.receive()
        if word.get("t") != "state":
            raise Transient(f"cannot go on: the target said {word.get('t')!r}")
        return word, payload

    @staticmethod
    def peer_state(word: dict[str, Any]) -> Target:
        return parse(Target, word.get("state"))

    def connections(self, timeout: float) -> frozenset[str]:
        """The container's connections on the target, which it tells after it said `running`."""
        if not self._control.readable(timeout):
            raise Transient("cannot compare connections: the target did not tell them")
        _, payload = self._control.receive()
        try:
            return frozenset(str(one) for one in msgpack.unpackb(payload))
        except (ValueError, TypeError) as error:
            raise Transient(f"cannot compare connections: {error}") from error

    def last_word(self) -> dict[str, Any]:
        """What the target said last, if it comes at once; empty if not."""
        try:
            while self._control.readable(_LAST_WORD_S):
                word, _ = self._control.receive()
                if word.get("t") == "state":
                    return word
        except PorterError:
            pass  # the connection is gone: it said nothing
        return {}

    def tell(self, state: Source, payload: bytes = b"", reason: str = "") -> None:
        self._control.send({"t": "state", "state": state, "reason": reason}, payload)

    def tell_if_possible(self, state: Source, reason: str) -> None:
        """A courtesy: whoever misses it finds out by asking."""
        try:
            self._control.timeout(_TELL_S)
            self.tell(state, reason=reason)
        except PorterError:
            pass

    @property
    def wire_bytes(self) -> int:
        return self._control.wire_bytes + self.streams.wire_bytes

    def cut_streams(self) -> None:
        self.streams.cut()

    def cut(self) -> None:
        """Make everything blocked on these connections fail; from any thread."""
        self._control.cut()
        self.streams.cut()

    def close(self) -> None:
        self._control.close()
        self.streams.close()
