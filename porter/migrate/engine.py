"""Drives migrations: one step at a time, leased, recorded, never guessing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from porter.db.base import Change, Claim, NewEvent
from porter.db.journal import current_step
from porter.domain.errors import InDoubt, PorterError, Transient
from porter.domain.migration import MigrationState, StepKind, StepState
from porter.logs import about
from porter.migrate.plan import AFTER_PIVOT
from porter.migrate.ports import Clock, Journal, Queue
from porter.migrate.receipt import receipt
from porter.migrate.step import (
    CANCELLED,
    Context,
    Done,
    Failed,
    Outcome,
    Retry,
    Step,
    Wait,
)

log = logging.getLogger(__name__)

LEASE = 6.0
ATTEMPTS = 5
"""So often a step is tried again before the pivot; after it, for ever."""
LONGEST_PAUSE = 10.0
STRIDE = 50
"""So many steps one call takes at most, lest one migration keeps a worker to itself."""
CANCELLABLE = (StepKind.PROVISION, StepKind.PREFLIGHT, StepKind.RESERVE, StepKind.SYNC)


class Engine:
    """Advances migrations. Thread-safe; any number of engines may work on one database."""

    def __init__(
        self,
        journal: Journal,
        queue: Queue,
        clock: Clock,
        steps: Mapping[StepKind, Step],
        lease: float = LEASE,
    ) -> None:
        self._journal = journal
        self._queue = queue
        self._clock = clock
        self._lease = lease
        self._steps = steps

    def advance(self, migration_id: str) -> None:
        """Take the migration as far as it goes without waiting. Harmless at any time.

        Raises Transient if the database is away; calling again later is all there is to do.
        """
        for _ in range(STRIDE):
            claim = self._journal.claim(migration_id, self._clock(), self._lease)
            if claim is None:
                return
            with _about(claim):
                with self._leased(claim):
                    change, more = self._work(claim)
                news = self._journal.apply(claim, change)
                if change.step_state is not claim.step.state:
                    log.info("step %s", change.step_state)
            if news is None:
                log.warning("%s: the lease was lost, the outcome is thrown away", migration_id)
                return
            if change.state.final or not (more or news):
                return
        self._queue.enqueue(migration_id)

    def sweep(self) -> int:
        """Enqueue every migration whose time has come. Returns how many."""
        found = self._journal.runnable(self._clock())
        for migration_id in found:
            self._queue.enqueue(migration_id)
        return len(found)

    @contextmanager
    def _leased(self, claim: Claim) -> Iterator[None]:
        """Renew the lease for as long as the step works."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(self._lease / 3):
                until = self._clock() + self._lease
                try:
                    if not self._journal.renew(claim.migration.id, claim.token, until):
                        return
                except Transient as error:
                    log.warning("%s: cannot renew the lease: %s", claim.migration.id, error)

        thread = threading.Thread(target=renew, name=f"lease-{claim.migration.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _work(self, claim: Claim) -> tuple[Change, bool]:
        """Run the current step with no session open; returns its change and whether to go on."""
        context = Context(claim, self._clock())
        undoing = claim.migration.state is MigrationState.UNDOING
        outcome = self._outcome(context, undoing)
        transition = _Transition(context, self._clock(), undoing)
        return transition.of(outcome)

    def _outcome(self, context: Context, undoing: bool) -> Outcome:
        step = self._steps[context.claim.step.kind]
        if not undoing and context.cancelled and step.kind in CANCELLABLE:
            return Failed(CANCELLED)
        try:
            return step.undo(context) if undoing else step.do(context)
        except Transient as error:
            return Retry(_pause(context.attempt), str(error))
        except InDoubt as error:
            return Wait(str(error), held=True)
        except PorterError as error:
            return Failed(str(error))
        except Exception as error:
            # A bug must end in an undone move, not in a stuck one.
            log.exception("%s: step %s is broken", context.migration.id, step.kind)
            return Retry(
                _pause(context.attempt),
                f"cannot go on with {step.kind}: internal error ({type(error).__name__}: {error})",
            )


def _about(claim: Claim) -> AbstractContextManager[None]:
    """What is logged and recorded meanwhile belongs to the request that made the migration."""
    migration = claim.migration
    return about(
        request=migration.request,
        migration=migration.id,
        step=claim.step.kind,
        workload=migration.workload,
    )


def _pause(attempt: int) -> float:
    return float(min(LONGEST_PAUSE, 0.5 * 2 ** max(0, attempt - 1)))


class _Transition:
    """From a step's outcome to what is recorded."""

    def __init__(self, context: Context, now: float, undoing: bool) -> None:
        self._context = context
        self._now = now
        self._undoing = undoing
        self._step = context.claim.step

    def of(self, outcome: Outcome) -> tuple[Change, bool]:
        match outcome:
            case Done():
                return self._undone() if self._undoing else self._done(outcome)
            case Wait():
                return self._wait(outcome), outcome.seconds <= 0
            case Retry():
                return self._retry(outcome), False
            case Failed():
                return self._failed(outcome)

    def _change(self, state: MigrationState, step: StepState, reason: str) -> Change:
        context = self._context
        events = list(context.events)
        if context.migration.state is MigrationState.HELD and state is MigrationState.RUNNING:
            events.append(NewEvent("migration.running", "going on"))
        return Change(
            step=self._step.kind,
            step_state=step,
            attempt=context.attempt,
            memory=context.memory,
            output=None,
            error=self._step.error,
            state=state,
            reason=reason,
            wake_at=self._now,
            now=self._now,
            send=tuple(context.desk.sends),
            events=tuple(events),
        )

    def _going(self) -> MigrationState:
        return MigrationState.UNDOING if self._undoing else MigrationState.RUNNING

    def _tell(self, change: Change, kind: str, message: str, **data: object) -> Change:
        return replace(change, events=(*change.events, NewEvent(kind, message, data)))

    def _done(self, outcome: Done) -> tuple[Change, bool]:
        change = self._change(MigrationState.RUNNING, StepState.DONE, "")
        change = replace(change, output=outcome.output, rehome=outcome.rehome, error="")
        change = self._tell(change, "step.done", "", step=self._step.kind)
        if self._step.seq + 1 == len(self._context.claim.steps):
            return self._end(change, MigrationState.SUCCEEDED, ""), False
        return change, True

    def _undone(self) -> tuple[Change, bool]:
        reason = self._context.migration.reason
        change = self._change(MigrationState.UNDOING, StepState.UNDONE, reason)
        change = self._tell(change, "step.undone", "", step=self._step.kind)
        rest = tuple(s for s in self._context.claim.steps if s.seq != self._step.seq)
        if current_step(True, rest) is None:
            return self._end(change, MigrationState.ROLLED_BACK, self._cause()), False
        return replace(change, reason=self._cause()), True

    def _cause(self) -> str:
        """Why it is undone, free of what undoing itself had to wait for."""
        failed = [s for s in self._context.claim.steps if s.error]
        return failed[-1].error if failed else self._context.migration.reason

    def _wait(self, outcome: Wait) -> Change:
        migration = self._context.migration
        state = self._going()
        if outcome.held and not self._undoing:
            state = MigrationState.HELD
        reason = outcome.reason
        if self._undoing and not reason:
            reason = self._cause()
        change = self._change(state, self._step.state, reason)
        if reason and reason != migration.reason:
            kind = "migration.held" if state is MigrationState.HELD else "waiting"
            change = self._tell(change, kind, reason)
        return replace(change, wake_at=self._now + max(0.0, outcome.seconds))

    def _retry(self, outcome: Retry) -> Change:
        context = self._context
        forever = self._undoing or self._step.kind in AFTER_PIVOT
        if context.attempt >= ATTEMPTS and not forever:
            return self._failed(Failed(outcome.why))[0]
        change = self._change(self._going(), self._step.state, outcome.why)
        if outcome.why != context.migration.reason:
            change = self._tell(change, "retry", outcome.why, attempt=context.attempt)
        return replace(
            change,
            # What was sent in vain must not be sent again under the same name.
            attempt=context.attempt + 1,
            wake_at=self._now + min(LONGEST_PAUSE, outcome.after * max(1, context.attempt // 3)),
        )

    def _failed(self, outcome: Failed) -> tuple[Change, bool]:
        if self._undoing or self._step.kind in AFTER_PIVOT:
            return self._retry(Retry(_pause(self._context.attempt), outcome.why)), False
        change = self._change(MigrationState.UNDOING, StepState.FAILED, outcome.why)
        change = replace(change, error=outcome.why, withdraw=True, send=())
        change = self._tell(
            change, "step.failed", outcome.why, step=self._step.kind, **outcome.data
        )
        first = self._step.seq == 0 and self._step.kind is StepKind.PREFLIGHT
        if first and outcome.why != CANCELLED:
            return self._end(change, MigrationState.FAILED, outcome.why), False
        return self._tell(change, "migration.undoing", f"undoing: {outcome.why}"), True

    def _end(self, change: Change, state: MigrationState, reason: str) -> Change:
        steps = [
            replace(
                step,
                state=change.step_state,
                output=change.output or step.output,
                ended=step.ended or self._now,
            )
            if step.seq == self._step.seq
            else step
            for step in self._context.claim.steps
        ]
        context = self._context
        final = receipt(context.migration, steps, context.claim.commands, state, reason, self._now)
        change = replace(change, state=state, reason=final.reason, receipt=_public(final.as_dict()))
        return self._tell(change, f"migration.{state}", final.reason, state=str(state))


def _public(raw: dict[str, object]) -> dict[str, object]:
    """Tuples become lists, as JSON has it."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in raw.items()}
