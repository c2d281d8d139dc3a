"""What every endpoint of the REST API demands: a new one needs a line here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from porter.domain.identity import Permission

READ, OPERATE, APPROVE, ADMIN = Permission


class Where(Enum):
    """Where the permission is needed, and what is said without it."""

    ANY = "nowhere: whoever is known gets an answer, with no more in it than it may see"
    FLEET = "in the fleet: 403"
    PROJECT = "in the project of what is named: 404 as for nothing if it cannot be read, else 403"
    NAMED = "in the project that is named: 403"
    HIDDEN = "in the project of what is named: 404 as for nothing"
    ANYWHERE = "in any project: 403"


@dataclass(frozen=True)
class Rule:
    """`$word` in a body, and the path's parameters, stand for one thing of the project that is
    tried, or for one that does not exist."""

    where: Where
    needs: Permission = READ
    body: dict[str, Any] | None = None
    names: dict[str, str] = field(default_factory=dict)
    """The path's parameters: what each names."""
    roles: bool = False
    """Without any role at all: 403."""


WORKLOAD, MIGRATION, CHECKPOINT = (
    {"name": "workload"},
    {"migration_id": "migration"},
    {"key": "kept"},
)
HOST, SITE, STORE, USER = {"name": "host"}, {"name": "site"}, {"name": "store"}, {"user": "user"}
SCHEDULE = {"name": "schedule"}
RUN, PROPOSAL = {"rebalance_id": "run"}, {"proposal_id": "proposal"}
PLAN, POLICY = {"plan_id": "plan"}, {"name": "policy"}
WEBHOOK = {"webhook_id": "webhook"}
GRANT = {**USER, "project": "project", "role": "role"}
MOVE = {"workload": "$workload", "to": "cloud"}

