"""/v1/rules: what policies demand of moves that a schedule begins, workload by workload."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from porter.db.base import WorkloadRecord
from porter.domain.policy import Policy
from porter.domain.scheduling import scheduling
from porter.protocol import policies as documents
from porter.web.access import Caller
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.schemas.base import Body, Name

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["policies"])


class RulesRequest(Body):
    workload: Name | None = None
    """Only of this one; without it of all that the caller may see."""
    document: Annotated[str | None, Field(max_length=documents.LIMIT)] = None
    """As if this policy were kept, too."""


class RuleOut(BaseModel):
    rule: str
    """`placement.spot`, `limits.max_cost` …"""
    value: str
    """As a document has it."""
    policy: str
    """Whose word it is, the strictest of all; "" where none says anything."""


class RulesOut(BaseModel):
    workload: str
    project: str
    policies: list[str]
    """Those that hold."""
    missing: list[str]
    """Named by its label, but there is none in its project or for all: nothing is scheduled."""
    rules: list[RuleOut]

    @classmethod
    def of(cls, workload: WorkloadRecord, policies: list[Policy]) -> RulesOut:
        held = scheduling(policies, workload.name, workload.project, workload.policies)
        return cls(
            workload=workload.name,
            project=workload.project,
            policies=list(held.policies),
            missing=list(held.missing),
            rules=[RuleOut(**asdict(line)) for line in held.lines()],
        )


class AllRules(BaseModel):
    workloads: list[RulesOut]


@router.post("/rules")
def rules(control: Control, caller: Caller, body: RulesRequest) -> AllRules:
    """What would hold for moves that a schedule begins. Changes nothing."""
    projects = caller.projects()
    if body.workload is not None:
        found = [control.found.workload(body.workload, projects)]
    else:
        every = control.found.workloads()
        found = [one for one in every if projects is None or one.project in projects]
    kept = [record.policy for record in control.policies.all(projects)]
    if body.document is not None:
        extra = documents.parse(body.document)
        kept = [one for one in kept if one.name != extra.name] + [extra]
    return AllRules(workloads=[RulesOut.of(one, kept) for one in found])
