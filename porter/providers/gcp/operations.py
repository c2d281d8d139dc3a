"""Google's long-running operations: begun once, named in a token, gone on with anywhere."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from porter.domain.errors import Invalid, NotFound
from porter.providers.base import Pending
from porter.providers.gcp.errors import Again, from_operation
from porter.providers.gcp.session import Session

SPACE = uuid.UUID("5d1ad5ba-6e5c-5f26-8f0c-2b7f4c5e91aa")
"""Porter's own name space of request ids."""
LIVES = 16
"""Request ids that are tried for one key."""


def request_id(*seed: str) -> str:
    """The same for the same seed, in any process."""
    return str(uuid.uuid5(SPACE, "\0".join(seed)))


def fresh_id() -> str:
    """For calls that look before they make: it only lets the SDK repeat itself."""
    return str(uuid.uuid4())


def finished(operation: Any) -> bool:
    from google.cloud.compute_v1 import Operation

    return bool(operation.status == Operation.Status.DONE)


def begin(
    seed: tuple[str, ...], make: Callable[[str], Any], stale: Callable[[], bool] = lambda: False
) -> Any:
    """Begin an operation under a request id that derives from the seed.

    Google answers a request id that it knows with the operation of that time. If that one failed
    long ago, or what it made is gone again (`stale`), it belongs to an earlier life of the same
    key: the next id is taken. The resource's name prevents doubles whatever the id.
    """
    for life in range(LIVES):
        operation = make(request_id(*seed, str(life)))
        if not finished(operation) or not (failed(operation) or stale()):
            break
    return operation


def token(operation: Any, **more: str) -> Pending:
    """What the next call needs to find the operation again."""
    zone = operation.zone.rpartition("/")[2]
    return Pending(json.dumps({"op": operation.name, "zone": zone, **more}, sort_keys=True))


def parse(text: str) -> dict[str, str]:
    """A token's content; empty for none. Raises Invalid for one that is not ours."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise Invalid(f"cannot go on: {text[:80]!r} is no token of this provider")
    return found


def poll(session: Session, what: str, text: str) -> Pending | None:
    """None once the token's operation has ended well, or there is none. Raises what it failed of.

    An operation that failed by no fault of ours gives an empty token: begin anew. So does one that
    Google has forgotten: what it did is then looked up.
    """
    from google.cloud import compute_v1 as c

    state = parse(text)
    if not state.get("op"):
        return None
    request = c.GetZoneOperationRequest(
        project=session.settings.project, zone=state["zone"], operation=state["op"]
    )
    try:
        operation = session.call(what, "ZoneOperationsClient", "get", request)
    except NotFound:
        return None
    if not finished(operation):
        return Pending(text)
    try:
        check(what, operation)
    except Again:
        return Pending("", 5.0)
    return None


def check(what: str, operation: Any) -> None:
    """Raise the error of an operation that has ended with one. The client does not look itself."""
    if failed(operation):
        first = next(iter(operation.error.errors), None)
        code, message = (first.code, first.message) if first else ("UNKNOWN", "")
        raise from_operation(what, operation.http_error_status_code, code, message)


def failed(operation: Any) -> bool:
    """Of one that has finished: whether it came to nothing."""
    return bool(operation.error.errors) or operation.http_error_status_code >= 400
