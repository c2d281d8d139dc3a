"""The target's side of handovers: what its records demand of the engine and the network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TypeVar

from porter.agent.context import Context
from porter.agent.journal import Record
from porter.agent.ledger import TARGET
from porter.domain.container import Twin
from porter.domain.errors import Conflict, Invalid, Permanent, PorterError, Transient
from porter.domain.handover import Source, Target, TargetEvent

State = TypeVar("State", Source, Target)
log = logging.getLogger(__name__)
LOST = "tasks lost: "
"""Begins the note of a target that owns a workload whose tasks are gone."""
FENCED = "it was decided that the source's copy runs"
_RESTORE_ENDS_S = 60.0
_SESSION_ENDS_S = 30.0
_AT_GATE_S = 0.5
_WAKE_AFTER_S = (0.01, 0.03)


class Restore:
    """`checkpoints.restore` in a thread: it blocks until the gate has opened and the tasks run."""

    def __init__(self, context: Context, twin: Twin) -> None:
        self.ended = threading.Event()
        self.error: PorterError | None = None
        self._restore = context.parts.checkpoints.restore
        self._twin = twin
        # A daemon: the engine's processes outlive this agent, and so may the wait for them end.
        threading.Thread(target=self._run, name="restore", daemon=True).start()

    def _run(self) -> None:
        try:
            self._restore(self._twin)
        except PorterError as error:
            self.error = error
        except Exception as error:  # whatever it was, the session must hear of it
            log.exception("restore failed")
            self.error = Permanent(f"cannot restore: {error!r}")
        finally:
            self.ended.set()


class TargetSide:
    """Carries out what target records say. Everything here is idempotent and safe to repeat."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._parts = context.parts
        self._ledger = context.ledger
        self._restores: dict[str, Restore] = {}
        self._acting: dict[str, threading.RLock] = {}

    def restore(self, migration: str, twin: Twin) -> Restore:
        """Start to restore the twin; it stops at the gate."""
        self._parts.gate(twin.images).prepare()
        restore = self._restores[migration] = Restore(self._context, twin)
        return restore

    # -- what changes the record ------------------------------------------------------------

    def hears(self, migration: str, peer: Source, packets: Sequence[bytes] = ()) -> Record:
        """The source said what it is: take over if it handed over, refuse if it aborted."""
        self._context.must_be_recovered(migration)
        if peer is Source.FENCED:
            return self.give_up(migration)
        if peer is Source.ABORTED:
            self._end_session(migration, "the source aborted")
        elif peer is Source.HANDED_OVER and self._lost_at_gate(migration):
            return self.refuse(migration, "the restored tasks were lost at the gate")
        record = self._ledger.target_hears(migration, peer)
        return self.enforce(record, packets)

    def give_up(self, migration: str, via: str = "") -> Record:
        """A person decided for the source's copy: ours goes, whatever became of it.

        `via` is the underlay address of the host that has the workload.
        """
        self._end_session(migration, FENCED)
        record = self._ledger.get(migration)
        if record.settled:
            return record
        record = self._ledger.target_hears(migration, Source.FENCED, note=FENCED)
        if via and record.spec is not None and record.spec.address:
            self._parts.network.yield_to(record.spec.address, via)
        return self.enforce(record)

    def refuse(self, migration: str, why: str) -> Record:
        """Never run this migration, unless it runs already; the answer is the record."""
        record = self._ledger.target(migration, TargetEvent.REFUSE, note=why)
        return self.enforce(record)

    def refuse_from_outside(self, migration: str, why: str) -> Record:
        """As `refuse`, for those who are not the session: it is broken off first."""
        self._ledger.create(Record(migration, "", TARGET, 0, Target.ABSENT))
        self._end_session(migration, why)
        return self.refuse(migration, why)

    def _end_session(self, migration: str, why: str) -> None:
        live = self._context.live
        live.cancel(migration, why)
        if not live.wait(migration, _SESSION_ENDS_S):
            raise Transient(
                f"cannot refuse migration {migration} yet: its transfer is still being broken off"
            )

    # -- what the record demands ------------------------------------------------------------

    def enforce(self, record: Record, packets: Sequence[bytes] = ()) -> Record:
        """Make engine and network as the record says, if that is still due."""
        with self._acting.setdefault(record.migration, threading.RLock()):
            record = self._ledger.get(record.migration)
            if record.applied == record.state or record.settled:
                return record
            if record.state == Target.RUNNING:
                note = self._run(record, packets)
            elif record.state == Target.REFUSED:
                note = self._discard(record)
            else:
                return record
            self._context.changed()
            # A refused migration is over here; nobody may have to come back to settle it.
            over = record.state == Target.REFUSED
            if over:
                self._context.close_route(record)
            changes = {"applied": record.state, "note": note, "settled": over}
            return self._ledger.update(record.migration, **changes)

    def _run(self, record: Record, packets: Sequence[bytes]) -> str:
        """Answer for the address, open the gate, wait until the tasks run."""
        spec = record.spec
        twin = self._parts.checkpoints.find_twin(record.migration)
        restore = self._restores.pop(record.migration, None)
        if twin is None and restore is None and not self._tasks_there(record):
            # The host was off. The source may still hold its copy: do not take its address.
            return f"{LOST}the host lost its power after it took over"
        if spec is not None and spec.address:
            self._parts.network.claim(spec.address, spec.mac)
        if twin is not None:
            gate = self._parts.gate(twin.images)
            if restore is not None or gate.waiting(_AT_GATE_S):
                gate.open()
        if restore is not None:
            self._wake_peers(restore, packets)
            note = self._await_restore(restore)
        else:
            note = self._revive(record)
        if packets:
            self._parts.network.replay(packets)
        return note

    def _tasks_there(self, record: Record) -> bool:
        return any(
            found.container == record.container and found.state in ("running", "paused")
            for found in self._parts.runtime.discover()
        )

    def _wake_peers(self, restore: Restore, packets: Sequence[bytes]) -> None:
        """The tasks run before the engine says so; a packet that comes too early is harmless."""
        for pause in _WAKE_AFTER_S:
            if not packets or restore.ended.wait(pause):
                return
            self._parts.network.replay(packets)

    def _await_restore(self, restore: Restore) -> str:
        if not restore.ended.wait(_RESTORE_ENDS_S):
            return "the engine has not yet reported the end of the restore"
        return "" if restore.error is None else f"{LOST}{restore.error}"

    def _revive(self, record: Record) -> str:
        """The agent that restored is gone: clean up what CRIU leaves when its caller dies."""
        link = self._parts.runtime.link(record.container)
        if link is not None:
            self._parts.network.unlock(link.netns)
        return record.note

    def _discard(self, record: Record) -> str:
        twin = self._parts.checkpoints.find_twin(record.migration)
        if twin is not None:
            gate = self._parts.gate(twin.images)
            if gate.waiting(0):
                gate.refuse()
        self._parts.checkpoints.discard_twin(record.migration)
        restore = self._restores.pop(record.migration, None)
        if restore is not None and not restore.ended.wait(_RESTORE_ENDS_S):
            raise Transient("cannot clear away the refused twin: the engine still restores it")
        return record.note

    def settle(self, record: Record) -> list[str]:
        """Clear away what is decided; a workload that runs here stays, as an ordinary container."""
        if record.state not in (Target.RUNNING, Target.REFUSED):
            raise Conflict(f"cannot settle: the handover is {record.state} on the target")
        record = self.enforce(record)
        if record.note.startswith(LOST):
            raise Conflict(f"cannot settle: {record.note}", "the source still has its container")
        if record.state == Target.RUNNING:
            self._parts.checkpoints.release_twin(record.migration)
        return []

    # -- after a restart --------------------------------------------------------------------

    def recover(self, record: Record) -> Record:
        """Go on from the durable state of an agent that is gone."""
        if record.state == Target.RESERVED and record.streaming:
            return self.refuse(record.migration, "the target's agent was restarted on the way")
        if record.state == Target.ACCEPTED and not self._at_gate(record.migration):
            return self.refuse(record.migration, "the restored tasks were lost with the host")
        if record.state == Target.RUNNING:
            self._ledger.update(record.migration, applied="")  # a reboot undoes what was applied
        return self.enforce(record)

    def _lost_at_gate(self, migration: str) -> bool:
        """Whether we accepted tasks that are there no more: the source has the only good copy."""
        record = self._ledger.get(migration)
        return record.state == Target.ACCEPTED and not self._at_gate(migration)

    def _at_gate(self, migration: str) -> bool:
        restore = self._restores.get(migration)
        if restore is not None and restore.ended.is_set():
            return False
        twin = self._parts.checkpoints.find_twin(migration)
        return twin is not None and self._parts.gate(twin.images).waiting(_AT_GATE_S)


def parse(kind: type[State], word: object) -> State:
    """A state's name from the wire."""
    try:
        return kind(str(word))
    except ValueError as error:
        raise Invalid(f"cannot understand the state {word!r}") from error