RULES = {
    "GET /v1/overview": Rule(Where.FLEET),
    "GET /v1/hosts": Rule(Where.FLEET),
    "GET /v1/hosts/{name}": Rule(Where.FLEET, names=HOST),
    "DELETE /v1/hosts/{name}": Rule(Where.FLEET, ADMIN, names=HOST),
    "POST /v1/join-tokens": Rule(Where.FLEET, ADMIN, {}),
    "GET /v1/workloads": Rule(Where.ANY),
    "GET /v1/workloads/{name}": Rule(Where.PROJECT, names=WORKLOAD),
    "PUT /v1/workloads/{name}/endpoints": Rule(Where.PROJECT, OPERATE, {"endpoints": []}, WORKLOAD),
    "POST /v1/workloads/{name}/preflight": Rule(Where.PROJECT, READ, {"to": "cloud"}, WORKLOAD),
    "GET /v1/workloads/{name}/prices": Rule(Where.PROJECT, names=WORKLOAD),
    "GET /v1/events": Rule(Where.ANY),
    "GET /v1/migrations": Rule(Where.ANY),
    "POST /v1/migrations": Rule(Where.PROJECT, OPERATE, MOVE),
    "GET /v1/migrations/{migration_id}": Rule(Where.PROJECT, names=MIGRATION),
    "POST /v1/migrations/{migration_id}/cancel": Rule(Where.PROJECT, OPERATE, names=MIGRATION),
    "POST /v1/migrations/{migration_id}/rollback": Rule(Where.PROJECT, OPERATE, names=MIGRATION),
    "POST /v1/migrations/{migration_id}/resolve": Rule(
        Where.PROJECT,
        OPERATE,
        {"run_on": "source", "reason": "it burnt", "fenced": True},
        MIGRATION,
    ),
    "GET /v1/migrations/{migration_id}/receipt": Rule(Where.PROJECT, names=MIGRATION),
    "GET /v1/migrations/{migration_id}/events": Rule(Where.PROJECT, names=MIGRATION),
    "GET /v1/migrations/{migration_id}/receipt.jws": Rule(Where.PROJECT, names=MIGRATION),
    "GET /v1/plans": Rule(Where.ANY),
    "POST /v1/plans": Rule(Where.PROJECT, OPERATE, MOVE),
    "GET /v1/plans/{plan_id}": Rule(Where.PROJECT, names=PLAN),
    "POST /v1/plans/{plan_id}/approve": Rule(Where.PROJECT, APPROVE, {"hash": "0" * 64}, PLAN),
    "POST /v1/plans/{plan_id}/decline": Rule(Where.PROJECT, APPROVE, {"reason": "why"}, PLAN),
    "POST /v1/plans/{plan_id}/execute": Rule(Where.PROJECT, OPERATE, names=PLAN),
    "GET /v1/rebalances": Rule(Where.ANY),
    "POST /v1/rebalances": Rule(Where.NAMED, OPERATE, {"project": "$project"}),
    "GET /v1/rebalances/{rebalance_id}": Rule(Where.PROJECT, names=RUN),
    "GET /v1/proposals": Rule(Where.ANY),
    "GET /v1/proposals/{proposal_id}": Rule(Where.PROJECT, names=PROPOSAL),
    "POST /v1/proposals/{proposal_id}/approve": Rule(
        Where.PROJECT, APPROVE, {"hash": "0" * 64}, PROPOSAL
    ),
    "POST /v1/proposals/{proposal_id}/decline": Rule(
        Where.PROJECT, APPROVE, {"reason": "why"}, PROPOSAL
    ),
    "POST /v1/proposals/{proposal_id}/execute": Rule(Where.PROJECT, OPERATE, names=PROPOSAL),
    "POST /v1/proposals/{proposal_id}/stop": Rule(Where.PROJECT, OPERATE, {}, PROPOSAL),
    "GET /v1/proposals/{proposal_id}/receipt": Rule(Where.PROJECT, names=PROPOSAL),
    "GET /v1/schedules": Rule(Where.ANY),
    "GET /v1/schedules/{name}": Rule(Where.PROJECT, names=SCHEDULE),
    "PUT /v1/schedules/{name}": Rule(
        Where.NAMED, ADMIN, {"cron": "0 3 * * *", "project": "$project"}, SCHEDULE
    ),
    "DELETE /v1/schedules/{name}": Rule(Where.PROJECT, ADMIN, names=SCHEDULE),
    "GET /v1/workloads/{name}/explanation": Rule(Where.PROJECT, names=WORKLOAD),
    "GET /v1/policies": Rule(Where.FLEET),
    "GET /v1/policies/{name}": Rule(Where.PROJECT, names=POLICY, roles=True),
    "PUT /v1/policies/{name}": Rule(Where.NAMED, ADMIN, {"document": "$document"}, POLICY),
    "DELETE /v1/policies/{name}": Rule(Where.PROJECT, ADMIN, names=POLICY),
    "GET /v1/schemas/policy": Rule(Where.FLEET),
    "POST /v1/rules": Rule(Where.PROJECT, READ, {"workload": "$workload"}),
    "POST /v1/verdicts": Rule(Where.PROJECT, READ, MOVE),
    "GET /v1/forecasts/accuracy": Rule(Where.ANY),
    "GET /v1/keys": Rule(Where.FLEET),
    "GET /v1/checkpoints": Rule(Where.ANY),
    "POST /v1/checkpoints": Rule(Where.PROJECT, OPERATE, {"workload": "$workload"}),
    "GET /v1/checkpoints/{key}": Rule(Where.PROJECT, names=CHECKPOINT),
    "DELETE /v1/checkpoints/{key}": Rule(Where.PROJECT, OPERATE, names=CHECKPOINT),
    "POST /v1/checkpoints/{key}/restore": Rule(Where.PROJECT, OPERATE, {"to": "cloud"}, CHECKPOINT),
    "GET /v1/sites": Rule(Where.FLEET),
    "POST /v1/sites": Rule(Where.FLEET, ADMIN, {"name": "new", "kind": "onprem"}),
    "GET /v1/sites/{name}": Rule(Where.FLEET, names=SITE),
    "DELETE /v1/sites/{name}": Rule(Where.FLEET, ADMIN, names=SITE),
    "POST /v1/sites/{name}/verify": Rule(Where.FLEET, ADMIN, names=SITE),
    "POST /v1/sites/{name}/sweep": Rule(Where.FLEET, ADMIN, {}, SITE),
    "GET /v1/stores": Rule(Where.FLEET),
    "POST /v1/stores": Rule(Where.FLEET, ADMIN, {"name": "new", "url": "file:///nowhere"}),
    "DELETE /v1/stores/{name}": Rule(Where.FLEET, ADMIN, names=STORE),
    "POST /v1/stores/{name}/verify": Rule(Where.FLEET, ADMIN, names=STORE),
    "GET /v1/prices": Rule(Where.FLEET),
    "GET /v1/me": Rule(Where.ANY),
    "GET /v1/users": Rule(Where.ANYWHERE, ADMIN),
    "GET /v1/users/{user}": Rule(Where.FLEET, ADMIN, names=USER),
    "POST /v1/users/{user}/disable": Rule(Where.FLEET, ADMIN, names=USER),
    "POST /v1/users/{user}/enable": Rule(Where.FLEET, ADMIN, names=USER),
    "PUT /v1/users/{user}/grants/{project}/{role}": Rule(Where.NAMED, ADMIN, names=GRANT),
    "DELETE /v1/users/{user}/grants/{project}/{role}": Rule(Where.NAMED, ADMIN, names=GRANT),
    "GET /v1/projects": Rule(Where.ANY),
    "GET /v1/tokens": Rule(Where.ANY),
    "POST /v1/tokens": Rule(
        Where.NAMED, READ, {"name": "new", "project": "$project", "scopes": ["read"]}
    ),
    "DELETE /v1/tokens/{token}": Rule(Where.HIDDEN, ADMIN, names={"token": "token"}),
    "GET /v1/webhooks": Rule(Where.ANY),
    "POST /v1/webhooks": Rule(
        Where.NAMED, ADMIN, {"url": "https://hooks.example.org/", "project": "$project"}
    ),
    "GET /v1/webhooks/{webhook_id}": Rule(Where.PROJECT, names=WEBHOOK),
    "DELETE /v1/webhooks/{webhook_id}": Rule(Where.PROJECT, ADMIN, names=WEBHOOK),
    "POST /v1/webhooks/{webhook_id}/disable": Rule(Where.PROJECT, ADMIN, names=WEBHOOK),
    "POST /v1/webhooks/{webhook_id}/enable": Rule(Where.PROJECT, ADMIN, names=WEBHOOK),
    "POST /v1/webhooks/{webhook_id}/rotate": Rule(Where.PROJECT, ADMIN, {}, WEBHOOK),
    "POST /v1/webhooks/{webhook_id}/test": Rule(Where.PROJECT, ADMIN, names=WEBHOOK),
    "POST /v1/webhooks/{webhook_id}/replay": Rule(Where.PROJECT, ADMIN, {}, WEBHOOK),
    "GET /v1/webhooks/{webhook_id}/deliveries": Rule(Where.PROJECT, names=WEBHOOK),
    "GET /v1/webhooks/{webhook_id}/deliveries/{event}": Rule(
        Where.PROJECT, names={**WEBHOOK, "event": "event"}
    ),
    "GET /v1/audit": Rule(Where.ANYWHERE, ADMIN),
    "GET /v1/audit/head": Rule(Where.FLEET, ADMIN),
    "GET /v1/audit/export": Rule(Where.FLEET, ADMIN),
}
