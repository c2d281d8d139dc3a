"""The handover as the source lives it: hold still, send everything, let go only when it is taken.

Until the record says `handed_over` every failure ends with the workload running here again. After
it, only the target's proof that it refused does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgpack

from porter.agent.context import Context
from porter.agent.handover_link import TargetLink
from porter.agent.journal import Record
from porter.agent.ledger import SOURCE
from porter.agent.measure import Stopwatch, milliseconds_since
from porter.agent.peer_wire import MAX_PAYLOAD
from porter.agent.source import SourceSide
from porter.checkpoint.base import Manifest
from porter.domain.container import Tree
from porter.domain.errors import Conflict, InDoubt, Permanent, PorterError, Transient
from porter.domain.handover import Source, SourceEvent, Target
from porter.domain.migration import Bytes, Connections
from porter.domain.units import bytes_
from porter.domain.workload import WorkloadSpec
from porter.network.base import Held
from porter.protocol import codec
from porter.protocol.messages import Handover, HandoverReport, Progress
from porter.wiring_agent import Reserve

log = logging.getLogger(__name__)
Tell = Callable[[Progress], None]
_FINISHED_S = 5.0


class SourceHandover:
    """One handover from this host. `run` may be called once."""

    def __init__(self, context: Context, side: SourceSide, order: Handover, tell: Tell) -> None:
        self._context = context
        self._parts = context.parts
        self._ledger = context.ledger
        self._side = side
        self._order = order
        self._tell = tell
        self._watch = Stopwatch()
        self._link: TargetLink | None = None
        self._held: Held | None = None
        self._reserve: Reserve | None = None
        self._cancelled = ""
        self._peer = Target.ABSENT
        self._bytes = Bytes()
        self._connections: frozenset[str] = frozenset()
        self._digest: str | None = None
        self._dump = _Dump()

    def run(self) -> HandoverReport:
        """Hand the workload over. The report says how far it came; failures are in `reason`."""
        record = self._open_record()
        if record.state != Source.RUNNING:
            return self._side.report_of(record)
        with self._context.live.activity(record.migration, self._cancel):
            try:
                return self._hand_over(record)
            except PorterError as error:
                return self._give_up(error)
            except Exception as error:
                self._give_up(Permanent(f"cannot hand over: {error!r}"))
                raise
            finally:
                self._release()

    def _hand_over(self, record: Record) -> HandoverReport:
        spec = record.spec
        assert spec is not None  # _open_record wrote it
        trees = self._travelling(spec, record.container)
        link = self._link = self._connect()
        speed = link.measure_speed()
        carries = f"the link carries {bytes_(speed)}/s"
        self._tell(Progress("link", message=carries, capacity=speed or 0))
        self._make_room(spec)
        self._raise_if_cancelled()
        self._freeze(record, spec)
        manifest = self._send(record, trees, speed, link)
        self._await_accepted(manifest, link)
        self._commit(record, link)
        self._await_running(link)
        return self._gone(link)

    # -- the steps, in order ----------------------------------------------------------------

    def _open_record(self) -> Record:
        order = self._order
        known = self._ledger.find(order.migration)
        if known is not None:
            return known
        spec = self._parts.runtime.inspect(order.workload)
        self._side.refuse_second(order.migration, order.workload)
        return self._ledger.create(
            Record(
                *(order.migration, order.workload, SOURCE, order.generation, Source.RUNNING),
                container=spec.container,
                spec=spec,
                link=self._parts.runtime.link(spec.container),
                peer_host=order.target_host,
                peer_address=order.peer_address,
                peer_port=order.peer_port,
                token=order.token,
                via=order.via,
            )
        )

    def _travelling(self, spec: WorkloadSpec, container: str) -> tuple[Tree, ...]:
        stay = {f"volume:{volume.name}" for volume in spec.volumes if volume.mode != "move"}
        return tuple(tree for tree in self._parts.runtime.trees(container) if tree.name not in stay)

    def _connect(self) -> TargetLink:
        self._tell(Progress("connect"))
        return TargetLink(self._context, self._order)

    def _make_room(self, spec: WorkloadSpec) -> None:
        """The dump will need about as much memory as the tasks have; find it while they run."""
        scratch = self._context.settings.scratch
        scratch.mkdir(parents=True, exist_ok=True)
        self._reserve = self._parts.reserve(scratch, spec.memory_bytes)

    def _give_room(self) -> None:
        if self._reserve is not None:
            self._reserve.release()

    def _freeze(self, record: Record, spec: WorkloadSpec) -> None:
        """Nothing runs and nothing gets in or out any more; all of it outlives this agent."""
        self._tell(Progress("freeze"))
        self._give_room()
        self._watch.begin("freeze")
        frozen = self._ledger.source(record.migration, SourceEvent.FREEZE, frozen=True)
        if frozen.state != Source.FROZEN:
            raise Conflict(f"cannot freeze: the migration is {frozen.state} here")
        if record.link is not None and spec.address:
            self._held = self._parts.network.hold(spec.address)
        self._side.hold_still(frozen)
        self._connections = self._established(record)

    def _send(
        self, record: Record, trees: tuple[Tree, ...], speed: int | None, link: TargetLink
    ) -> Manifest:
        """Dump, and ship what the dump writes while it writes it, files beside it."""
        self._watch.begin("transfer")
        settings = self._context.settings
        images, work = settings.images(record.migration), settings.work(record.migration)
        images.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        total = record.spec.memory_bytes + record.spec.file_bytes if record.spec else 0
        before = link.wire_bytes
        dump = self._dump.of(lambda: self._parts.checkpoints.dump(record.container, images, work))
        manifest = self._parts.new_sender(speed).send(
            *(dump, images, trees, link.streams),
            lambda done: self._tell(Progress("transfer", done, total)),
        )
        link.finish(manifest)
        self._watch.split("transfer", "dump", self._dump.ms)
        self._bytes = Bytes(
            memory=manifest.memory_bytes,
            files=manifest.file_bytes,
            wire=link.wire_bytes,
            wire_frozen=link.wire_bytes - before,
        )
        return manifest

    def _await_accepted(self, manifest: Manifest, link: TargetLink) -> None:
        self._watch.begin("restore")
        self._tell(Progress("restore"))
        word, _ = link.next_state(self._context.settings.accept_wait)
        self._peer = link.peer_state(word)
        if self._peer is not Target.ACCEPTED:
            raise Permanent(f"cannot hand over: the target refused: {word.get('reason')}")
        if word.get("digest") != manifest.digest:
            raise Permanent("cannot hand over: the target's digest differs from the source's")
        self._digest = manifest.digest
        self._watch.split("restore", "verify", float(word.get("verify_ms", 0)))

    def _commit(self, record: Record, link: TargetLink) -> None:
        """The point of no return: written down first, then done, then told."""
        self._watch.begin("commit")
        self._raise_if_cancelled()
        record = self._ledger.source_hears(record.migration, Target.ACCEPTED, yielded=True)
        if record.state != Source.HANDED_OVER:
            raise Conflict(f"cannot hand over: the migration is {record.state} here")
        self._side.yield_address(record)
        packets = self._stop_holding()
        self._watch.begin("resume")
        link.tell(Source.HANDED_OVER, _packed(packets))

    def _await_running(self, link: TargetLink) -> None:
        word, _ = link.next_state(self._context.settings.commit_wait)
        self._watch.stop()
        self._peer = link.peer_state(word)
        if self._peer is not Target.RUNNING or word.get("lost"):
            raise InDoubt(f"cannot end the handover: the target says: {word.get('reason')}")

    def _gone(self, link: TargetLink) -> HandoverReport:
        """The target runs it. What is left here is cleared away by `settle`."""
        report = self._report(Source.GONE)
        migration = self._order.migration
        self._ledger.source_hears(migration, Target.RUNNING, report=codec.dump(report))
        kept = self._kept(link)
        report = self._report(Source.GONE, connections=kept)
        record = self._ledger.update(migration, report=codec.dump(report))
        self._side.enforce(record)
        return report

    def _established(self, record: Record) -> frozenset[str]:
        if record.link is None:
            return frozenset()
        try:
            return self._context.established(record.link.netns)
        except PorterError as error:
            log.warning("connections were not counted: %s", error)
            return frozenset()

    def _kept(self, link: TargetLink) -> Connections:
        """Which of the connections that stood at the freeze the target holds."""
        try:
            there = link.connections(_FINISHED_S)
        except PorterError as error:
            log.info("connections were not compared: %s", error)
            return Connections()
        kept = len(self._connections & there)
        return Connections(kept=kept, closed=len(self._connections) - kept)

    # -- when it goes wrong -----------------------------------------------------------------

    def _give_up(self, error: PorterError) -> HandoverReport:
        """Run here again if that is still ours to decide, else find out what the target did."""
        reason = self._cancelled or str(error)
        log.warning("handover: %s", reason, extra={"migration": self._order.migration})
        record = self._ledger.source(self._order.migration, SourceEvent.ABORT, note=reason)
        if record.state == Source.ABORTED:
            if isinstance(error, Transient):
                reason = self._refusal() or reason
            if self._link is not None:
                self._link.cut_streams()  # nobody may wait for a target that is not read any more
            self._dump.wait(self._context.settings.dump_wait)
            self._resume(record)
            if self._link is not None:
                self._link.tell_if_possible(Source.ABORTED, reason)
        elif record.state == Source.HANDED_OVER:
            record = self._side.ask_until(record, self._context.settings.doubt_wait)
        if record.state == Source.GONE and record.report is not None:
            return codec.load(HandoverReport, record.report)
        return self._report(Source(record.state), reason=reason)

    def _refusal(self) -> str:
        """Why the target refused, if it says so: its word explains a stream that broke."""
        if self._link is None or self._cancelled:
            return ""
        word = self._link.last_word()
        if word.get("state") != Target.REFUSED:
            return ""
        self._peer = Target.REFUSED
        return f"the target refused: {word.get('reason')}"

    def _resume(self, record: Record) -> None:
        try:
            self._side.enforce(record, self._held)
        except PorterError as error:
            log.error("will be tried again: %s", error, extra={"migration": record.migration})
        self._watch.stop()

    def _cancel(self, why: str) -> None:
        self._cancelled = self._cancelled or f"cannot hand over: {why}"
        if self._link is not None:
            self._link.cut()

    def _raise_if_cancelled(self) -> None:
        if self._cancelled:
            raise Permanent(self._cancelled)

    def _stop_holding(self) -> list[bytes]:
        held, self._held = self._held, None
        return held.stop() if held is not None else []

    def _release(self) -> None:
        if self._link is not None:
            self._link.close()
        self._context.changed()
        self._stop_holding()
        self._give_room()

    def _report(
        self, state: Source, reason: str = "", connections: Connections | None = None
    ) -> HandoverReport:
        return HandoverReport(
            state=state,
            peer=self._peer,
            downtime_ms=self._watch.total_ms,
            bytes=self._bytes,
            phases=self._watch.phases(),
            connections=connections or Connections(),
            verified=self._digest,
            reason=reason,
        )


class _Dump:
    """The dump that the sender runs, watched: it must have ended before anything is thawed."""

    def __init__(self) -> None:
        self.ms = 0.0
        self._idle = threading.Event()
        self._idle.set()

    def of(self, dump: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            start = time.monotonic()
            self._idle.clear()
            try:
                dump()
            finally:
                self.ms = milliseconds_since(start)
                self._idle.set()

        return run

    def wait(self, seconds: float) -> None:
        """Until the dump has ended; what goes on after `seconds` is left to `end_strays`."""
        self._idle.wait(seconds)


def _packed(packets: list[bytes]) -> bytes:
    """The newest packets that fit into one frame."""
    chosen: list[bytes] = []
    room = MAX_PAYLOAD - 1024
    for packet in reversed(packets):
        room -= len(packet) + 5
        if room < 0:
            break
        chosen.append(packet)
    return bytes(msgpack.packb(chosen[::-1]))
