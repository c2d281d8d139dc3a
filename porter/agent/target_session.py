"""One handover as the target lives it: receive, verify, restore to the gate, accept, run."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import msgpack

from porter.agent.context import Context
from porter.agent.journal import Record
from porter.agent.measure import milliseconds_since
from porter.agent.peer_wire import Wire
from porter.agent.target import LOST, Restore, TargetSide, parse
from porter.checkpoint.base import Manifest
from porter.domain.container import Twin
from porter.domain.errors import Conflict, Permanent, PorterError, Transient
from porter.domain.handover import Source, Target, TargetEvent
from porter.protocol import codec

log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.2
_STREAMS_END_S = 60.0
_LAST_WORD_S = 5.0


class Session:
    """The control connection's dialogue, and the data streams that belong to it."""

    def __init__(
        self, context: Context, side: TargetSide, record: Record, wire: Wire, twin: Twin
    ) -> None:
        self._context = context
        self._side = side
        self._migration = record.migration
        self._record = record
        self._wire = wire
        self._twin = twin
        memory = record.spec.memory_bytes if record.spec is not None else 0
        self._receiver = context.parts.new_receiver(twin.images, twin.trees, memory)
        self._streams: set[Wire] = set()
        self._ended = 0
        self._failure: PorterError | None = None
        self._changed = threading.Condition()

    # -- data streams: each in the thread of its connection ---------------------------------

    def stream(self, wire: Wire) -> None:
        """Take in one data stream until its end mark."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._streams.add(wire)
        try:
            self._take_in(wire)
        except PorterError as error:
            self._fail(error)
        except Exception as error:
            self._fail(Permanent(f"cannot take in the checkpoint: {error!r}"))
            raise
        finally:
            with self._changed:
                self._streams.discard(wire)
                self._changed.notify_all()

    def _take_in(self, wire: Wire) -> None:
        while True:
            header, payload = wire.receive()
            kind = header.get("t")
            if kind == "end":
                with self._changed:
                    self._ended += 1
                return
            if kind == "probe":
                if header.get("last"):
                    wire.send({"t": "probed"})
                continue
            self._receiver.frame(header, payload)

    def cancel(self, why: str) -> None:
        """Break the session off, from any thread."""
        self._fail(Transient(f"cannot go on with the transfer: {why}"))
        self._wire.cut()

    def _fail(self, error: PorterError) -> None:
        """The first failure is the reason; the dialogue sees it at its next look."""
        with self._changed:
            self._failure = self._failure or error
            streams = list(self._streams)
            self._changed.notify_all()
        for stream in streams:
            stream.cut()

    # -- the dialogue -----------------------------------------------------------------------

    def run(self) -> None:
        """Play the target's part to its end; the record says how it went."""
        try:
            accepted = self._receive_and_restore()
        except PorterError as error:
            self._refuse(error)
        except Exception as error:
            self._refuse(Permanent(f"cannot take the workload: {error!r}"))
            raise
        else:
            self._await_commit(accepted)

    def _receive_and_restore(self) -> dict[str, Any]:
        self._context.ledger.update(self._migration, streaming=True)
        self._wire.send({"t": "welcome", "state": Target.RESERVED})
        header, _ = self._next("manifest")
        manifest = codec.load(Manifest, header.get("manifest"))
        self._await_ends(int(header.get("streams", 0)))
        start = time.monotonic()
        digest = self._receiver.finish(manifest)
        verify_ms = milliseconds_since(start)
        start = time.monotonic()
        self._await_gate(self._side.restore(self._migration, self._twin))
        restore_ms = milliseconds_since(start)
        record = self._context.ledger.target(self._migration, TargetEvent.ACCEPT)
        if record.state != Target.ACCEPTED:
            raise Conflict(f"cannot accept: this host has {record.state} the migration already")
        return {"digest": digest, "verify_ms": verify_ms, "restore_ms": restore_ms}

    def _await_ends(self, streams: int) -> None:
        """Every stream's last frame is written; the manifest may have overtaken them."""

        def all_ended() -> bool:
            return self._ended >= streams and not self._streams

        with self._changed:
            self._changed.wait_for(lambda: self._failure or all_ended(), _STREAMS_END_S)
            if self._failure is not None:
                raise self._failure
            if not all_ended():
                raise Transient("cannot take the workload: not all its data arrived")

    def _await_gate(self, restore: Restore) -> None:
        gate = self._context.parts.gate(self._twin.images)
        while not gate.waiting(_LOOK_EVERY_S):
            if restore.ended.is_set():
                raise restore.error or Permanent("cannot hold the restored tasks at the gate")
            self._raise_if_over()
        if restore.ended.is_set():
            raise restore.error or Permanent("cannot hold the restored tasks at the gate")

    def _raise_if_over(self) -> None:
        """Raise if the session was cancelled or the source left or aborted."""
        if self._failure is not None:
            raise self._failure
        if self._wire.readable(0):
            header, _ = self._wire.receive()
            raise Transient(f"cannot go on: the source said {header.get('state')!r}")

    def _next(self, kind: str) -> tuple[dict[str, Any], memoryview]:
        while not self._wire.readable(_LOOK_EVERY_S):
            if self._failure is not None:
                raise self._failure
        header, payload = self._wire.receive()
        if header.get("t") != kind:
            reason = header.get("reason") or f"unexpected {header.get('t')!r}"
            raise Transient(f"cannot go on: the source ended the transfer: {reason}")
        return header, payload

    def _await_commit(self, accepted: dict[str, Any]) -> None:
        """Tell that we accepted; run only on hearing that the source handed over."""
        try:
            self._wire.send({"t": "state", "state": Target.ACCEPTED, **accepted})
            header, payload = self._wire.receive()
            peer = parse(Source, header.get("state"))
        except PorterError as error:
            # In doubt: the tasks stay at the gate until the source or the control plane says more.
            log.warning("waiting at the gate: %s", error, extra={"migration": self._migration})
            return
        start = time.monotonic()
        if peer is Source.ABORTED:
            record = self._side.refuse(self._migration, str(header.get("reason", "")))
        else:
            record = self._side.hears(self._migration, peer, _packets(payload))
        self._tell_end(record, start)

    def _tell_end(self, record: Record, start: float) -> None:
        lost = record.note.startswith(LOST)
        word = {"t": "state", "state": record.state, "reason": record.note, "lost": lost}
        try:
            self._wire.send({**word, "resume_ms": milliseconds_since(start)})
            self._wire.send({"t": "finished"}, msgpack.packb(self._connections(record)))
        except PorterError as error:
            log.info("the source left early: %s", error, extra={"migration": self._migration})

    def _connections(self, record: Record) -> list[str]:
        link = self._context.parts.runtime.link(record.container)
        return sorted(self._context.established(link.netns)) if link is not None else []

    def _refuse(self, error: PorterError) -> None:
        """Refuse for good, with no stream still writing into the twin, and say so."""
        self._fail(error)
        with self._changed:
            self._changed.wait_for(lambda: not self._streams, _STREAMS_END_S)
        record = self._side.refuse(self._migration, str(error))
        try:
            self._wire.timeout(_LAST_WORD_S)
            self._wire.send({"t": "state", "state": record.state, "reason": str(error)})
        except PorterError:
            pass  # the source is gone: it finds out by asking


def _packets(payload: memoryview) -> list[bytes]:
    try:
        packets = msgpack.unpackb(payload) if len(payload) else []
    except ValueError:
        return []  # a courtesy to the container's peers, nothing that the handover needs
    return [packet for packet in packets if isinstance(packet, bytes)]
