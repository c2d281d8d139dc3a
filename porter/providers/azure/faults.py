"""Azure's errors in Porter's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from porter.domain.errors import (
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
)

ROLE = "give the site's identity the role of docs/policies/azure.json"
_EXHAUSTED = re.compile(
    r"SkuNotAvailable|.*AllocationFailed|Overconstrained.*AllocationRequest|.*QuotaExceeded"
    r"|.*CountLimitReached|NotEnoughCapacity|.*Capacity.*",
    re.IGNORECASE,
)
_TRANSIENT = re.compile(
    r".*InProgress|RetryableError.*|NicReservedForAnotherVm|TooManyRequests|.*BeingDeleted.*"
    r"|.*Throttled|OperationPreempted|Conflict|.*Timeout|InternalServerError|ServerTimeout"
    r"|InternalExecutionError|InternalOperationError|ReferencedResourceNotProvisioned"
    r"|PreconditionFailed|OSProvisioningTimedOut|OperationNotAllowed",
    re.IGNORECASE,
)
_FORBIDDEN = re.compile(r".*AuthorizationFailed|ScopeLocked|ReadOnlyDisabledSubscription")
_UNREGISTERED = re.compile(r"MissingSubscriptionRegistration|SubscriptionNotRegistered")
_ACTION = re.compile(r"perform actions? '([^']+)'", re.IGNORECASE)
_QUOTA = re.compile(r"quota|exceed", re.IGNORECASE)


def of_code(doing: str, code: str, message: str, status: int = 0) -> PorterError:
    """The error for an ARM error code, its message and the HTTP status (0: an operation failed
    afterwards)."""
    why = f"cannot {doing}: Azure says {code or status}: {' '.join(message.split())[:400]}"
    if status in (401, 403) or _FORBIDDEN.fullmatch(code):
        return _denied(doing, code, message, why)
    if _EXHAUSTED.fullmatch(code):
        return Exhausted(why, "try another size, zone or region, or ask for more quota")
    if code == "OperationNotAllowed" and _QUOTA.search(message):
        return Exhausted(why, "ask for more quota, or try another size or region")
    if _UNREGISTERED.fullmatch(code):
        return Permanent(why, "az provider register -n Microsoft.Compute, and Microsoft.Network")
    if status in (408, 412, 429) or status >= 500 or _TRANSIENT.fullmatch(code):
        return Transient(why)
    if status == 404:
        return NotFound(why)
    if status in (400, 422):
        return Invalid(why)
    return Permanent(why)


def _denied(doing: str, code: str, message: str, why: str) -> PorterError:
    found = _ACTION.findall(message)
    if not found:
        return Denied(why, ROLE)
    action = found[-1]  # of a linked scope's error the first is the one that is granted
    return Denied(f"cannot {doing}: the right {action} is missing", f"{ROLE}: it holds {action}")


@contextmanager
def guard(doing: str) -> Iterator[None]:
    """Turn what the SDK raises within into Porter's errors; `doing` completes "cannot …"."""
    from azure.core import exceptions as azure

    try:
        yield
    except azure.HttpResponseError as error:
        raise translate(doing, error) from error
    except (azure.ServiceRequestError, azure.ServiceResponseError) as error:
        raise Transient(f"cannot {doing}: {type(error).__name__}: {error}") from error
    except azure.ClientAuthenticationError as error:  # no response: a credential chain's own error
        raise Denied(f"cannot {doing}: {first_line(error)}", "check the credentials") from error
    except azure.AzureError as error:
        raise Permanent(f"cannot {doing}: {type(error).__name__}: {error}") from error


def translate(doing: str, error: Exception) -> PorterError:
    """Of an HttpResponseError: by its code where it has one, else by the HTTP status."""
    from azure.core.exceptions import ClientAuthenticationError

    detail = getattr(error, "error", None)
    status = getattr(error, "status_code", None) or 0
    code = getattr(detail, "code", None) or ""
    message = getattr(detail, "message", None) or first_line(error)
    if isinstance(error, ClientAuthenticationError) and not code:
        return Denied(f"cannot {doing}: {first_line(error)}", "check the credentials")
    return of_code(doing, code, message, 0 if 200 <= status < 300 else status)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
