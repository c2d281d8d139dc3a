"""A checkpoint that is kept: hold still, read everything, let it run on.

In the agent's records it is a handover that never comes to a target: it freezes and is always
aborted. So whatever dies, the workload runs on by the same rules as after a move that failed.
The dump goes into the store while it is made; the pause ends when everything has been read. What is
read and not yet in the store waits in memory: an agent that is killed cannot go on with it, and the
control plane removes what is there.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from porter.agent.checkpoint_frames import LayerFrames
from porter.agent.context import Context
from porter.agent.facts import Facts
from porter.agent.journal import Record
from porter.agent.ledger import SOURCE
from porter.agent.measure import Stopwatch
from porter.agent.source import SourceSide
from porter.checkpoint.base import Manifest
from porter.domain.container import Tree
from porter.domain.errors import Conflict, Permanent, PorterError, Transient, Unsupported
from porter.domain.handover import Source, SourceEvent
from porter.domain.workload import WorkloadSpec
from porter.network.base import Held
from porter.protocol import codec
from porter.protocol.checkpoints import Checkpointed, TakeCheckpoint
from porter.protocol.messages import Progress
from porter.store.base import Blobs
from porter.store.writer import CheckpointWriter
from porter.wiring_agent import Reserve

log = logging.getLogger(__name__)
Tell = Callable[[Progress], None]
META = 1
"""Version of what stands in the manifest's meta."""
_AS_IT_IS = 1 << 40
"""Bytes per second: the sender leaves compression to the store's layers."""


@contextmanager
def open_store(context: Context, checkpoint: str) -> Iterator[Blobs]:
    """The store of a checkpoint, as far as this host may use it."""
    if context.open_store is None:
        raise Transient("cannot use the store: this agent has no control plane")
    blobs = context.open_store(checkpoint)
    try:
        yield blobs
    finally:
        close = getattr(blobs, "close", None)
        if close is not None:
            close()


