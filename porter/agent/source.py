"""The source's side of handovers: what its records demand of the engine and the network."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

from porter.agent.context import Context
from porter.agent.journal import Record
from porter.agent.ledger import SOURCE
from porter.agent.peer_client import PeerAddress
from porter.agent.target import LOST, parse
from porter.domain.errors import Conflict, PorterError, Transient
from porter.domain.handover import Source, SourceEvent, Target
from porter.network.base import Held
from porter.protocol import codec
from porter.protocol.messages import HandoverReport

log = logging.getLogger(__name__)
RESTARTED = "the agent was restarted during the handover"
_ASK_EVERY_S = 0.5
_ENDS_S = 30.0
_UNDECIDED = (Source.FROZEN, Source.HANDED_OVER)
_HOLDING = (*_UNDECIDED, Source.GONE)
_BACK = (Source.ABORTED, Source.FENCED)


class SourceSide:
    """Carries out what source records say. Everything here is idempotent and safe to repeat."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._parts = context.parts
        self._ledger = context.ledger
        self._acting: dict[str, threading.RLock] = {}

    # -- what changes the record ------------------------------------------------------------

    def abort(self, migration: str, why: str) -> Record:
        """Run here, and never hand this migration over, unless that was done; the record tells.

        A handover that is at work is broken off, and ends first.
        """
        self._ledger.create(Record(migration, "", SOURCE, 0, Source.RUNNING))
        live = self._context.live
        live.cancel(migration, why)
        if not live.wait(migration, _ENDS_S):
            raise Transient(f"cannot abort migration {migration} yet: its dump has not ended")
        record = self._ledger.get(migration)
        if record.state == Source.FROZEN and not self.tasks_there(record):
            # A power cut took the tasks: if the target accepted, its copy is the only one.
            self.ask(record)
        return self.enforce(self._ledger.source(migration, SourceEvent.ABORT, note=why))

    def reclaim(self, migration: str, why: str) -> Record:
        """A person decided for our copy, and the target's is proven not to run: run here again."""
        live = self._context.live
        self._context.must_be_recovered(migration)
        live.cancel(migration, why)
        if not live.wait(migration, _ENDS_S):
            raise Transient(f"cannot reclaim {migration} yet: its handover has not ended")
        return self.enforce(self._ledger.source(migration, SourceEvent.FENCE, note=why))

    def hears(self, migration: str, peer: Target) -> Record:
        """The target said what it is. While a handover is at work, it listens for itself."""
        if self._context.live.busy(migration):
            return self._ledger.get(migration)
        return self.enforce(self._hear(migration, peer))

    def ask(self, record: Record) -> Record:
        """Ask the target what it is, and go on from there. Raises Transient if it is out of reach.

        It hears our state with the question; so one that waits at the gate runs, and says so.
        """
        to = PeerAddress(record.peer_host, record.peer_address, record.peer_port)
        wire, word = self._context.dial(to, "ask", record, state=record.state)
        wire.close()
        note = str(word.get("note", ""))
        if note.startswith(LOST):
            return self._ledger.update(record.migration, note=f"on the target: {note}")
        return self.enforce(self._hear(record.migration, parse(Target, word.get("state"))))

    def _hear(self, migration: str, peer: Target) -> Record:
        self._context.must_be_recovered(migration)
        changes = {"yielded": True} if peer is Target.ACCEPTED else {}
        return self._ledger.source_hears(migration, peer, **changes)

    def ask_until(self, record: Record, seconds: float) -> Record:
        """Ask until the handover is decided or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while record.state == Source.HANDED_OVER:
            try:
                record = self.ask(record)
            except Transient as error:
                log.info("in doubt: %s", error, extra={"migration": record.migration})
            if time.monotonic() > deadline or record.state != Source.HANDED_OVER:
                break
            time.sleep(_ASK_EVERY_S)
        return record

    def refuse_second(self, migration: str, workload: str) -> None:
        """Raise Conflict if another handover of the workload is not over."""
        for other in self._ledger.open():
            undecided = other.state in _UNDECIDED or other.applied != other.state
            same = other.role == SOURCE and other.workload == workload
            if same and undecided and other.migration != migration:
                raise Conflict(
                    f"cannot hand over {workload}: migration {other.migration} has it "
                    f"{other.state} here",
                    "wait for its end or cancel it",
                )

    # -- what the record demands ------------------------------------------------------------

    def enforce(self, record: Record, held: Held | None = None) -> Record:
        """Make engine and network as the record says, if that is still due.

        `held`: packets caught by a handover that ends here and now; they are delivered.
        """
        with self._acting.setdefault(record.migration, threading.RLock()):
            record = self._ledger.get(record.migration)
            if record.applied == record.state or record.settled:
                return record
            note = record.note
            if record.state in _BACK:
                note = self._resume(record, held)
            elif record.state in _HOLDING:
                self._hold_if_there(record)
                if record.state != Source.FROZEN:
                    self.yield_address(record)
            else:
                return record
            self._context.changed()
            # What runs here again is over here; nobody may have to come back to settle it.
            over = record.state in _BACK
            changes = {"applied": record.state, "note": note, "settled": over}
            return self._ledger.update(record.migration, **changes)

    def hold_still(self, record: Record) -> None:
        """Frozen, and cut off from the network: for as long as the record says so."""
        self._parts.runtime.freeze(record.container)
        if record.link is not None:
            self._parts.network.cut(record.link)

    def yield_address(self, record: Record) -> None:
        """Send the address's packets to the target. A failure is logged: the move goes on."""
        if record.spec is None or not record.spec.address:
            return
        try:
            self._parts.network.yield_to(record.spec.address, record.peer_address)
        except PorterError as error:
            log.error("%s", error, extra={"migration": record.migration})

    def _hold_if_there(self, record: Record) -> None:
        if self.tasks_there(record):
            self.hold_still(record)

    def _resume(self, record: Record, held: Held | None) -> str:
        """Let it run here again. The answer is the record's note."""
        if not record.frozen:
            return record.note
        killed = self._context.end_strays(self._scratch(record), self._context.settings.dump_wait)
        for stray in killed:
            log.warning("killed a left-over %s", stray, extra={"migration": record.migration})
        if self._owned_by_another(record):
            return record.note
        if held is None and not self.tasks_there(record):
            return f"{record.note}; {self._start_again(record)}"
        self._reconnect(record)
        self._parts.runtime.thaw(record.container)
        if held is not None and (packets := held.stop()):
            self._parts.network.replay(packets)
        self._clear(record)
        return record.note

    def _reconnect(self, record: Record) -> None:
        network = self._parts.network
        if record.link is None:
            return
        network.unlock(record.link.netns)
        network.join(record.link)
        if record.yielded and record.spec is not None and record.spec.address:
            network.claim(record.spec.address, record.spec.mac)

    def _owned_by_another(self, record: Record) -> bool:
        """Whether a later migration has this container: then it is not ours to let run."""
        return any(
            other.container == record.container
            and other.migration != record.migration
            and other.role == SOURCE
            and other.state in _HOLDING
            for other in self._ledger.open()
        )

    def _start_again(self, record: Record) -> str:
        engine = self._parts.runtime.facts().name
        name = record.spec.container_name if record.spec else record.container
        return f"its tasks were lost in a power cut; start it again with {engine} start {name}"

    def tasks_there(self, record: Record) -> bool:
        """Whether the container still has its tasks, running or frozen."""
        return any(
            found.container == record.container and found.state in ("running", "paused")
            for found in self._parts.runtime.discover()
        )

    # -- after a restart, and at the end ----------------------------------------------------

    def recover(self, record: Record) -> Record:
        """Go on from the durable state of an agent that is gone."""
        migration = record.migration
        if record.state == Source.RUNNING:
            self._ledger.source(migration, SourceEvent.ABORT, note=RESTARTED)
        elif record.state == Source.FROZEN:
            if not self.tasks_there(record):
                note = "tasks lost in a power cut; the target may have their whole state"
                return self._ledger.update(migration, note=note)
            self._context.end_strays(self._scratch(record), self._context.settings.dump_wait)
            self._ledger.source(migration, SourceEvent.ABORT, note=RESTARTED)
        elif record.state == Source.HANDED_OVER:
            self._ledger.update(migration, applied="")  # a reboot undoes what was applied
        return self.enforce(record)

    def report_of(self, record: Record) -> HandoverReport:
        """What can still be said of a handover whose measurements may be lost."""
        if record.report is not None:
            return codec.load(HandoverReport, record.report)
        peer = {Source.GONE: Target.RUNNING}.get(Source(record.state), Target.ABSENT)
        return HandoverReport(state=record.state, peer=peer, reason=record.note)

    def settle(self, record: Record) -> list[str]:
        """Clear away what is decided. Raises Conflict while it is not."""
        if record.state not in (Source.GONE, *_BACK):
            raise Conflict(f"cannot settle: the handover is {record.state} on the source")
        removed = []
        record = self.enforce(record)
        if record.state == Source.GONE and record.spec is not None:
            volumes = [
                volume.name
                for volume in record.spec.volumes
                if volume.kind == "volume" and volume.mode == "move"
            ]
            self._parts.runtime.remove(record.container, volumes)
            removed = [record.container, *volumes]
        self._clear(record)
        return removed

    def _scratch(self, record: Record) -> Path:
        return self._context.settings.images(record.migration).parent

    def _clear(self, record: Record) -> None:
        """Remove the memory-backed images; never through a mount."""
        place = self._scratch(record)
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        if any(line.split()[4].startswith(f"{place}/") for line in mounts):
            raise Transient(f"cannot remove {place}: something is mounted in it", "unmount it")
        try:
            shutil.rmtree(place)
        except FileNotFoundError:
            pass  # cleared already
