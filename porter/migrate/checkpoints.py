"""Kept checkpoints: take, restore, remove. Each is a row that workers advance.

`task` of a row tells what is being done, or was done last: `key` (part of its commands' ids),
`failed` (why it is being taken back), and for a restore `restore` (its name on the target),
`target`, `target_name`, `committed` (the workload is the target's), `opened` (how often it was told
so), `undo`, and at the end `outcome` (succeeded or failed), `why` and `ended`.

Never two copies: a restore begins only when no host reports the workload and the host that had it
last says that it has none; the target holds the restored tasks at its gate until the new generation
stands in the database, and after that only its own word ends the restore.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from porter.db.base import (
    CheckpointChange,
    CheckpointClaim,
    CheckpointRecord,
    CheckpointState,
    Homing,
    HostRecord,
    NewEvent,
)
from porter.domain.errors import Conflict, NotFound, Permanent, PorterError, Transient
from porter.domain.handover import Target
from porter.migrate.custody import can_read, helper_for, in_the_way, no_certificate
from porter.migrate.depots import Depots
from porter.migrate.ports import Clock
from porter.migrate.step import GIVE_UP, POLL, Desk
from porter.protocol import codec
from porter.protocol.checkpoints import (
    Checkpointed,
    RestoreCheckpoint,
    Restored,
    Rewrap,
    Rewrapped,
    TakeCheckpoint,
    Vacate,
    Vacated,
)
from porter.protocol.messages import HandoverState, Kind, Query
from porter.store import catalog

log = logging.getLogger(__name__)
T = TypeVar("T")

LEASE = 30.0
LONG_SILENCE = 60.0
"""A host that makes a checkpoint may be silent for so long because it is busy."""
AGAIN = 10.0
"""Seconds until something that failed at the store is tried again."""
STRIDE = 20


class Book(Protocol):
    """The rows of checkpoints. Every method is one short transaction."""

    def claim(self, checkpoint: str, now: float, lease: float) -> CheckpointClaim | None: ...

    def apply(self, claim: CheckpointClaim, change: CheckpointChange) -> bool | None: ...

    def runnable(self, now: float, limit: int = 200) -> list[str]: ...


class Keeper:
    """Advances checkpoints. Thread-safe; any number may work on one database."""

    def __init__(
        self, book: Book, depots: Depots, clock: Clock, enqueue: Callable[[str], None]
    ) -> None:
        self._book = book
        self._depots = depots
        self._clock = clock
        self._enqueue = enqueue

    def sweep(self) -> int:
        """Enqueue every checkpoint whose time has come. Returns how many."""
        found = self._book.runnable(self._clock())
        for checkpoint in found:
            self._enqueue(checkpoint)
        return len(found)

    def advance(self, checkpoint: str) -> None:
        """Take it as far as it goes without waiting. Harmless at any time. Raises Transient if the
        database is away."""
        for _ in range(STRIDE):
            claim = self._book.claim(checkpoint, self._clock(), LEASE)
            if claim is None:
                return
            change, more = self._work(claim)
            news = self._book.apply(claim, change)
            if news is None:
                log.warning("%s: the lease was lost, the outcome is thrown away", checkpoint)
                return
            if not (more or news):
                return
        self._enqueue(checkpoint)

    def _work(self, claim: CheckpointClaim) -> tuple[CheckpointChange, bool]:
        work = Work(claim, self._clock())
        state = claim.checkpoint.state
        try:
            if state is CheckpointState.CREATING:
                return self._create(work)
            if state is CheckpointState.RESTORING:
                return _restore(work)
            return self._remove(work)
        except Exception as error:
            log.exception("%s: cannot go on", claim.checkpoint.id)
            return work.wait(f"internal error ({type(error).__name__}: {error})", AGAIN)

    def _create(self, work: Work) -> tuple[CheckpointChange, bool]:
        record, task = work.record, work.task
        if "failed" in task:
            return self._clean(work)
        host = work.hosts.get(record.host)
        recipients = tuple(
            one.certificate
            for recipient in record.recipients
            if (one := work.hosts.get(recipient["id"])) is not None and one.certificate
        )
        order = TakeCheckpoint(record.id, record.workload, recipients)
        try:
            if host is None:
                raise Permanent(f"cannot take the checkpoint: {record.host_name} was removed")
            taken = work.ask("take", host, Kind.CHECKPOINT, order, Checkpointed)
            if taken is None:
                work.raise_if_away(LONG_SILENCE)
                return work.wait("")
        except PorterError as error:
            return work.fail(str(error))
        return work.end(CheckpointState.READY, "succeeded", "", result=codec.dump(taken)), False

    def _clean(self, work: Work) -> tuple[CheckpointChange, bool]:
        """Nothing of a checkpoint that is not whole may be left in the store."""
        why = str(work.task["failed"])
        try:
            catalog.remove(self._depots.open(work.record.store), work.record.id)
        except PorterError as error:
            return work.wait(f"{why}; cannot clear the store yet: {error}", AGAIN)
        return work.end(CheckpointState.FAILED, "failed", why), False

    def _remove(self, work: Work) -> tuple[CheckpointChange, bool]:
        """From the store first; interrupted, the next call goes on."""
        try:
            catalog.remove(self._depots.open(work.record.store), work.record.id)
        except PorterError as error:
            return work.wait(f"cannot remove it yet: {error}", AGAIN)
        change = work.end(CheckpointState.REMOVING, "removed", "")
        return replace(change, gone=True, forget=f"{work.record.id}."), False


@dataclass
class Work:
    """One call about one checkpoint: what is known, and what is wanted. Does no I/O."""

    claim: CheckpointClaim
    now: float
    task: dict[str, Any] = field(init=False)
    desk: Desk = field(init=False)
    recipients: list[dict[str, str]] | None = None

    def __post_init__(self) -> None:
        self.task = dict(self.claim.checkpoint.task)
        known = {command.id: command for command in self.claim.commands}
        self.desk = Desk(f"{self.record.id}.{self.task['key']}", 1, "checkpoint", known)

    @property
    def record(self) -> CheckpointRecord:
        return self.claim.checkpoint

    @property
    def hosts(self) -> dict[str, HostRecord]:
        return self.claim.hosts

    def ask(
        self, name: str, host: HostRecord, kind: Kind, payload: object, answer: type[T]
    ) -> T | None:
        """The host's answer, None as long as there is none; raises the error it answered with."""
        return self.desk.ask(name, host, kind, payload, answer)

    def asked(self, name: str) -> bool:
        return f"{self.desk.prefix}.{name}.1" in self.desk.known

    def raise_if_away(self, patience: float) -> None:
        """Raise Transient if a host that we wait for has gone away."""
        for host in self.desk.waiting:
            silent = host.silent(self.now)
            if silent > patience:
                raise Transient(f"host {host.name} went away ({silent:.0f} s without a word)")

    def wait(
        self, reason: str, seconds: float = POLL, home: Homing | None = None
    ) -> tuple[CheckpointChange, bool]:
        """Call again when something is heard, or then. With `home` at once: it is written down."""
        change = CheckpointChange(
            *(self.record.state, self.now, self.task, reason),
            wake_at=self.now + seconds,
            recipients=self.recipients,
            send=tuple(self.desk.sends),
            home=home,
        )
        return change, home is not None

    def fail(self, why: str) -> tuple[CheckpointChange, bool]:
        """Take it back; then it has failed."""
        self.task["failed"] = why
        self.desk.sends.clear()
        return self.wait(why)[0], True

    def end(
        self,
        state: CheckpointState,
        outcome: str,
        why: str,
        result: dict[str, Any] | None = None,
        home: Homing | None = None,
        forget: bool = True,
    ) -> CheckpointChange:
        """Nothing more is to be done."""
        doing = {CheckpointState.CREATING: "create", CheckpointState.RESTORING: "restore"}
        verb = doing.get(self.record.state, "remove")
        self.task |= {"outcome": outcome, "why": why, "ended": self.now}
        return CheckpointChange(
            *(state, self.now, self.task),
            reason=why if state is CheckpointState.FAILED else "",
            result=result,
            recipients=self.recipients,
            events=(NewEvent(f"checkpoint.{verb}.{outcome}", f"{verb} {outcome}: {why}"),)
            if why
            else (NewEvent(f"checkpoint.{verb}.{outcome}", f"{verb} {outcome}"),),
            home=home,
            forget=f"{self.desk.prefix}." if forget else "",
        )


