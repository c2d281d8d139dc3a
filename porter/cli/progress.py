"""What a running migration looks like: steps, and the phases inside them with bars."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from porter.cli.client import Event
from porter.domain.migration import FINAL, StepKind
from porter.domain.units import bytes_, duration, moment

_WORDS = {
    StepKind.PREFLIGHT: "preflight",
    StepKind.RESERVE: "reserve, image, twin",
    StepKind.SYNC: "copy ahead",
    StepKind.HANDOVER: "freeze and hand over",
    StepKind.REWIRE: "rewire",
    StepKind.SETTLE: "settle",
}
_GLYPHS = {"done": ("✓", "green"), "failed": ("✗", "red"), "undone": ("↩", "yellow")}


@dataclass
class Phase:
    """Something measurable inside a step. Bytes; total 0 means unknown."""

    name: str
    done: int = 0
    total: int = 0
    message: str = ""
    begun: float = 0.0
    rate: float = 0.0
    """Bytes per second, smoothed."""
    seen: float = 0.0
    told: int = -1
    """For plain lines: the quarter that was printed last."""


@dataclass
class Step:
    kind: str
    state: str = "pending"
    begun: float | None = None
    ended: float | None = None
    message: str = ""
    phases: dict[str, Phase] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return _WORDS.get(self.kind, self.kind)  # type: ignore[call-overload]

    @property
    def ms(self) -> float | None:
        if self.begun is None or self.ended is None:
            return None
        return max(0.0, (self.ended - self.begun) * 1000)


class Board:
    """All that is known of one migration, from its events. Takes each event once, in order."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.steps: dict[str, Step] = {str(kind): Step(str(kind)) for kind in StepKind}
        self.current: Step | None = None
        self._now = now

    def take(self, event: Event) -> None:
        """Note one event. Kinds it does not know leave the picture as it is."""
        topic, _, verb = event.kind.partition(".")
        if topic == "step":
            self._step(event, verb)
        elif topic == "progress":
            self._progress(event.data, event.message)

    def _step(self, event: Event, verb: str) -> None:
        kind = str(event.data.get("step") or "")
        step = self.steps.setdefault(kind, Step(kind))
        if verb == "started":
            step.state, step.begun, step.ended = "running", moment(event.at), None
            self.current = step
        else:
            step.state, step.ended, step.message = verb, moment(event.at), event.message
            self.current = None

    def _progress(self, data: dict[str, Any], message: str) -> None:
        name = str(data.get("phase") or "")
        step = self.steps.get(str(data.get("step") or "")) or self.current
        if not name or step is None:
            return
        now = self._now()
        phase = step.phases.setdefault(name, Phase(name, begun=now, seen=now))
        done, total = int(data.get("done") or 0), int(data.get("total") or 0)
        if done > phase.done and now > phase.seen:
            fresh = (done - phase.done) / (now - phase.seen)
            phase.rate = fresh if not phase.rate else 0.6 * phase.rate + 0.4 * fresh
        phase.seen = now
        phase.done, phase.total = max(done, phase.done), total or phase.total
        phase.message = message or phase.message


class PlainLines:
    """One line per thing that happens, for logs and pipes."""

    def __init__(self, board: Board, echo: Callable[[str], None]) -> None:
        self._board = board
        self._echo = echo

    def notice(self, text: str) -> None:
        self._echo(f"  {text}")

    def show(self, event: Event) -> None:
        """Print what the event means; progress only at every quarter."""
        kind = str(event.data.get("step") or "")
        topic, _, verb = event.kind.partition(".")
        if topic == "progress":
            self._progress(kind, str(event.data.get("phase") or ""))
        elif topic == "step":
            step = self._board.steps[kind]
            if step.state != "running":  # what it does is told by its phases
                took = f" in {duration(step.ms)}" if step.ms is not None else ""
                tail = f": {step.message}" if step.message else ""
                self._echo(f"{step.title}: {step.state}{took}{tail}")
        elif event.message and verb not in FINAL:  # the receipt tells the end
            self._echo(event.message)

    def _progress(self, kind: str, name: str) -> None:
        step = self._board.steps.get(kind) or self._board.current
        phase = step.phases.get(name) if step else None
        if phase is None:
            return
        quarter = phase.done * 4 // phase.total if phase.total else 0
        if quarter > phase.told:
            phase.told = quarter
            self._echo(f"  {_amount(phase)}")


class LivePicture:
    """The board drawn on a terminal, several times a second. Use as a context manager."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._notice = ""
        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self.draw, console=console, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> LivePicture:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def notice(self, text: str) -> None:
        self._notice = text

    def show(self, event: Event) -> None:
        """The board has the event already; only what is being waited for is kept."""
        if event.kind.startswith("step."):
            self._notice = ""  # what was waited for has come
        elif event.kind != "progress" and event.message:
            self._notice = event.message

    def draw(self) -> RenderableType:
        picture = Table.grid(padding=(0, 1))
        for step in self._board.steps.values():
            picture.add_row(self._glyph(step), *self._step_cells(step))
            if step.state == "running":
                for phase in step.phases.values():
                    picture.add_row("", f"  {phase.name}", _bar(phase), _numbers(phase))
        parts: list[RenderableType] = [picture]
        if self._notice:
            parts.append(Text(self._notice, style="yellow"))
        return Group(*parts)

    def _glyph(self, step: Step) -> RenderableType:
        if step.state == "running":
            return self._spinner
        glyph, style = _GLYPHS.get(step.state, ("·", "dim"))
        return Text(glyph, style=style)

    def _step_cells(self, step: Step) -> tuple[Text, Text, Text]:
        style = "dim" if step.state == "pending" else "bold" if step.ended is None else ""
        took = duration(step.ms) if step.ms is not None else ""
        message = step.message if step.state in ("failed", "undone") else ""
        return Text(step.title, style=style), Text(message, style="yellow"), Text(took)


def _bar(phase: Phase) -> RenderableType:
    if not phase.total:
        return Text(phase.message if phase.message != phase.name else "", style="dim")
    return ProgressBar(total=phase.total, completed=min(phase.done, phase.total), width=32)


def _numbers(phase: Phase) -> Text:
    if not phase.total and not phase.done:
        return Text("")
    of = f" of {bytes_(phase.total)}" if phase.total else ""
    rate = f", {bytes_(phase.rate)}/s" if phase.rate else ""
    return Text(f"{bytes_(phase.done)}{of}{rate}")


def _amount(phase: Phase) -> str:
    numbers = _numbers(phase).plain
    message = phase.message if phase.message != phase.name else ""
    return ": ".join(part for part in (phase.name, numbers or message) if part)
