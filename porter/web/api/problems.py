"""/problems: what each `type` of a problem means. Needs no token."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import BaseModel

from porter.domain.errors import BY_CODE, NotFound
from porter.web.errors import CODES, PROBLEM_PATH, status_of

router = APIRouter(tags=["problems"])
_MEANINGS = {
    "bad_request": "The request is no proper HTTP, or names a host that is not this one.",
    "method_not_allowed": "The resource is there, but does not know this method.",
    "precondition_failed": "If-Match or If-None-Match does not hold: read the resource again.",
    "too_many_requests": "The rate limit is used up: Retry-After says when to come again.",
    "internal": "Porter failed. The request id finds the reason in the control plane's log.",
    "denied": "The token is missing, wrong or expired (401), or lacks the permission (403).",
    "invalid": "The request cannot be read; `errors` names the fields.",
}
_STATUS = {"denied": [401, 403]}


class ProblemType(BaseModel):
    type: str
    code: str
    status: list[int]
    """HTTP statuses that it comes with."""
    meaning: str


def _types() -> dict[str, ProblemType]:
    known = {code: int(status_of(cls(""))) for code, cls in BY_CODE.items()}
    known |= {code: int(status) for status, code in CODES.items()}
    return {
        code: ProblemType(
            type=PROBLEM_PATH + code,
            code=code,
            status=_STATUS.get(code, [status]),
            meaning=_MEANINGS.get(code) or _said(code),
        )
        for code, status in sorted(known.items())
    }


def _said(code: str) -> str:
    return " ".join((BY_CODE[code].__doc__ or HTTPStatus(500).phrase).split())


@router.get("/problems")
def list_problems() -> list[ProblemType]:
    """Every type of problem that an answer can have."""
    return list(_types().values())


@router.get("/problems/{code}")
def get_problem(code: str) -> ProblemType:
    """What a problem's `type` leads to."""
    found = _types().get(code)
    if found is None:
        raise NotFound(f"cannot find the problem {code!r}", "GET /problems lists them")
    return found
