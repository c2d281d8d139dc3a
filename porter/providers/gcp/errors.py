"""Google's errors, told as Porter's. No message of ours holds a credential."""

from __future__ import annotations

import re
from collections.abc import Iterable

from porter.domain.errors import (
    Conflict,
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
)

ROLE = "grant it with the role in docs/policies/gcp.json"
_PERMISSION = re.compile(r"'([a-z]+\.[A-Za-z]+\.[A-Za-z]+)' permission")
_FULL = re.compile(r"QUOTA|RESOURCE_POOL_EXHAUSTED|STOCKOUT|LIMIT_EXCEEDED|quotaExceeded")
_BUSY = frozenset(
    (
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "RATE_LIMIT_EXCEEDED",
        "backendError",
        "internalError",
        "resourceNotReady",
        "conditionNotMet",
        "preconditionFailed",
    )
)
_DISABLED = frozenset(("accessNotConfigured", "SERVICE_DISABLED"))
_AGAIN = frozenset(("INTERNAL_ERROR", "RESOURCE_NOT_READY", "OPERATION_CANCELED_BY_USER"))


class Taken(Conflict):
    """HTTP 409: what was to be made is there already."""


class Again(Transient):
    """An operation failed by no fault of ours: only a new one can succeed."""


def from_http(what: str, status: int, reasons: Iterable[str], message: str) -> PorterError:
    """An answer with an error. `what` completes "cannot …"; `reasons` as the answer names them."""
    known = set(reasons)
    text = f"cannot {what}: {message or f'HTTP {status}'}"
    if known & _DISABLED:
        return Denied(text, "enable this API in the project")
    if known & _BUSY:
        return Transient(text)
    # Google calls a zone without capacity a 503 as well.
    if any(_FULL.search(one) for one in known):
        return Exhausted(text, "ask for more quota, or try another zone or type")
    if status in (408, 429) or status >= 500:
        return Transient(text)
    if status == 401:
        return Denied(text, "check the credentials of the site")
    if status == 403:
        found = _PERMISSION.search(message)
        return Denied(f"cannot {what}: {found[1]} is missing" if found else text, ROLE)
    if status == 404:
        return NotFound(text)
    if status == 409:
        return Taken(text)
    return Invalid(text) if status == 400 else Permanent(text)


def from_operation(what: str, status: int, code: str, message: str) -> PorterError:
    """An operation that ended with an error: `code` is the first one's."""
    if code in _AGAIN or (status >= 500 and not _FULL.search(code)):
        return Again(f"cannot {what}: {code}: {message}")
    if code in ("PERMISSIONS_ERROR", "FORBIDDEN"):
        status = 403
    elif code == "RESOURCE_NOT_FOUND":
        status = 404
    elif code == "RESOURCE_ALREADY_EXISTS":
        status = 409
    elif code.startswith("INVALID"):
        status = 400
    return from_http(what, status if status >= 400 else 418, [code], f"{code}: {message}")


def from_exception(what: str, error: Exception) -> PorterError:
    """What google-cloud, google-auth or requests raised."""
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, api.RetryError) and isinstance(error.cause, Exception):
        return from_exception(what, error.cause)
    if isinstance(error, api.GoogleAPICallError):
        reasons = [str(one.get("reason", "")) for one in error.errors or ()]
        reasons.append(str(error.reason or ""))
        return from_http(what, int(error.code or 500), reasons, str(error.message or ""))
    if isinstance(error, auth.TransportError) or getattr(error, "retryable", False):
        return Transient(f"cannot {what}: Google's token service does not answer")
    if isinstance(error, auth.GoogleAuthError):
        return Denied(
            f"cannot {what}: there are no valid Google credentials ({type(error).__name__})",
            "set service_account_json, or Application Default Credentials",
        )
    if isinstance(error, requests.exceptions.RequestException):
        return Transient(f"cannot {what}: {type(error).__name__}")
    return Permanent(f"cannot {what}: {type(error).__name__}")
