"""Events as CloudEvents 1.0 (structured JSON): one form for all that leaves the control plane."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

PREFIX = "io.porter."
SPEC = "1.0"


def cloudevent(
    number: int,
    at: float,
    kind: str,
    message: str,
    data: dict[str, Any],
    *,
    migration: str | None = None,
    workload: str = "",
    project: str = "",
    request: str = "",
) -> dict[str, Any]:
    """`at` in seconds since 1970. Extensions that would be empty are left out."""
    if migration:
        source = f"/v1/migrations/{migration}"
    else:
        source = f"/v1/workloads/{workload}" if workload else "/v1"
    known = {
        "subject": workload,
        "project": project,
        "migration": migration,
        "workload": workload,
        "requestid": request,
    }
    return {
        "specversion": SPEC,
        "id": str(number),
        "source": source,
        "type": PREFIX + kind,
        "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        **{name: value for name, value in known.items() if value},
        "data": {
            "kind": kind,
            "message": message,
            "migration": migration,
            "workload": workload,
            "data": data,
        },
    }
