"""Examples of what the REST API takes, by the name of the schema."""

from __future__ import annotations

from typing import Any

EXAMPLES: dict[str, Any] = {
    "MigrationRequest": {"workload": "shop", "to": "cloud", "mode": "live"},
    "Move": {"to": "aws:eu-west-1", "mode": "auto"},
    "Resolution": {"run_on": "source", "reason": "its rack burnt", "fenced": True},
    "CheckpointIn": {"workload": "shop", "store": "shelf"},
    "RestoreIn": {"to": "cloud"},
    "EndpointsIn": {"endpoints": ["dns=shop.example.org@aws:eu-west-1"]},
    "SiteIn": {
        "name": "aws:eu-west-1",
        "kind": "aws",
        "region": "eu-west-1",
        "settings": {"subnet": "subnet-0abc"},
        "secrets": {},
    },
    "SweepIn": {"remove": False},
    "StoreIn": {
        "name": "shelf",
        "url": "s3://porter-layers/prod",
        "settings": {"region": "eu-west-1"},
        "secrets": {},
    },
    "TokenRequest": {"ttl": 3600, "name": "cloud-1"},
    "WebhookIn": {
        "url": "https://hooks.example.org/porter",
        "project": "default",
        "types": ["migration."],
    },
    "RotateIn": {"grace": 86400},
    "ReplayIn": {"event": 4711},
    "TokenIn": {"name": "ci", "project": "default", "scopes": ["read", "operate"]},
    "PlanRequest": {"workload": "shop", "to": "aws:eu-west-1", "lifetime": 86400},
    "Approval": {"hash": "0" * 64, "reason": "agreed with the team"},
    "Decline": {"reason": "not before the sale"},
    "RulesRequest": {"workload": "shop"},
    "RebalanceIn": {"project": "default", "workloads": ["shop-*"], "horizon": 2592000},
    "ProposalApproval": {"hash": "0" * 64, "reason": "cheaper, and the window fits"},
    "ProposalDecline": {"reason": "not before the sale"},
    "ScheduleIn": {"cron": "0 3 * * *", "zone": "Europe/Berlin", "auto": "propose"},
    "StopIn": {"reason": "the new machines look slow"},
    "VerdictRequest": {"workload": "shop", "to": "aws:eu-west-1"},
    "Problem": {
        "type": "/problems/conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "cannot move shop to cloud: it is there already",
        "remedy": "name another host",
        "code": "conflict",
        "request_id": "0f3a9c1b2d4e5f60",
    },
}
