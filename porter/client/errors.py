"""What goes wrong, as classes. Each is also the error of `porter.domain.errors` that it stands for.

`str(error)` is one sentence for a person that ends with what to do. An `ApiError` is a refusal by
the control plane (problem+json): `status`, `type` (stable), `detail`, `remedy`, `request_id` (also
in the control plane's log), and in `members` what else it names, such as the `plan` that waits for
approval.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import httpx

from porter.domain import errors
from porter.domain.errors import PorterError

MEMBERS = ("plan", "proposal", "hash", "policy", "rule", "opens_at", "errors")
"""What else a refusal may name; see docs/policies-and-plans.md."""


class Unreachable(errors.Transient):
    """No control plane answers at the address: the request may or may not have arrived."""

    code = "unreachable"


class NotUnderstood(errors.Transient):
    """Something answers at the address, but not as the control plane does."""

    code = "not_understood"


class ApiError(PorterError):
    """The control plane refused a request, or could not carry it out."""

    status = 0
    type = ""
    request_id = ""

    @property
    def detail(self) -> str:
        """What cannot be done and why; without the remedy."""
        return self.message


class Invalid(ApiError, errors.Invalid):
    """The request cannot be read, or asks for what that workload or site cannot do."""


class Denied(ApiError, errors.Denied):
    """The token is missing or wrong, or lacks the permission."""


class NotFound(ApiError, errors.NotFound):
    """It does not exist, or not for this token."""


class Conflict(ApiError, errors.Conflict):
    """The present state forbids it, or somebody said no for good."""


class PreconditionFailed(Conflict):
    """`If-Match` does not hold: somebody changed it meanwhile."""

    code = "precondition_failed"


class PolicyRefused(Conflict, errors.PolicyRefused):
    """A policy refuses the move: `members` has `policy`, `rule`, and `opens_at` where a change
    window opens later."""


class ApprovalRequired(Conflict, errors.ApprovalRequired):
    """Another person has to approve the plan `members["plan"]` first."""


class PlanLapsed(Conflict, errors.Lapsed):
    """The plan has expired, or rests on what is no longer so."""


class Unavailable(ApiError, errors.Transient):
    """The control plane, its database, a host or a provider does not answer now."""


class RateLimited(ApiError, errors.Transient):
    """Too many requests."""


class StillUnderWay(PorterError):
    """The time to wait is over; the move goes on. `migration` is its id."""

    code = "still_under_way"

    def __init__(self, migration: str, state: str, seconds: float) -> None:
        super().__init__(
            f"cannot say yet how migration {migration} ends: after {seconds:g} s it is {state}",
            "it goes on; wait again, or cancel it",
        )
        self.migration = migration


_BY_CODE: dict[str, type[ApiError]] = {
    cls.code: cls for cls in (PolicyRefused, ApprovalRequired, PlanLapsed)
}
_BY_STATUS: dict[int, type[ApiError]] = {
    HTTPStatus.UNAUTHORIZED: Denied,
    HTTPStatus.FORBIDDEN: Denied,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.PRECONDITION_FAILED: PreconditionFailed,
    HTTPStatus.TOO_MANY_REQUESTS: RateLimited,
}


def refusal(answer: httpx.Response, where: str, token_remedy: str, down_remedy: str) -> ApiError:
    """The error that an answer of 400 or above stands for. Its body must have been read."""
    problem = _problem(answer)
    status = answer.status_code
    message = str(problem.get("detail") or problem.get("title") or "")
    remedy = str(problem.get("remedy") or "")
    if status == HTTPStatus.UNAUTHORIZED and not remedy:
        message = message or "cannot use the API: the token is missing or wrong"
        remedy = token_remedy
    if not message:
        message = f"cannot do it: {where} answered {status} {answer.reason_phrase}"
    down = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    code = str(problem.get("code") or "")
    kind = Unavailable if down else _BY_CODE.get(code) or _BY_STATUS.get(status, Invalid)
    error = kind(message, remedy or (down_remedy if down else ""))
    error.status = status
    error.code = code or error.code
    error.type = str(problem.get("type") or "about:blank")
    error.request_id = str(problem.get("request_id") or answer.headers.get("X-Request-Id", ""))
    error.members = {key: problem[key] for key in MEMBERS if problem.get(key)}
    return error


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}  # a proxy's page, say: the status has to do
    return found if isinstance(found, dict) else {}