class Taking:
    """One checkpoint of one workload. `run` may be called once."""

    def __init__(
        self, context: Context, side: SourceSide, facts: Facts, order: TakeCheckpoint, tell: Tell
    ) -> None:
        self._context = context
        self._parts = context.parts
        self._side = side
        self._facts = facts
        self._order = order
        self._tell = tell
        self._watch = Stopwatch()
        self._frames: LayerFrames | None = None
        self._held: Held | None = None
        self._reserve: Reserve | None = None
        self._taken_at = 0.0

    def run(self) -> Checkpointed:
        """Take it. Raises what stopped it; the workload runs again then, too."""
        known = self._context.ledger.find(self._order.checkpoint)
        if known is not None:
            return self._known(known)
        record = self._open_record()
        try:
            with open_store(self._context, record.migration) as blobs:
                with self._new_writer(blobs) as writer:
                    result = self._write(record, writer)
        finally:
            self._let_go(record, "the checkpoint could not be taken")
        self._context.ledger.update(record.migration, report=codec.dump(result))
        return result

    def _known(self, record: Record) -> Checkpointed:
        if record.report is not None:
            return codec.load(Checkpointed, record.report)
        raise Permanent(
            f"cannot finish the checkpoint of {record.workload}: the agent was restarted while it "
            "was made; the workload runs on",
            "make another",
        )

    def _open_record(self) -> Record:
        order = self._order
        spec = self._parts.runtime.inspect(order.workload)
        if spec.blockers:
            first = spec.blockers[0]
            why = f"cannot take a checkpoint of {order.workload}: {first.code}: {first.message}"
            raise Unsupported(why, first.remedy)
        self._side.refuse_second(order.checkpoint, order.workload)
        return self._context.ledger.create(
            Record(
                *(order.checkpoint, order.workload, SOURCE, 0, Source.RUNNING),
                container=spec.container,
                spec=spec,
                link=self._parts.runtime.link(spec.container),
            )
        )

    def _new_writer(self, blobs: Blobs) -> CheckpointWriter:
        """Its journal is no use after a restart, and holds the key: it never has a name for long,
        and lies in memory."""
        own = self._context.credentials.certificate.read_text()
        scratch = self._context.settings.scratch
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch) as place:
            recipients = list(dict.fromkeys((own, *self._order.recipients)))
            name = self._order.checkpoint
            return CheckpointWriter(blobs, name, recipients, Path(place))

    def _write(self, record: Record, writer: CheckpointWriter) -> Checkpointed:
        spec = record.spec
        assert spec is not None  # _open_record wrote it
        trees = self._travelling(spec, record.container)
        frames = self._frames = LayerFrames(writer, [tree.name for tree in trees])
        try:
            with self._context.live.activity(record.migration, self._cancel):
                manifest = self._read(record, spec, trees)
            self._tell(Progress("store"))
            frames.finish()
        except BaseException as error:
            frames.cancel(Permanent(f"cannot take the checkpoint: {error!r}"))
            frames.join()
            raise
        whole = writer.close(self._meta(spec, manifest))
        return Checkpointed(
            identity=writer.identity,
            digest=manifest.digest,
            downtime_ms=self._watch.total_ms or 0.0,
            taken_at=self._taken_at,
            memory_bytes=manifest.memory_bytes,
            file_bytes=manifest.file_bytes,
            size=whole.size,
            stored=whole.stored,
            image=spec.image,
            address=spec.address,
            phases=self._watch.phases(),
        )

    def _meta(self, spec: WorkloadSpec, manifest: Manifest) -> dict[str, object]:
        """All that another host needs beside the layers: which image, and how to make the twin."""
        return {
            "version": META,
            "taken_at": self._taken_at,
            "spec": codec.dump(spec),
            "manifest": codec.dump(manifest),
            "facts": codec.dump(self._facts.gather()),
        }

    def _travelling(self, spec: WorkloadSpec, container: str) -> tuple[Tree, ...]:
        stay = {f"volume:{volume.name}" for volume in spec.volumes if volume.mode != "move"}
        return tuple(tree for tree in self._parts.runtime.trees(container) if tree.name not in stay)

    # -- while it stands still --------------------------------------------------------------

    def _read(self, record: Record, spec: WorkloadSpec, trees: tuple[Tree, ...]) -> Manifest:
        """Freeze, dump and read; it runs again when this returns or raises."""
        assert self._frames is not None
        settings, name = self._context.settings, record.migration
        self._reserve = self._parts.reserve(settings.scratch, spec.memory_bytes)
        images, work = settings.images(name), settings.work(name)
        total = spec.memory_bytes + spec.file_bytes
        try:
            self._freeze(record, spec)
            self._watch.begin("dump")
            images.mkdir(parents=True, exist_ok=True)
            work.mkdir(parents=True, exist_ok=True)
            return self._parts.new_sender(_AS_IT_IS).send(
                lambda: self._parts.checkpoints.dump(record.container, images, work),
                *(images, trees, self._frames),
                lambda done: self._tell(Progress("dump", done, total)),
            )
        finally:
            self._watch.begin("resume")
            self._let_go(record, "the checkpoint is taken")
            self._watch.stop()

    def _freeze(self, record: Record, spec: WorkloadSpec) -> None:
        self._tell(Progress("freeze"))
        self._give_room()
        self._taken_at = time.time()
        self._watch.begin("freeze")
        frozen = self._context.ledger.source(record.migration, SourceEvent.FREEZE, frozen=True)
        if frozen.state != Source.FROZEN:
            raise Conflict(f"cannot freeze: the checkpoint is {frozen.state} here")
        if record.link is not None and spec.address:
            self._held = self._parts.network.hold(spec.address)
        self._side.hold_still(frozen)

    def _let_go(self, record: Record, why: str) -> None:
        """Written first, then done; what fails is tried again by whoever tends the records."""
        self._give_room()
        held, self._held = self._held, None
        try:
            record = self._context.ledger.source(record.migration, SourceEvent.ABORT, note=why)
            self._side.enforce(record, held)
        except PorterError as error:
            log.error("will be tried again: %s", error, extra={"migration": record.migration})
        finally:
            if held is not None:
                held.stop()
        self._context.changed()

    def _give_room(self) -> None:
        if self._reserve is not None:
            self._reserve.release()

    def _cancel(self, why: str) -> None:
        if self._frames is not None:
            self._frames.cancel(Permanent(f"cannot take the checkpoint: {why}"))
