"""Requests and answers about hosts and workloads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    Field,
)

from porter.db.base import HostRecord, InstanceRecord
from porter.db.listing import Placed
from porter.protocol import codec
from porter.web.api.schemas.base import Body, Name, moment


class EndpointsIn(Body):
    """Each as in the label `porter.endpoint`: `dns=NAME@SITE`, `lb=TARGETS:PORT@SITE` …"""

    endpoints: Annotated[list[Name], Field(max_length=32)]


class TokenRequest(Body):
    """`ttl` in seconds. With `name` or `site` the token is good for that host or site only."""

    ttl: Annotated[float, Field(ge=0, le=30 * 24 * 3600)] = 3600.0
    name: Name | None = None
    site: Name | None = None


class Token(BaseModel):
    token: str
    url: str
    """Where the new host's agent finds the control plane."""
    expires_at: datetime | None


class HostOut(BaseModel):
    id: str
    name: str
    site: str
    range: str
    alive: bool
    last_seen: datetime | None
    joined_at: datetime | None
    facts: dict[str, Any] | None
    workloads: list[str]
    machine: dict[str, Any] | None
    """Type, state and price of a machine that Porter made; null for others."""

    @classmethod
    def of(
        cls,
        host: HostRecord,
        workloads: Sequence[str],
        now: float,
        machine: InstanceRecord | None = None,
    ) -> HostOut:
        return cls(
            id=host.id,
            name=host.name,
            site=host.site,
            range=host.range,
            alive=host.alive(now),
            last_seen=moment(host.last_seen),
            joined_at=moment(host.joined_at),
            facts=None if host.facts is None else codec.dump(host.facts),
            workloads=list(workloads),
            machine=None
            if machine is None
            else {
                "type": machine.instance_type,
                "instance": machine.instance,
                "state": machine.state,
                "reason": machine.reason,
                "quote": machine.quote,
            },
        )


class WorkloadOut(BaseModel):
    id: str
    name: str
    project: str
    host: str | None
    site: str | None
    container: str
    container_name: str
    state: str
    address: str
    image: str
    memory_bytes: int
    generation: int
    endpoints: list[str]
    """Declared by the API, beside those of its label."""
    policies: list[str]
    """Named by its label, beside those whose patterns match."""
    migration: str | None
    """The migration that moves it right now."""

    @classmethod
    def of(cls, placed: Placed) -> WorkloadOut:
        workload = placed.workload
        return cls(
            id=workload.id,
            name=workload.name,
            project=workload.project,
            host=placed.host,
            site=placed.site,
            container=workload.container,
            container_name=workload.container_name,
            state=workload.state,
            address=workload.address,
            image=workload.image,
            memory_bytes=workload.memory_bytes,
            generation=workload.generation,
            endpoints=list(workload.endpoints),
            policies=list(workload.policies),
            migration=placed.migration,
        )
