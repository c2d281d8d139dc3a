"""What each command does, one method a kind."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from porter.agent.checkpoints import Taking
from porter.agent.context import Context
from porter.agent.facts import Facts
from porter.agent.handover import SourceHandover
from porter.agent.image_transfer import ship_image
from porter.agent.journal import Record
from porter.agent.ledger import SOURCE, TARGET
from porter.agent.restores import Restoring, let_others_read, open_gate, vacate
from porter.agent.source import SourceSide
from porter.agent.target import LOST, TargetSide, parse
from porter.domain.errors import Conflict, NotFound, Transient
from porter.domain.handover import Source, Target
from porter.domain.workload import WorkloadSpec
from porter.protocol import codec
from porter.protocol.checkpoints import (
    Checkpointed,
    RestoreCheckpoint,
    Restored,
    Rewrap,
    TakeCheckpoint,
    Vacate,
)
from porter.protocol.messages import (
    Check,
    Checked,
    Command,
    Handover,
    HandoverReport,
    HandoverState,
    Inspect,
    Kind,
    Prepare,
    Prepared,
    Progress,
    Query,
    Reach,
    Reached,
    Reclaim,
    Reserve,
    Reserved,
    Resolve,
    Settle,
    Settled,
    ShipImage,
    ShippedImage,
)

Tell = Callable[[Progress], None]
_REACH_S = 3.0
_PROGRESS_EVERY_S = 0.5
ASIDE = frozenset({Kind.QUERY, Kind.ABORT, Kind.REFUSE, Kind.RESOLVE, Kind.RECLAIM, Kind.INSPECT})
"""Kinds that need not wait for the migration's other commands; the records keep them in order."""


