"""The tables. `migrations/` holds the schema revisions that make them."""

from porter.db.tables.base import metadata
from porter.db.tables.decisions import (
    decisions,
    plans,
    policies,
    proposal_moves,
    proposals,
    rebalances,
    schedules,
)
from porter.db.tables.fleet import (
    checkpoints,
    hosts,
    instances,
    join_tokens,
    sites,
    stores,
    workloads,
)
from porter.db.tables.history import interruptions, memory_peaks, price_points, price_watches
from porter.db.tables.moves import commands, events, migrations, settings, steps
from porter.db.tables.people import answers, api_tokens, audit, grants, logins, sessions, users
from porter.db.tables.webhooks import deliveries, webhooks

__all__ = [
    "answers",
    "api_tokens",
    "audit",
    "checkpoints",
    "commands",
    "decisions",
    "deliveries",
    "events",
    "grants",
    "hosts",
    "instances",
    "interruptions",
    "join_tokens",
    "logins",
    "memory_peaks",
    "metadata",
    "migrations",
    "plans",
    "policies",
    "price_points",
    "price_watches",
    "proposal_moves",
    "proposals",
    "rebalances",
    "schedules",
    "sessions",
    "settings",
    "sites",
    "steps",
    "stores",
    "users",
    "webhooks",
    "workloads",
]
