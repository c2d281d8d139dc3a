"""Requests and answers about sites, stores, and what can be bought."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
)

from porter.domain.site import SiteKind
from porter.web.api.schemas.base import Body, Name


class StoreIn(Body):
    """A store to add: `s3://BUCKET/PREFIX`, `azure://…`, `gs://…`, `swift://…` or `file:///…`."""

    name: Name
    url: Annotated[str, Field(min_length=1, max_length=2000)]
    settings: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, SecretStr] = Field(default_factory=dict)


class StoreOut(BaseModel):
    name: str
    url: str
    settings: dict[str, str]
    credentials: str
    """`stored` or `environment`."""


class SiteIn(Body):
    """A site to add. `secrets` are stored encrypted and never shown; without any, credentials come
    from the control plane's surroundings (environment, instance role, workload identity)."""

    name: Name
    kind: Annotated[SiteKind, Field(strict=False)]
    region: Annotated[str, Field(max_length=64)] = ""
    settings: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, SecretStr] = Field(default_factory=dict)


class SiteOut(BaseModel):
    name: str
    kind: str
    region: str
    settings: dict[str, str]
    credentials: str
    """`stored` or `environment`."""
    can: list[str]
    """What Porter can do there: hosts, pricing, egress, addressing, balancing, dns."""
    hosts: list[str]
    workloads: list[str]
    verified_at: datetime | None
    missing: list[str]
    """Rights that the last verification missed."""


class RightOut(BaseModel):
    name: str
    granted: bool | None
    purpose: str
    remedy: str


class SweepIn(Body):
    remove: bool = False


class FindingOut(BaseModel):
    kind: str
    id: str
    key: str
    verdict: str
    explanation: str


class OfferOut(BaseModel):
    """A size of machine that would be made."""

    type: str
    cpus: int
    memory_bytes: int
    amount: str | None
    currency: str
    unit: str
    as_of: str
    source: str
