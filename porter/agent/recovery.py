"""What an agent does first after a start: go on from what its journal says."""

from __future__ import annotations

import logging
import threading

from porter.agent.context import Context
from porter.agent.image_transfer import clear_scratch
from porter.agent.journal import Record
from porter.agent.ledger import SOURCE
from porter.agent.source import SourceSide
from porter.agent.target import TargetSide
from porter.domain.errors import PorterError, Transient
from porter.domain.handover import Source
from porter.protocol import codec
from porter.protocol.messages import Command, Kind, Result

log = logging.getLogger(__name__)


class Recovery:
    """Brings engine and network to what the records say, at the start and ever after."""

    def __init__(self, context: Context, source: SourceSide, target: TargetSide) -> None:
        self._context = context
        self._source = source
        self._target = target

    def at_start(self) -> None:
        """Before the first command and the first peer: nothing of this host's is at work."""
        clear_scratch(self._context.settings.state)
        self._context.journal.forget_old()
        records = self._context.ledger.open()
        self._context.unrecovered.update(record.migration for record in records)
        for record in records:
            self._attempt(record)

    def finish_interrupted(self) -> None:
        """Give the handovers that the restart broke off their results; may ask for seconds."""
        for command in self._context.journal.interrupted():
            if command.kind == Kind.HANDOVER and command.migration is not None:
                self._finish(command, command.migration)

    def tend(self) -> None:
        """Do what is still due: effects that failed, handovers in doubt. Called every so often."""
        for record in self._context.ledger.open():
            if not self._context.live.busy(record.migration):
                self._attempt(record, ask=True)

    def _attempt(self, record: Record, ask: bool = False) -> None:
        side = self._source if record.role == SOURCE else self._target
        unrecovered = self._context.unrecovered
        try:
            self._context.keep_route(record)
            if record.migration in unrecovered:
                record = side.recover(record)
                unrecovered.discard(record.migration)
            record = side.enforce(record)
            if ask and record.role == SOURCE and _in_doubt(record):
                self._source.ask(record)
        except Transient as error:
            log.info("%s", error, extra={"migration": record.migration})
        except PorterError as error:
            log.error("%s", error, extra={"migration": record.migration})

    def _finish(self, command: Command, migration: str) -> None:
        record = self._context.ledger.find(migration)
        if record is None:
            return  # it never began; the control plane delivers it again
        record = self._source.ask_until(record, self._context.settings.doubt_wait)
        report = self._source.report_of(record)
        self._context.journal.finish(command.id, Result(output=codec.dump(report)))


def _in_doubt(record: Record) -> bool:
    return record.state in (Source.HANDED_OVER, Source.FROZEN)


class Tender(threading.Thread):
    """Calls `tend` every so often until stopped."""

    def __init__(self, recovery: Recovery, every: float, stop: threading.Event) -> None:
        super().__init__(name="tender", daemon=True)
        self._recovery = recovery
        self._every = every
        self._stop_event = stop

    def run(self) -> None:
        while not self._stop_event.wait(self._every):
            try:
                self._recovery.tend()
            except Exception:
                log.exception("tending failed")