# -- restore --------------------------------------------------------------------------------


def _restore(work: Work) -> tuple[CheckpointChange, bool]:
    target = work.hosts.get(str(work.task["target"]))
    if "failed" in work.task:
        return _undo(work, target)
    if work.task.get("committed"):
        return _open(work, target)
    try:
        if target is None:
            raise Permanent(f"cannot restore: host {work.task['target_name']} was removed")
        return _up_to_the_gate(work, target)
    except PorterError as error:
        return work.fail(str(error))


def _up_to_the_gate(work: Work, target: HostRecord) -> tuple[CheckpointChange, bool]:
    """Everything before the commit: any failure takes it back."""
    if not _vacated(work, target) or not _readable(work, target):
        work.raise_if_away(GIVE_UP)
        return work.wait("")
    record, home = work.record, work.claim.workload
    generation = 1 if home is None else home.generation + 1
    taken = codec.load(Checkpointed, record.result)
    order = RestoreCheckpoint(
        restore=work.task["restore"],
        checkpoint=record.id,
        workload=record.workload,
        generation=generation,
        identity=taken.identity,
    )
    restored = work.ask("restore", target, Kind.RESTORE, order, Restored)
    if restored is None:
        work.raise_if_away(LONG_SILENCE)
        return work.wait("")
    if home is not None and home.state != "gone":
        raise Conflict(f"cannot restore {home.name}: it was found {home.state} meanwhile")
    work.task["committed"] = True
    image = (*taken.image.names, taken.image.id)[0]
    return work.wait(
        "",
        home=Homing(
            *(target.id, restored.container, restored.container_name, restored.address),
            *(generation, image),
        ),
    )


