"""The Celery application: `celery -A porter.worker worker`, or `porter worker`."""

from __future__ import annotations

import logging
import time

from celery import Celery, Task

from porter.domain.errors import NotFound, Transient
from porter.logs import about
from porter.settings import Settings, load
from porter.wiring import (
    ADVANCE,
    CARRY,
    CHECKPOINT,
    DELIVER,
    REAP,
    REQUEST,
    SWEEP,
    TICK,
    ControlPlane,
    control_plane,
)

log = logging.getLogger(__name__)

THREADS = 4
"""No step waits for a host, so few threads drive many moves. Threads and not processes: when a
worker is killed, nothing of it stays behind and holds the broker's connection."""


def make_app(settings: Settings) -> tuple[Celery, ControlPlane]:
    """Celery with Porter's tasks, and the control plane that they work on."""
    control = control_plane(settings)
    app = control.celery

    @app.task(name=ADVANCE, ignore_result=True, bind=True)
    def advance(self: Task, migration_id: str) -> None:
        """Take one migration as far as it goes. May be lost, doubled or late."""
        try:
            with about(request=self.request.get(REQUEST), migration=migration_id):
                control.engine.advance(migration_id)
                control.carrier.ended(migration_id)
        except Transient as error:
            log.warning("cannot advance %s now, the sweep tries again: %s", migration_id, error)

    @app.task(name=REAP, ignore_result=True)
    def reap(key: str) -> None:
        """Go on removing a machine. May be lost, doubled or late."""
        try:
            control.reaper.reap(key)
        except (Transient, NotFound) as error:
            log.warning("cannot remove %s now, the sweep tries again: %s", key, error)

    @app.task(name=CHECKPOINT, ignore_result=True, bind=True)
    def checkpoint(self: Task, identity: str) -> None:
        """Take one checkpoint as far as it goes. May be lost, doubled or late."""
        try:
            with about(request=self.request.get(REQUEST)):
                control.keeper.advance(identity)
        except Transient as error:
            log.warning("cannot go on with %s now, the sweep tries again: %s", identity, error)

    @app.task(name=DELIVER, ignore_result=True)
    def deliver(webhook: str) -> None:
        """Send what is due to one webhook. May be lost, doubled or late."""
        try:
            control.courier.deliver(webhook)
        except Transient as error:
            log.warning("cannot send to %s now, the sweep tries again: %s", webhook, error)

    @app.task(name=CARRY, ignore_result=True, bind=True)
    def carry(self: Task, identity: str) -> None:
        """Take one proposal as far as it goes now. May be lost, doubled or late."""
        try:
            with about(request=self.request.get(REQUEST)):
                control.carrier.advance(identity)
        except Transient as error:
            log.warning("cannot go on with %s now, the sweep tries again: %s", identity, error)

    @app.task(name=SWEEP, ignore_result=True)
    def sweep() -> None:
        """Send again what may have been lost."""
        try:
            control.engine.sweep()
            control.reaper.sweep()
            control.keeper.sweep()
            control.planner.sweep(time.time())
            control.courier.sweep()
            control.carrier.sweep()
            control.port.sweep()
        except Transient as error:
            log.warning("cannot sweep now: %s", error)

    @app.task(name=TICK, ignore_result=True)
    def tick() -> None:
        """Begin what schedules have due. May be lost, doubled or late."""
        try:
            control.clockwork.tick()
            control.observer.tick()
        except Transient as error:
            log.warning("cannot look at the schedules now: %s", error)

    return app, control


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM. Blocks."""
    app, control = make_app(settings)
    control.database.upgrade()
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={THREADS}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=INFO",
        ]
    )


def run_beat(settings: Settings) -> None:
    """Send the sweep's messages until SIGTERM. Exactly one should run. Blocks."""
    app, _ = make_app(settings)
    # Nothing to remember between runs: everything is "every few seconds".
    app.Beat(scheduler_cls="celery.beat:Scheduler", loglevel="INFO", quiet=True).run()


def __getattr__(name: str) -> Celery:
    """`app` for Celery's own command line, made when it is asked for."""
    if name == "app":
        return make_app(load())[0]
    raise AttributeError(name)
