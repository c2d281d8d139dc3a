"""/v1/workloads, with the dry run of a move."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from porter.db.base import HostRecord, WorkloadRecord
from porter.db.database import rehearsing
from porter.db.listing import Listing
from porter.db.moves import NoHost
from porter.domain.endpoint import parse
from porter.domain.errors import Conflict, NotFound, Transient, Unsupported
from porter.domain.identity import Permission
from porter.domain.migration import Mode
from porter.domain.workload import Blocker, WorkloadSpec
from porter.migrate.candidates import Candidate
from porter.migrate.offers import offers
from porter.migrate.plan import choose
from porter.migrate.prospects import Asked, Prospect
from porter.migrate.step import Desk
from porter.migrate.steps.preflight import Verdict, assess
from porter.protocol.messages import Inspect, Kind
from porter.web.access import Caller, demand
from porter.web.api.common import PROBLEMS, SECURED, Control, control_of
from porter.web.api.foretold import ForecastOut
from porter.web.api.schemas.fleet import EndpointsIn, WorkloadOut
from porter.web.api.schemas.moves import BlockerOut, Move, PreflightOut
from porter.web.api.schemas.sites import OfferOut
from porter.wiring import ControlPlane

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["workloads"])
PATIENCE = 30.0
"""Seconds that a dry run waits for the hosts' answers."""
LOOK = 0.1


@router.get("/workloads/{name}")
def get_workload(control: Control, caller: Caller, name: str) -> WorkloadOut:
    """One workload, by name."""
    return WorkloadOut.of(Listing(control.database).workload(name, caller.projects()))


@router.put("/workloads/{name}/endpoints")
def put_endpoints(control: Control, caller: Caller, name: str, body: EndpointsIn) -> WorkloadOut:
    """Declare what the outside calls a workload by. With the next move these follow it, beside
    those of the container's label. Each is checked: its site must be known and able to."""
    known = control.found.workload(name, caller.projects())
    demand(caller, Permission.OPERATE, known.project)
    endpoints = [str(one) for text in body.endpoints for one in parse(text)]
    for endpoint in endpoints:
        control.sites.get(parse(endpoint)[0].site)
    control.found.declare(name, endpoints, time.time())
    return WorkloadOut.of(Listing(control.database).workload(name, caller.projects()))


@router.post("/workloads/{name}/preflight")
async def preflight(request: Request, caller: Caller, name: str, body: Move) -> PreflightOut:
    """What would stop this move? Asks both hosts, touches nothing."""
    control = control_of(request)
    # A preflight is a dry run by itself; its questions must reach the hosts.
    rehearsing.set(None)
    await run_in_threadpool(control.found.workload, name, caller.projects())
    mode = choose(body.mode)
    prefix = f"dry-{secrets.token_hex(6)}"
    look = await run_in_threadpool(_look, control, prefix, name, body, mode)
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            answer = await run_in_threadpool(look)
            if answer is not None:
                return answer
            if time.monotonic() > deadline:
                raise Transient(
                    f"cannot check the move of {name}: a host did not answer in {PATIENCE:.0f} s",
                    "see with `porter host ls` that both are up",
                )
            await asyncio.sleep(LOOK)
    finally:
        await run_in_threadpool(control.desk.forget, prefix)


def _look(
    control: ControlPlane, prefix: str, name: str, body: Move, mode: Mode
) -> Callable[[], PreflightOut | None]:
    """What to ask again and again until there is an answer."""
    now = time.time()
    try:
        workload, source, target = control.moves.resolve(name, body.to, now)
    except (NotFound, NoHost):
        if not control.planner.can_launch(body.to):
            raise
        workload, source = control.moves.source(name)
        return lambda: _offer(control, prefix, workload, source, body, mode)

    def look() -> PreflightOut | None:
        verdict = _assess(control, prefix, workload, source, target, mode)
        if verdict is None:
            return None
        answer = _answer(verdict, workload, source, target.name, mode)
        return _foretold(control, answer, verdict.spec, _prospect(control, name, body, now))

    return look


def _offer(
    control: ControlPlane,
    prefix: str,
    workload: WorkloadRecord,
    source: HostRecord,
    body: Move,
    mode: str,
) -> PreflightOut | None:
    """A dry run to a site that has no host: what the source says, and what could be made."""
    known = {command.id: command for command in control.desk.read(prefix)}
    desk = Desk(prefix, 1, "preflight", known)
    inspect = Inspect(workload.name)
    spec = desk.ask("inspect", source, Kind.INSPECT, inspect, WorkloadSpec)
    if desk.sends:
        control.desk.send(desk.sends, time.time())
    if spec is None or source.facts is None:
        return None
    blockers, found = spec.blockers, list[Candidate]()
    try:
        found = offers(control.sites.open(body.to), spec, source.facts, body.max_price)
    except Unsupported as error:
        blockers = (*blockers, Blocker("no-machine", error.message, error.remedy))
    answer = _answer(Verdict(spec, blockers), workload, source, body.to, mode)
    answer = answer.model_copy(update={"offers": [_offered(one) for one in found[:10]]})
    prospect = _prospect(control, workload.name, body, time.time())
    return _foretold(control, answer, spec, prospect)


def _prospect(control: ControlPlane, name: str, body: Move, now: float) -> Prospect | None:
    """The move as it would be begun; None if it could not."""
    try:
        return control.planner.look(Asked(name, body.to, str(body.mode)), now)
    except (NotFound, Conflict):
        return None


def _foretold(
    control: ControlPlane,
    answer: PreflightOut,
    spec: WorkloadSpec | None,
    prospect: Prospect | None,
) -> PreflightOut:
    """With what the move will come to, as far as its hosts could be asked."""
    if spec is None or prospect is None:
        return answer
    there = prospect.target is not None and not answer.missing_layers
    told = control.planner.predict(prospect, spec, 0 if there else spec.image.size)
    return answer.model_copy(update={"forecast": ForecastOut.of(told.public())})


def _offered(one: Candidate) -> OfferOut:
    quote = one.quote
    return OfferOut(
        type=one.kind.name,
        cpus=one.kind.cpus,
        memory_bytes=one.kind.memory_bytes,
        amount=None if quote.amount is None else str(quote.amount),
        currency=quote.currency,
        unit=quote.unit,
        as_of=quote.as_of,
        source=quote.source,
    )


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
    fallback = control.stores.first()
    verdict = assess(desk, workload, source, target, mode, now, fallback=fallback)
    if desk.sends:
        control.desk.send(desk.sends, now)
    return verdict


def _answer(
    verdict: Verdict, workload: WorkloadRecord, source: HostRecord, target: str, mode: str
) -> PreflightOut:
    return PreflightOut(
        workload=workload.name,
        source=source.name,
        target=target,
        mode=mode,
        ok=not verdict.blockers,
        blockers=[BlockerOut.of(blocker) for blocker in verdict.blockers],
        memory_bytes=None if verdict.spec is None else verdict.spec.memory_bytes,
        file_bytes=None if verdict.spec is None else verdict.spec.file_bytes,
        missing_layers=len(verdict.missing_layers),
    )
