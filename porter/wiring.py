"""The composition root: settings in, a working control plane out."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from celery import Celery
from kombu.exceptions import OperationalError

from porter.db.database import Database
from porter.db.desk import Desk
from porter.db.found import Found
from porter.db.journal import Journal
from porter.db.moves import Moves
from porter.db.registry import Registry
from porter.migrate.engine import Engine
from porter.pki import Authority, open_authority, write_private
from porter.queues import broker
from porter.settings import Settings

log = logging.getLogger(__name__)

ADVANCE = "porter.advance"
SWEEP = "porter.sweep"
SWEEP_EVERY = 2.0


def celery_app(settings: Settings) -> Celery:
    """Celery as Porter uses it: a message is only a hint, so nothing is stored or acknowledged
    beyond it."""
    url, options = broker(settings.broker_url, settings.queue)
    app = Celery("porter", broker=url, set_as_current=False)
    app.conf.update(
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        # Once more over a fresh connection, as a pooled one may be dead; but nobody hangs on a
        # broker that is away: the sweep repeats what is lost.
        task_publish_retry=True,
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        },
        broker_connection_timeout=4,
        broker_connection_max_retries=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        task_default_queue="porter",
        task_serializer="json",
        accept_content=["json"],
        enable_utc=True,
        beat_schedule={
            "sweep": {
                "task": SWEEP,
                "schedule": SWEEP_EVERY,
                "options": {"expires": SWEEP_EVERY * 5},
            }
        },
    )
    return app


class CeleryQueue:
    """Asks a worker, over the broker, to advance a migration."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        connection = app.connection_for_write()
        # Each broker's client has its own ideas of what an error is.
        self._away = (
            OperationalError,
            OSError,
            *connection.connection_errors,
            *connection.channel_errors,
        )

    def enqueue(self, migration_id: str) -> None:
        """A message that cannot be sent is only logged: the sweep sends it again."""
        try:
            self._app.send_task(ADVANCE, [migration_id], ignore_result=True)
        except self._away as error:
            log.warning("cannot enqueue %s, the sweep will: %s", migration_id, error)


@dataclass(frozen=True)
class ControlPlane:
    """Everything that the web process and the workers share, each with its own instance."""

    settings: Settings
    database: Database
    journal: Journal
    desk: Desk
    registry: Registry
    found: Found
    moves: Moves
    queue: CeleryQueue
    engine: Engine
    celery: Celery

    def close(self) -> None:
        self.database.close()
        self.celery.close()


def control_plane(settings: Settings) -> ControlPlane:
    """Connect the rooms. Opens no connection yet."""
    database = Database(settings.database_url)
    app = celery_app(settings)
    queue = CeleryQueue(app)
    journal = Journal(database)
    return ControlPlane(
        settings=settings,
        database=database,
        journal=journal,
        desk=Desk(database),
        registry=Registry(database),
        found=Found(database),
        moves=Moves(database),
        queue=queue,
        engine=Engine(journal, queue, time.time, settings.lease),
        celery=app,
    )


def authority(settings: Settings) -> Authority:
    """The control plane's CA, made on first use."""
    return open_authority(settings.state)


def api_token(path: Path) -> str:
    """The token for the REST API, made on first use."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        write_private(fresh, f"{secrets.token_urlsafe(32)}\n".encode())
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            pass  # another replica was quicker: its token counts
        finally:
            fresh.unlink()
    return path.read_text().strip()
