"""What all requests and answers share: names, money, times, and how a problem is told."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

Name = Annotated[str, Field(min_length=1, max_length=255)]

_AMOUNT = re.compile(r"(?=.*[1-9])[0-9]{1,9}([.][0-9]{1,9})?")

_RFC3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})")


def _amount(value: object) -> object:
    if isinstance(value, str) and _AMOUNT.fullmatch(value) is None:
        raise ValueError("it is no amount of money above 0, like 0.25")
    return value


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rfc3339(value: object) -> object:
    if isinstance(value, str) and _RFC3339.fullmatch(value) is None:
        raise ValueError("it is no time like 2026-01-31T12:00:00Z")
    return value


Price = Annotated[
    Decimal,
    Field(gt=0, lt=10**9, strict=False),
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**9},
                {"type": "string", "pattern": f"^{_AMOUNT.pattern}$"},
            ]
        }
    ),
]

WHOLE = BeforeValidator(_whole)
"""Of an integer in a request: to JSON 3.0 is one, too."""

Moment = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
"""A time of a request (RFC 3339); others than that are not guessed at."""


def moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


class Body(BaseModel):
    """A request: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Health(BaseModel):
    status: str
    hosts: int
    hosts_alive: int
    migrations_active: int


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    code: str
    request_id: str
    """Also in the answer's X-Request-Id and in the control plane's log."""
    errors: list[FieldError] | None = None
    """With `invalid`: which fields are wrong."""
