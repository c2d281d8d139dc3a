"""Kept checkpoints brought back: read from the store, verified, restored up to the gate.

In the agent's records it is a handover whose source is the control plane: it alone says "handed
over", once it has written down that this host owns the workload, and it says so by `open`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from porter.agent.checkpoint_frames import frames_of
from porter.agent.checkpoints import META, open_store
from porter.agent.context import Context
from porter.agent.facts import Facts
from porter.agent.journal import Record
from porter.agent.ledger import TARGET
from porter.agent.target import LOST, Restore, TargetSide
from porter.checkpoint.base import Manifest
from porter.domain.container import Twin
from porter.domain.errors import (
    Conflict,
    Denied,
    NotFound,
    Permanent,
    PorterError,
    Transient,
    Unsupported,
)
from porter.domain.handover import Source, Target, TargetEvent
from porter.domain.host import HostFacts
from porter.domain.workload import WorkloadSpec
from porter.protocol import codec
from porter.protocol.checkpoints import (
    RestoreCheckpoint,
    Restored,
    Rewrap,
    Rewrapped,
    Vacate,
    Vacated,
)
from porter.protocol.messages import Progress, Query
from porter.store.catalog import rewrap
from porter.store.reader import CheckpointReader

log = logging.getLogger(__name__)
Tell = Callable[[Progress], None]
_PATIENCE_S = 20.0
_LOOK_EVERY_S = 0.2
_DECIDED = (Source.GONE, Source.ABORTED, Source.FENCED, Target.RUNNING, Target.REFUSED)


class Restoring:
    """One attempt to restore one checkpoint. `run` may be called once."""

    def __init__(
        self, context: Context, side: TargetSide, facts: Facts, order: RestoreCheckpoint, tell: Tell
    ) -> None:
        self._context = context
        self._parts = context.parts
        self._side = side
        self._facts = facts
        self._order = order
        self._tell = tell
        self._cancelled = ""

    def run(self) -> Restored:
        """Up to the gate. Raises what stopped it; nothing of it is left here then."""
        known = self._context.ledger.find(self._order.restore)
        if known is not None:
            return self._known(known)
        with open_store(self._context, self._order.checkpoint) as blobs:
            key = self._context.credentials.key.read_bytes()
            where = (blobs, self._order.checkpoint, key, self._order.identity)
            with CheckpointReader(*where, patience=_PATIENCE_S) as reader:
                spec, manifest = self._checked(reader.meta)
                record = self._open_record(spec)
                try:
                    return self._restore(record, spec, manifest, reader)
                except PorterError as error:
                    self._refuse(str(error))
                    raise
                except Exception as error:
                    self._refuse(f"cannot restore: {error!r}")
                    raise

    def _known(self, record: Record) -> Restored:
        """Asked again, by a control plane that has not heard how it went."""
        if record.state == Target.ACCEPTED and record.report is not None:
            return codec.load(Restored, record.report)
        if record.state == Target.RESERVED:
            record = self._side.refuse(record.migration, "the agent was restarted on the way")
        raise Permanent(f"cannot restore {record.workload}: {record.note or record.state}")

    def _refuse(self, why: str) -> None:
        try:
            self._side.refuse(self._order.restore, why)
        except PorterError as error:
            log.error("will be tried again: %s", error, extra={"migration": self._order.restore})

    # -- before anything is touched ---------------------------------------------------------

    def _checked(self, meta: Any) -> tuple[WorkloadSpec, Manifest]:
        """What the checkpoint says of itself, if this host can take it."""
        if meta.get("version") != META:
            raise Permanent(
                f"cannot restore {self._order.checkpoint}: it is of version {meta.get('version')}",
                "upgrade this host",
            )
        spec = codec.load(WorkloadSpec, meta["spec"])
        if spec.name != self._order.workload:
            raise Denied(f"cannot restore {self._order.workload}: it is one of {spec.name}")
        missing = self._parts.images.missing(spec.image)
        if missing:
            named = (*spec.image.names, spec.image.id)[0]
            raise Unsupported(
                f"cannot restore {spec.name}: image-missing: this host lacks {len(missing)} "
                f"layers of {named} ({spec.image.id[:19]})",
                f"pull it here first: {self._parts.runtime.facts().name} pull {named}",
            )
        there = codec.load(HostFacts, meta["facts"])
        for blocker in self._parts.blockers(spec, there, self._facts.gather()):
            why = f"cannot restore {spec.name}: {blocker.code}: {blocker.message}"
            raise Unsupported(why, blocker.remedy)
        return spec, codec.load(Manifest, meta["manifest"])

    def _open_record(self, spec: WorkloadSpec) -> Record:
        order = self._order
        other = _undecided(self._context, order.workload)
        if other is not None:
            raise Conflict(
                f"cannot restore {order.workload}: {other.migration} has it {other.state} here"
            )
        return self._context.ledger.create(
            Record(
                *(order.restore, order.workload, TARGET, order.generation, Target.RESERVED),
                spec=spec,
            )
        )

    # -- from the store to the gate ---------------------------------------------------------

    def _restore(
        self, record: Record, spec: WorkloadSpec, manifest: Manifest, reader: CheckpointReader
    ) -> Restored:
        ledger, name = self._context.ledger, record.migration
        with self._context.live.activity(name, self._cancel):
            self._tell(Progress("prepare"))
            twin = self._parts.checkpoints.create_twin(spec, name)
            ledger.update(name, container=twin.container, streaming=True)
            digest = self._receive(spec, manifest, reader, twin)
            self._tell(Progress("restore"))
            self._await_gate(self._side.restore(name, twin), twin)
        restored = Restored(twin.container, spec.container_name, spec.address, digest)
        ledger.update(name, report=codec.dump(restored))
        if ledger.target(name, TargetEvent.ACCEPT).state != Target.ACCEPTED:
            raise Conflict("cannot restore: it was called off")
        self._context.changed()
        return restored

    def _receive(
        self, spec: WorkloadSpec, manifest: Manifest, reader: CheckpointReader, twin: Twin
    ) -> str:
        """Every layer, verified on the way by the store's hashes and by each frame's own."""
        receiver = self._parts.new_receiver(twin.images, twin.trees, spec.memory_bytes)
        done, total = 0, reader.manifest.size
        for layer in reader.layers():
            for header, payload in frames_of(reader.read(layer.name)):
                if self._cancelled:
                    raise Transient(f"cannot restore: {self._cancelled}")
                receiver.frame(header, payload)
                done += len(payload)
                self._tell(Progress("read", done, total))
        return receiver.finish(manifest)

    def _await_gate(self, restore: Restore, twin: Twin) -> None:
        gate = self._parts.gate(twin.images)
        while not gate.waiting(_LOOK_EVERY_S) or restore.ended.is_set():
            if restore.ended.is_set():
                raise restore.error or Permanent("cannot hold the restored tasks at the gate")
            if self._cancelled:
                raise Transient(f"cannot restore: {self._cancelled}")

    def _cancel(self, why: str) -> None:
        self._cancelled = why


def open_gate(context: Context, side: TargetSide, order: Query) -> Record:
    """The control plane has written down that we own it: let it run, as an ordinary container.

    Tasks that are lost now are removed: the checkpoint still has them.
    """
    record = context.ledger.find(order.migration)
    if record is None:
        raise NotFound(f"cannot open {order.migration}: this host has no record of it")
    if record.settled:
        return record
    record = side.hears(order.migration, Source.HANDED_OVER)
    if record.state != Target.RUNNING:
        return record
    if record.note.startswith(LOST):
        context.parts.checkpoints.discard_twin(order.migration)
    else:
        side.settle(record)
    record = context.ledger.update(order.migration, settled=True, report=None)
    context.changed()
    return record


def vacate(context: Context, order: Vacate) -> Vacated:
    """Whether a workload is here in any form; if not, its address is no longer ours."""
    here = [one.state for one in context.parts.runtime.discover() if one.name == order.workload]
    if (other := _undecided(context, order.workload)) is not None:
        here.append(f"{other.state} by {other.migration}")
    if not here and order.via and order.address:
        context.parts.network.yield_to(order.address, order.via)
    return Vacated(tuple(here))


def let_others_read(context: Context, order: Rewrap) -> Rewrapped:
    """Wrap the key of a checkpoint that we can read for others, too."""
    with open_store(context, order.checkpoint) as blobs:
        rewrap(blobs, order.checkpoint, context.credentials.key.read_bytes(), order.recipients)
    return Rewrapped(len(order.recipients))


def _undecided(context: Context, workload: str) -> Record | None:
    """What this host has begun with a workload and not ended."""
    for one in context.ledger.open():
        if one.workload == workload and (one.state not in _DECIDED or one.applied != one.state):
            return one
    return None
