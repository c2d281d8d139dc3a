"""Following one migration to its end: the event stream, and what people see of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

import click

from porter.cli.app import App, interactive
from porter.cli.client import Api, Event, Unreachable
from porter.cli.progress import Board, LivePicture, PlainLines
from porter.domain.migration import FINAL, MigrationState

T = TypeVar("T")
ENDINGS = frozenset(f"migration.{state}" for state in FINAL)
HELD = f"migration.{MigrationState.HELD}"
PATIENCE_S = 120.0
"""How long the control plane may be out of reach while we watch: time enough to restart it."""
HELD_PATIENCE_S = 20.0
"""How long a held migration may take to find its way again before we report it as held."""
_PAUSES = (0.2, 0.5, 1.0, 2.0)


class Interrupted(Exception):
    """The person stopped watching."""


class TimeUp(Exception):
    """The time to wait is over; the migration goes on."""


def within(seconds: float, items: Iterator[T]) -> Iterator[T]:
    """The items; raises TimeUp when they have not ended after so many seconds, also while one is
    waited for. They are fetched in a thread, which is left behind then."""
    arrived: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()

    def fetch() -> None:
        try:
            for item in items:
                arrived.put((item, None))
            arrived.put((None, StopIteration()))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where it is heard
            arrived.put((None, error))

    until = time.monotonic() + seconds
    threading.Thread(target=fetch, daemon=True).start()
    while True:
        try:
            item, error = arrived.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise TimeUp from None
        if isinstance(error, StopIteration):
            return
        if error is not None:
            raise error
        yield cast(T, item)


class Follower:
    """Events of one migration, over as many connections as it takes, each event once."""

    def __init__(
        self,
        api: Api,
        identity: str,
        notice: Callable[[str], None],
        *,
        leave_held: bool,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.api = api
        self.identity = identity
        self.leave_held = leave_held
        self._notice = notice
        self._now = now
        self._sleep = sleep
        self._last: str | None = None
        self._failures = 0
        self._lost_since: float | None = None

    def events(self) -> Iterator[Event]:
        """Until the migration ends, or is held for long if `leave_held`.

        Raises Unreachable after PATIENCE_S without the control plane.
        """
        while True:
            try:
                for event in self.api.events(self.identity, self._last):
                    self._heard()
                    self._last = event.id
                    yield event
                    if event.kind in ENDINGS:
                        return
                    if event.kind == HELD and self.leave_held and self._stays_held():
                        return
                # A stream may also end because a replica is replaced: only the state tells.
                if self.api.migration(self.identity)["state"] in FINAL:
                    return
                self._sleep(_PAUSES[0])
            except Unreachable as error:
                self._missed(error)

    def patiently(self, call: Callable[[], T]) -> T:
        """The call's answer, waiting for the control plane if it is away."""
        while True:
            try:
                answer = call()
            except Unreachable as error:
                self._missed(error)
            else:
                self._heard()
                return answer

    def _stays_held(self) -> bool:
        until = self._now() + HELD_PATIENCE_S
        while self._now() < until:
            found = self.patiently(lambda: self.api.migration(self.identity))
            if found["state"] != MigrationState.HELD:
                return False
            self._sleep(1.0)
        return True

    def _heard(self) -> None:
        if self._lost_since is not None:
            self._notice("the control plane is back")
        self._failures, self._lost_since = 0, None

    def _missed(self, error: Unreachable) -> None:
        now = self._now()
        if self._lost_since is None:
            self._lost_since = now
            self._notice("the control plane is out of reach; the migration goes on, trying again")
        elif now - self._lost_since > PATIENCE_S:
            raise error
        self._sleep(_PAUSES[min(self._failures, len(_PAUSES) - 1)])
        self._failures += 1


def watch_migration(
    app: App, identity: str, *, leave_held: bool = False, wait: float | None = None
) -> dict[str, Any]:
    """Show a migration until it ends; returns its receipt. Ctrl-C raises Interrupted, and TimeUp
    comes after `wait` seconds.

    With `leave_held`, a migration that stays held is left so and its receipt says why.
    """
    board = Board()
    view: PlainLines | LivePicture | None = None
    context: AbstractContextManager[object] = nullcontext()
    if app.json:
        notice: Callable[[str], None] = _to_stderr
    elif interactive():
        view = LivePicture(board, app.console)
        notice, context = view.notice, view
    else:
        view = PlainLines(board, click.echo)
        notice = view.notice
    follower = Follower(app.api, identity, notice, leave_held=leave_held)
    try:
        with context:
            events = follower.events()
            for event in events if wait is None else within(wait, events):
                board.take(event)
                if view is not None:
                    view.show(event)
        return follower.patiently(lambda: app.api.receipt(identity))
    except KeyboardInterrupt:
        raise Interrupted from None


def _to_stderr(text: str) -> None:
    click.echo(f"porter: {text}", err=True)
