"""/v1/workloads, with the dry run of a move."""

from __future__ import annotations

import asyncio
import secrets
import time

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from porter.db.base import HostRecord, WorkloadRecord
from porter.domain.errors import Transient
from porter.migrate.plan import choose
from porter.migrate.step import Desk
from porter.migrate.steps.preflight import Verdict, assess
from porter.web.api.common import PROBLEMS, SECURED, Control, control_of
from porter.web.api.schemas import BlockerOut, Move, PreflightOut, WorkloadOut
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["workloads"])
PATIENCE = 30.0
"""Seconds that a dry run waits for the hosts' answers."""
LOOK = 0.1


@router.get("/workloads")
def list_workloads(control: Control) -> list[WorkloadOut]:
    """All workloads that some host has, by name."""
    hosts = {host.id: host for host in control.registry.hosts()}
    active = control.moves.active()
    return [WorkloadOut.of(found, hosts, active) for found in control.found.workloads()]


@router.get("/workloads/{name}")
def get_workload(control: Control, name: str) -> WorkloadOut:
    hosts = {host.id: host for host in control.registry.hosts()}
    return WorkloadOut.of(control.found.workload(name), hosts, control.moves.active())


@router.post("/workloads/{name}/preflight")
async def preflight(request: Request, name: str, body: Move) -> PreflightOut:
    """What would stop this move? Asks both hosts, touches nothing."""
    control = control_of(request)
    workload, source, target = await run_in_threadpool(
        control.moves.resolve, name, body.to, time.time()
    )
    mode = choose(body.mode)
    prefix = f"dry-{secrets.token_hex(6)}"
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            verdict = await run_in_threadpool(
                _assess, control, prefix, workload, source, target, mode
            )
            if verdict is not None:
                return _answer(verdict, workload, source, target, mode)
            if time.monotonic() > deadline:
                raise Transient(
                    f"cannot check the move of {name}: a host did not answer in {PATIENCE:.0f} s",
                    "see with `porter host ls` that both are up",
                )
            await asyncio.sleep(LOOK)
    finally:
        await run_in_threadpool(control.desk.forget, prefix)


def _assess(
    control: ControlPlane,
    prefix: str,
    workload: WorkloadRecord,
    source: HostRecord,
    target: HostRecord,
    mode: str,
) -> Verdict | None:
    known = {command.id: command for command in control.desk.read(prefix)}
    desk = Desk(prefix, 1, "preflight", known)
    now = time.time()
    verdict = assess(desk, workload, source, target, mode, now)
    if desk.sends:
        control.desk.send(desk.sends, now)
    return verdict


def _answer(
    verdict: Verdict, workload: WorkloadRecord, source: HostRecord, target: HostRecord, mode: str
) -> PreflightOut:
    return PreflightOut(
        workload=workload.name,
        source=source.name,
        target=target.name,
        mode=mode,
        ok=not verdict.blockers,
        blockers=[BlockerOut.of(blocker) for blocker in verdict.blockers],
        memory_bytes=None if verdict.spec is None else verdict.spec.memory_bytes,
        file_bytes=None if verdict.spec is None else verdict.spec.file_bytes,
        missing_layers=len(verdict.missing_layers),
    )
