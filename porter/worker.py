"""The Celery application: `celery -A porter.worker worker`, or `porter worker`."""

from __future__ import annotations

import logging

from celery import Celery

from porter.domain.errors import Transient
from porter.settings import Settings, load
from porter.wiring import ADVANCE, SWEEP, ControlPlane, control_plane

log = logging.getLogger(__name__)

THREADS = 4
"""No step waits for a host, so few threads drive many moves. Threads and not processes: when a
worker is killed, nothing of it stays behind and holds the broker's connection."""


def make_app(settings: Settings) -> tuple[Celery, ControlPlane]:
    """Celery with Porter's tasks, and the control plane that they work on."""
    control = control_plane(settings)
    app = control.celery

    @app.task(name=ADVANCE, ignore_result=True)
    def advance(migration_id: str) -> None:
        """Take one migration as far as it goes. May be lost, doubled or late."""
        try:
            control.engine.advance(migration_id)
        except Transient as error:
            log.warning("cannot advance %s now, the sweep tries again: %s", migration_id, error)

    @app.task(name=SWEEP, ignore_result=True)
    def sweep() -> None:
        """Send again what may have been lost."""
        try:
            control.engine.sweep()
        except Transient as error:
            log.warning("cannot sweep now: %s", error)

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
    # Nothing to remember between runs: the only schedule is "every two seconds".
    app.Beat(scheduler_cls="celery.beat:Scheduler", loglevel="INFO", quiet=True).run()


def __getattr__(name: str) -> Celery:
    """`app` for Celery's own command line, made when it is asked for."""
    if name == "app":
        return make_app(load())[0]
    raise AttributeError(name)