def _vacated(work: Work, target: HostRecord) -> bool:
    """The host that had it last says that it has it no more, and sends its packets on."""
    home = work.claim.workload
    last = None if home is None or home.host is None else work.hosts.get(home.host)
    if home is None or last is None:
        return True
    via = "" if last.id == target.id or target.facts is None else target.facts.underlay
    address = codec.load(Checkpointed, work.record.result).address
    order = Vacate(home.name, address, via)
    answer = work.ask("vacate", last, Kind.VACATE, order, Vacated)
    if answer is not None and answer.here:
        raise in_the_way(home.name, last.name, ", ".join(answer.here))
    return answer is not None


def _readable(work: Work, target: HostRecord) -> bool:
    """The target can read it, if need be because another host has wrapped the key for it."""
    if can_read(work.record, target):
        return True
    helper = helper_for(work.record, work.hosts.values(), work.now)
    if target.certificate is None:
        raise no_certificate(target)
    order = Rewrap(work.record.id, (target.certificate,))
    if work.ask(f"rewrap-{helper.id}", helper, Kind.REWRAP, order, Rewrapped) is None:
        return False
    others = [one for one in work.record.recipients if one["id"] != target.id]
    mine = {"id": target.id, "name": target.name, "serial": target.serial}
    work.recipients = [*others, mine]
    return True


def _open(work: Work, target: HostRecord | None) -> tuple[CheckpointChange, bool]:
    """It is the target's: only its word counts now, and it is asked for ever."""
    name = str(work.task["target_name"])
    if target is None:
        return _lost(work, f"host {name} was removed"), False
    times = int(work.task.get("opened", 0))
    query = Query(str(work.task["restore"]))
    try:
        answer = work.ask(f"open-{times}", target, Kind.OPEN, query, HandoverState)
    except NotFound as error:
        return _lost(work, str(error)), False
    except PorterError as error:
        work.task["opened"] = times + 1
        return work.wait(f"{name}: {error}")
    if answer is None:
        silent = not target.alive(work.now)
        return work.wait(f"waiting for {name} to say that it runs" if silent else "")
    if answer.state == Target.RUNNING and not answer.lost:
        return work.end(CheckpointState.READY, "succeeded", ""), False
    return _lost(work, answer.note or f"{name} says {answer.state}"), False


def _lost(work: Work, why: str) -> CheckpointChange:
    """The target's word that it does not run there, and will not."""
    gone = Homing(None, "", "", "", 0)
    return work.end(CheckpointState.READY, "failed", f"cannot restore: {why}", home=gone)


def _undo(work: Work, target: HostRecord | None) -> tuple[CheckpointChange, bool]:
    """Nothing may be left on the target. Without our word it never runs what it restored, so that
    a target that is away is not waited for: it takes it back when it hears of it."""
    why = str(work.task["failed"])
    if target is None or not work.asked("restore"):
        return work.end(CheckpointState.READY, "failed", why), False
    times = int(work.task.get("undo", 0))
    query = Query(str(work.task["restore"]))
    try:
        answer = work.ask(f"undo-{times}", target, Kind.REFUSE, query, HandoverState)
    except PorterError as error:
        work.task["undo"] = times + 1
        return work.wait(f"{why}; cannot undo on {target.name} yet: {error}")
    if answer is not None:
        return work.end(CheckpointState.READY, "failed", why), False
    if target.silent(work.now) > GIVE_UP and work.asked(f"undo-{times}"):
        why = f"{why}; {target.name} is away and clears up when it is back"
        return work.end(CheckpointState.READY, "failed", why, forget=False), False
    return work.wait(why)