class Operations:
    """Carries commands out. Every one may be repeated."""

    def __init__(
        self, context: Context, source: SourceSide, target: TargetSide, facts: Facts
    ) -> None:
        self._context = context
        self._parts = context.parts
        self._ledger = context.ledger
        self._source = source
        self._target = target
        self._facts = facts
        self._kinds: dict[Kind, tuple[type, Callable[[Any, Tell], object]]] = {
            Kind.INSPECT: (Inspect, self._inspect),
            Kind.REACH: (Reach, self._reach),
            Kind.CHECK: (Check, self._check),
            Kind.RESERVE: (Reserve, self._reserve),
            Kind.SHIP_IMAGE: (ShipImage, self._ship_image),
            Kind.PREPARE: (Prepare, self._prepare),
            Kind.HANDOVER: (Handover, self._handover),
            Kind.QUERY: (Query, self._query),
            Kind.RESOLVE: (Resolve, self._resolve),
            Kind.ABORT: (Query, self._abort),
            Kind.REFUSE: (Query, self._refuse),
            Kind.RECLAIM: (Reclaim, self._reclaim),
            Kind.SETTLE: (Settle, self._settle),
            Kind.CHECKPOINT: (TakeCheckpoint, self._checkpoint),
            Kind.RESTORE: (RestoreCheckpoint, self._restore),
            Kind.OPEN: (Query, self._open),
            Kind.VACATE: (Vacate, lambda order, _: vacate(context, order)),
            Kind.REWRAP: (Rewrap, lambda order, _: let_others_read(context, order)),
        }

    def run(self, command: Command, tell: Tell) -> dict[str, Any]:
        """The output of a command, JSON-able. Raises PorterError."""
        payload_class, method = self._kinds[command.kind]
        output: dict[str, Any] = codec.dump(
            method(codec.load(payload_class, command.payload), tell)
        )
        return output

    # -- before the handover ----------------------------------------------------------------

    def _inspect(self, order: Inspect, tell: Tell) -> WorkloadSpec:
        return self._parts.runtime.inspect(order.workload)

    def _reach(self, order: Reach, tell: Tell) -> Reached:
        try:
            socket.create_connection((order.address, order.port), _REACH_S).close()
        except OSError as error:
            return Reached(False, error.strerror or str(error) or type(error).__name__)
        return Reached(True)

    def _check(self, order: Check, tell: Tell) -> Checked:
        blockers = self._parts.blockers(order.spec, order.source, self._facts.gather())
        return Checked(tuple(blockers), self._parts.images.missing(order.spec.image))

    def _reserve(self, order: Reserve, tell: Tell) -> Reserved:
        record = self._ledger.create(
            Record(
                *(order.migration, order.workload, TARGET, order.generation, Target.RESERVED),
                spec=order.spec,
                peer_host=order.source_host,
                token=order.token,
                via=order.via,
            )
        )
        if record.state != Target.RESERVED:
            raise Conflict(f"cannot reserve: this host has {record.state} the migration already")
        self._context.keep_route(record)
        facts = self._facts.gather()
        return Reserved(
            facts.underlay, facts.peer_port, self._parts.images.missing(order.spec.image)
        )

    def _ship_image(self, order: ShipImage, tell: Tell) -> ShippedImage:
        slow = _Throttle(tell)
        return ship_image(
            *(self._context, order), lambda done, total: slow(Progress("image", done, total))
        )

    def _prepare(self, order: Prepare, tell: Tell) -> Prepared:
        record = self._ledger.get(order.migration)
        if record.state != Target.RESERVED or record.spec is None:
            raise Conflict(f"cannot prepare: this host has {record.state} the migration already")
        twin = self._parts.checkpoints.create_twin(record.spec, record.migration)
        self._ledger.update(record.migration, container=twin.container)
        return Prepared(twin.container)

    # -- the handover and its decision ------------------------------------------------------

    def _handover(self, order: Handover, tell: Tell) -> HandoverReport:
        return SourceHandover(self._context, self._source, order, _Throttle(tell)).run()

    def _query(self, order: Query, tell: Tell) -> HandoverState:
        return _state(self._ledger.get(order.migration))

    def _abort(self, order: Query, tell: Tell) -> HandoverState:
        return _state(self._source.abort(order.migration, "the migration was called off"))

    def _refuse(self, order: Query, tell: Tell) -> HandoverState:
        why = "the migration was called off"
        return _state(self._target.refuse_from_outside(order.migration, why))

    def _resolve(self, order: Resolve, tell: Tell) -> HandoverState:
        role = self._role(order)
        if role == TARGET:
            peer = parse(Source, order.peer)
            self._ledger.create(Record(order.migration, "", TARGET, 0, Target.ABSENT))
            if peer is Source.FENCED:
                return _state(self._target.give_up(order.migration, order.via))
            return _state(self._target.hears(order.migration, peer))
        self._ledger.create(Record(order.migration, "", SOURCE, 0, Source.RUNNING))
        return _state(self._source.hears(order.migration, parse(Target, order.peer)))

    def _reclaim(self, order: Reclaim, tell: Tell) -> HandoverState:
        return _state(self._source.reclaim(order.migration, order.reason))

    def _role(self, order: Resolve) -> str:
        record = self._ledger.find(order.migration)
        if record is not None:
            return record.role
        if order.peer in set(Target) - set(Source):
            return SOURCE
        if order.peer in set(Source) - set(Target):
            return TARGET
        raise NotFound(f"cannot resolve migration {order.migration}: no record of it here")

    # -- afterwards -------------------------------------------------------------------------

    def _settle(self, order: Settle, tell: Tell) -> Settled:
        record = self._ledger.find(order.migration)
        if record is None or record.settled:
            return Settled()
        if self._context.live.busy(order.migration):
            raise Transient("cannot settle: the handover is at work")
        side = self._source if record.role == SOURCE else self._target
        if record.role == TARGET and order.as_it_is:
            record = self._ledger.update(order.migration, note="")
        removed = side.settle(record)
        self._context.close_route(record)
        self._ledger.update(
            record.migration, settled=True, token="", spec=_small(record.spec), report=None
        )
        self._context.changed()
        return Settled(tuple(removed))

    # -- kept checkpoints -------------------------------------------------------------------

    def _checkpoint(self, order: TakeCheckpoint, tell: Tell) -> Checkpointed:
        return Taking(self._context, self._source, self._facts, order, _Throttle(tell)).run()

    def _restore(self, order: RestoreCheckpoint, tell: Tell) -> Restored:
        return Restoring(self._context, self._target, self._facts, order, _Throttle(tell)).run()

    def _open(self, order: Query, tell: Tell) -> HandoverState:
        return _state(open_gate(self._context, self._target, order))


def _state(record: Record) -> HandoverState:
    return HandoverState(record.role, record.state, record.note, lost=record.note.startswith(LOST))


def _small(spec: WorkloadSpec | None) -> WorkloadSpec | None:
    """What a late question may need of the specification."""
    return None if spec is None else replace(spec, create=(), expect={}, labels={})


class _Throttle:
    """Passes on news at most every half second; a new phase at once."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._phase = ""
        self._next = 0.0

    def __call__(self, news: Progress) -> None:
        now = time.monotonic()
        if news.phase != self._phase or now >= self._next:
            self._phase, self._next = news.phase, now + _PROGRESS_EVERY_S
            self._tell(news)
