"""The composition root: settings in, a working control plane out."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from celery import Celery
from kombu.exceptions import OperationalError

from porter.bootstrap import user_data
from porter.db.base import HostRecord
from porter.db.checkpoints import Checkpoints
from porter.db.database import Database, rehearsing
from porter.db.decisions import Decisions
from porter.db.deliveries import Deliveries
from porter.db.desk import Desk
from porter.db.fleet import Fleets
from porter.db.forecasts import Forecasts
from porter.db.found import Found
from porter.db.history import History
from porter.db.identity import Identity
from porter.db.journal import Journal
from porter.db.ledger import Ledger
from porter.db.moves import Moves
from porter.db.plans import Plans
from porter.db.policies import Policies
from porter.db.proposals import Proposals
from porter.db.rebalances import Rebalances
from porter.db.registry import Registry
from porter.db.schedules import Schedules
from porter.db.sites import Sites
from porter.db.stores import Stores
from porter.db.webhooks import Webhooks
from porter.logs import current_request
from porter.migrate.checkpoints import Keeper
from porter.migrate.depots import Depots
from porter.migrate.engine import Engine
from porter.migrate.forecast import Forecaster
from porter.migrate.places import Places
from porter.migrate.plan import make_steps
from porter.migrate.planning import Planner
from porter.migrate.ports import Machines
from porter.migrate.reaper import Reaper
from porter.pki import Authority, open_authority, write_private
from porter.providers.registry import METADATA, open_site
from porter.queues import broker
from porter.schedule import rates
from porter.schedule.account import Accountant
from porter.schedule.authority import Authority as PortAuthority
from porter.schedule.carry_out import Carrier
from porter.schedule.clockwork import Clockwork
from porter.schedule.observer import Observer
from porter.schedule.optimiser.optimise import optimise
from porter.schedule.outlook import Learned
from porter.schedule.proposals import Proposer
from porter.schedule.snapshot import Photographer
from porter.settings import Settings
from porter.signing import Signer, open_signer
from porter.store.registry import open_blobs
from porter.vault import Vault, open_vault
from porter.webhooks.courier import Courier
from porter.webhooks.guard import Allow, allowing
from porter.webhooks.post import post

log = logging.getLogger(__name__)

ADVANCE = "porter.advance"
REAP = "porter.reap"
CHECKPOINT = "porter.checkpoint"
DELIVER = "porter.deliver"
CARRY = "porter.carry"
TICK = "porter.tick"
SWEEP = "porter.sweep"
SWEEP_EVERY = 2.0
TICK_EVERY = 5.0
REQUEST = "porter_request"
"""Header of a message: id of the API request that sent it."""


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
            },
            "tick": {
                "task": TICK,
                "schedule": TICK_EVERY,
                "options": {"expires": TICK_EVERY * 2},
            },
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
        self._send(ADVANCE, migration_id)

    def reap(self, key: str) -> None:
        """Ask a worker to go on removing a machine."""
        self._send(REAP, key)

    def checkpoint(self, checkpoint: str) -> None:
        """Ask a worker to go on with a checkpoint."""
        self._send(CHECKPOINT, checkpoint)

    def deliver(self, webhook: str) -> None:
        """Ask a worker to send what is due to a webhook."""
        self._send(DELIVER, webhook)

    def carry(self, proposal: str) -> None:
        """Ask a worker to go on carrying a proposal out."""
        self._send(CARRY, proposal)

    def _send(self, task: str, about: str) -> None:
        if rehearsing.get() is not None:
            return
        try:
            headers = {REQUEST: current_request.get()}
            self._app.send_task(task, [about], ignore_result=True, headers=headers)
        except self._away as error:
            log.warning("cannot enqueue %s, the sweep will: %s", about, error)


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
    decisions: Decisions
    queue: CeleryQueue
    engine: Engine
    reaper: Reaper
    checkpoints: Checkpoints
    keeper: Keeper
    vault: Vault
    site_book: Sites
    sites: Places
    store_book: Stores
    stores: Depots
    machines: Machines
    ledger: Ledger
    identity: Identity
    policies: Policies
    plans: Plans
    planner: Planner
    rebalances: Rebalances
    proposals: Proposals
    port: PortAuthority
    carrier: Carrier
    accountant: Accountant
    schedules: Schedules
    clockwork: Clockwork
    observer: Observer
    forecasts: Forecasts
    webhooks: Webhooks
    deliveries: Deliveries
    courier: Courier
    allow: Allow
    """Where webhooks may lead beside public addresses."""
    celery: Celery

    @cached_property
    def signer(self) -> Signer:
        """Signs receipts; its key is made on first use."""
        return open_signer(self.settings.state / "receipt-key.pem")

    def close(self) -> None:
        self.database.close()
        self.celery.close()


def control_plane(settings: Settings) -> ControlPlane:
    """Connect the rooms. Opens no connection yet."""
    database = Database(settings.database_url)
    app = celery_app(settings)
    queue = CeleryQueue(app)
    journal = Journal(database)
    registry = Registry(database)
    vault = open_vault(settings.secret_key_file)
    book = Sites(database)
    places = Places(book, vault.open, open_site)
    ledger = Ledger(database)
    checkpoints = Checkpoints(database)
    store_book = Stores(database)
    depots = Depots(store_book, vault.open, open_blobs)
    machines = Machines(
        places=places,
        depots=depots,
        ledger=ledger,
        invite=Invitations(settings, registry, vault, places),
        owner=f"porter-{vault.derive('owner').lower().translate(_PLAIN)[:12]}",
        agents_url=settings.agents_url,
        join_limit=settings.join_limit,
    )
    moves, plans, policies = Moves(database), Plans(database), Policies(database)
    forecasts = Forecasts(database)
    forecaster = Forecaster(plans, ledger, places, forecasts)
    deliveries, allow = Deliveries(database), allowing(settings.webhook_allow)
    post_there = partial(post, allow=allow)
    planner = Planner(moves, plans, policies, registry, places, forecaster)
    rebalances, proposals = Rebalances(database), Proposals(database)
    schedules, history = Schedules(database), History(database)
    photographer = Photographer(
        *(Fleets(database), policies, places, forecaster),
        *(Learned(forecaster), history, rates.load(settings.rates)),
    )
    proposer = Proposer(photographer, optimise, planner, proposals, places)
    return ControlPlane(
        settings=settings,
        database=database,
        journal=journal,
        desk=Desk(database),
        registry=registry,
        found=Found(database),
        moves=moves,
        decisions=Decisions(database),
        queue=queue,
        engine=Engine(journal, queue, time.time, make_steps(machines), settings.lease),
        reaper=Reaper(places, ledger, time.time, settings.idle, queue.reap),
        checkpoints=checkpoints,
        keeper=Keeper(checkpoints, depots, time.time, queue.checkpoint),
        vault=vault,
        site_book=book,
        sites=places,
        store_book=store_book,
        stores=depots,
        machines=machines,
        ledger=ledger,
        identity=Identity(database),
        policies=policies,
        plans=plans,
        planner=planner,
        rebalances=rebalances,
        proposals=proposals,
        port=PortAuthority(proposer, rebalances, proposals, time.time),
        carrier=Carrier(
            proposals,
            planner,
            moves,
            policies,
            ledger,
            time.time,
            queue.enqueue,
            settings.idle,
        ),
        accountant=Accountant(proposals, ledger, moves),
        schedules=schedules,
        clockwork=Clockwork(
            *(schedules, rebalances, proposer, places, time.time),
            prices_every=max(settings.prices_every, 1.0),
        ),
        observer=Observer(history, places, time.time),
        forecasts=forecasts,
        webhooks=Webhooks(database),
        deliveries=deliveries,
        courier=Courier(deliveries, vault, time.time, queue.deliver, post_there),
        allow=allow,
        celery=app,
    )


_PLAIN = str.maketrans("_-", "xy")
"""Tags of every cloud take letters and digits."""


class Invitations:
    """User data with which a new machine's agent joins: the same whenever it is asked for.

    The token in it is derived, so it is stored nowhere; the database has its hash.
    """

    def __init__(
        self, settings: Settings, registry: Registry, vault: Vault, places: Places
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._vault = vault
        self._places = places

    def __call__(self, key: str, host: HostRecord) -> str:
        secret = self._vault.derive(f"join {key}")
        until = self._settings.join_limit * 2
        self._registry.add_token(secret, time.time(), until, host.name, host.site)
        token = f"{secret}.{authority(self._settings).pin}"
        site = self._places.get(host.site)
        cloud = str(site.kind) if site.kind in METADATA else ""
        where = site.settings.get("metadata_url") or site.settings.get("metadata_endpoint", "")
        return user_data(
            self._settings.agents_url, token, host.name, host.site, cloud, where if cloud else ""
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
