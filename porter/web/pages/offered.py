"""What this control plane's API can do, so that no page offers what is not there."""

from __future__ import annotations

import re

from fastapi import Request

_PARAMETER = re.compile(r"\{[^}]*\}")


def offered(request: Request, path: str) -> bool:
    """Whether the API has such a path, its parameters written as `{}`."""
    known: set[str] | None = getattr(request.app.state, "offered", None)
    if known is None:
        known = {_PARAMETER.sub("{}", one) for one in request.app.openapi()["paths"]}
        request.app.state.offered = known
    return path in known
