"""What a step is given and what it may answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from porter.db.base import Claim, CommandRecord, HostRecord, NewCommand, NewEvent, WorkloadRecord
from porter.domain.errors import from_code
from porter.domain.migration import StepKind
from porter.protocol import codec
from porter.protocol.messages import Kind

T = TypeVar("T")

POLL = 2.0
"""Seconds after which a waiting step looks again even if nothing was reported."""
GIVE_UP = 15.0
"""A host silent for so long has gone away: what has touched nothing there stops waiting."""
CANCELLED = "cancelled on request"


@dataclass(frozen=True)
class Done:
    """The step is complete. `rehome`: the workload lives in this container of the target now."""

    output: dict[str, Any] = field(default_factory=dict)
    rehome: str | None = None


@dataclass(frozen=True)
class Wait:
    """Call again when a result arrives, or after so many seconds. `held`: a person should know."""

    reason: str = ""
    held: bool = False
    seconds: float = POLL


@dataclass(frozen=True)
class Retry:
    """Try anew after so many seconds, with fresh commands."""

    after: float
    why: str


@dataclass(frozen=True)
class Failed:
    """It cannot work: undo what was done."""

    why: str
    data: dict[str, Any] = field(default_factory=dict)


Outcome = Done | Wait | Retry | Failed


class Asker(Protocol):
    """Somebody who can ask hosts: a step of a migration, or a dry run."""

    def ask(
        self, name: str, host: HostRecord, kind: Kind, payload: object, answer: type[T]
    ) -> T | None:
        """The host's answer, None as long as there is none; raises the error it answered with.

        `name` tells several commands of one step apart; the same name is the same command.
        """
        ...


@dataclass
class Desk:
    """Commands known so far, and those that were asked for just now."""

    prefix: str
    attempt: int
    step: str
    known: Mapping[str, CommandRecord]
    sends: list[NewCommand] = field(default_factory=list)
    waiting: list[HostRecord] = field(default_factory=list)

    def ask(
        self, name: str, host: HostRecord, kind: Kind, payload: object, answer: type[T]
    ) -> T | None:
        """See Asker. The command goes out when the step's outcome is recorded."""
        command_id = f"{self.prefix}.{name}.{self.attempt}"
        record = self.known.get(command_id)
        if record is None:
            new = NewCommand(command_id, host.id, self.step, kind, codec.dump(payload))
            if new.id not in {send.id for send in self.sends}:
                self.sends.append(new)
        if record is None or record.result is None:
            self.waiting.append(host)
            return None
        error = record.result.get("error")
        if error is not None:
            raise from_code(error["code"], error["message"], error.get("remedy", ""))
        return codec.load(answer, record.result["output"])


class Context:
    """One call of a step: what is known, and what the step wants. Does no I/O."""

    def __init__(self, claim: Claim, now: float) -> None:
        self.claim = claim
        self.migration = claim.migration
        self.source = claim.source
        self.target = claim.target
        self.workload: WorkloadRecord = claim.workload
        self.now = now
        self.attempt = claim.step.attempt
        """Part of every command's id: trying anew means new commands."""
        self.memory: dict[str, Any] = dict(claim.step.memory)
        self.events: list[NewEvent] = []
        self.by_id = {command.id: command for command in claim.commands}
        self.desk = Desk(
            f"{claim.migration.id}.{claim.step.kind}",
            claim.step.attempt,
            claim.step.kind,
            self.by_id,
        )

    @property
    def generation(self) -> int:
        """The generation that the target will own."""
        return self.migration.generation + 1

    @property
    def cancelled(self) -> bool:
        return self.migration.cancel_requested

    def ask(
        self, name: str, host: HostRecord, kind: Kind, payload: object, answer: type[T]
    ) -> T | None:
        return self.desk.ask(name, host, kind, payload, answer)

    def ask_once(
        self, name: str, host: HostRecord, kind: Kind, payload: object, answer: type[T]
    ) -> T | None:
        """As `ask`, but the same command in every attempt: it must never be sent a second time."""
        return replace(self.desk, attempt=0).ask(name, host, kind, payload, answer)

    def alive(self, host: HostRecord) -> bool:
        return host.alive(self.now)

    def output(self, kind: StepKind) -> dict[str, Any]:
        """What an earlier step left."""
        return next((s.output or {} for s in self.claim.steps if s.kind is kind), {})

    def memory_of(self, kind: StepKind) -> dict[str, Any]:
        """What another step keeps."""
        return next((s.memory for s in self.claim.steps if s.kind is kind), {})

    def issued(self, step: StepKind, kind: Kind) -> CommandRecord | None:
        """The newest command of a kind that a step sent and that was not taken back."""
        found = [
            command
            for command in self.claim.commands
            if command.step == step and command.kind == kind and not command.withdrawn
        ]
        return found[-1] if found else None

    def tell(self, kind: str, message: str, **data: object) -> None:
        """Record an event with the outcome."""
        self.events.append(NewEvent(kind, message, data))

    def wait(self, undoing: bool = False) -> Outcome:
        """Wait for whom we asked. Before the pivot, a host that went away is not waited for."""
        silent = [host for host in self.desk.waiting if not self.alive(host)]
        if not silent:
            return Wait()
        host = silent[0]
        if not undoing and host.silent(self.now) > GIVE_UP:
            return Failed(
                f"cannot move {self.workload.name}: host {host.name} went away "
                f"({host.silent(self.now):.0f} s without a sign of life)"
            )
        return Wait(f"waiting for host {host.name}: it has not been heard for a while")


class Step(Protocol):
    """One durable piece of a migration. Steps keep nothing between calls but `Context.memory`."""

    @property
    def kind(self) -> StepKind: ...

    def do(self, context: Context) -> Outcome:
        """Go on from wherever it stands. Called again and again until it is done."""
        ...

    def undo(self, context: Context) -> Outcome:
        """Take back what was never, half or fully done. Called until it is done; cannot fail."""
        ...


def describe(hosts: Sequence[HostRecord]) -> str:
    return " and ".join(host.name for host in hosts)
