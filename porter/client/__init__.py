"""A typed client for Porter's REST API.

    from porter.client import Porter

    with Porter("https://porter.example.org", token_file="/run/secrets/porter") as porter:
        move = porter.migrate("shop", to="cloud").wait(timeout=600)
        print(move.state, move.receipt().downtime_ms)

It needs httpx, and nothing of a control plane. See docs/ci.md.
"""

from porter.client.errors import (
    ApiError,
    ApprovalRequired,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    NotUnderstood,
    PlanLapsed,
    PolicyRefused,
    PreconditionFailed,
    RateLimited,
    StillUnderWay,
    Unavailable,
    Unreachable,
)
from porter.client.models import (
    Blocker,
    Bytes,
    Checkpoint,
    Connections,
    Event,
    Finding,
    Host,
    Phase,
    Plan,
    Preflight,
    Receipt,
    Step,
    Task,
    Verdict,
    Workload,
)
from porter.client.porter import Migration, Porter
from porter.domain.errors import PorterError

__all__ = [
    "ApiError",
    "ApprovalRequired",
    "Blocker",
    "Bytes",
    "Checkpoint",
    "Conflict",
    "Connections",
    "Denied",
    "Event",
    "Finding",
    "Host",
    "Invalid",
    "Migration",
    "NotFound",
    "NotUnderstood",
    "Phase",
    "Plan",
    "PlanLapsed",
    "PolicyRefused",
    "Porter",
    "PorterError",
    "PreconditionFailed",
    "Preflight",
    "RateLimited",
    "Receipt",
    "Step",
    "StillUnderWay",
    "Task",
    "Unavailable",
    "Unreachable",
    "Verdict",
    "Workload",
]
