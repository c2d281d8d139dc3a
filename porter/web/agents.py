"""What agents call: join, heartbeat, commands, progress, results."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from porter.db.base import HostRecord
from porter.db.registry import Identity, TokenUnknown
from porter.domain.errors import Denied, Invalid, NotFound
from porter.migrate.custody import LIST, may
from porter.migrate.depots import Store, tunnel_of
from porter.pki import Authority, key_fingerprint
from porter.protocol import codec
from porter.protocol.checkpoints import Granted, Listed, TicketFor, WantTickets
from porter.protocol.joining import Heartbeat, Join, Joined, Orders
from porter.protocol.messages import Progress, Result
from porter.web import bootstrap
from porter.web.pulse import Pulse
from porter.web.tls import PEER, Peer
from porter.wiring import ControlPlane

router = APIRouter(prefix="/agent/v1")
router.include_router(bootstrap.router)
LONGEST_POLL = 60.0
LONGEST_TICKET = 3600
MOST_LISTED = 5000
LOOK_AGAIN = 1.0
"""Seconds after which a poll looks by itself, lest a change escaped the pulse."""
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
Json = Annotated[dict[str, Any], Body()]


def control_of(request: Request) -> ControlPlane:
    control: ControlPlane = request.app.state.control
    return control


def caller(request: Request) -> HostRecord:
    """The host that calls. Raises Denied without a certificate that is its newest."""
    peer: Peer | None = request.scope.get(PEER)
    if peer is None:
        raise Denied(
            "cannot serve an agent without a host certificate", "join the host with a token"
        )
    return control_of(request).registry.holder(peer.host, peer.serial)


Control = Annotated[ControlPlane, Depends(control_of)]
Caller = Annotated[HostRecord, Depends(caller)]


@router.get("/ca")
def ca(request: Request) -> Response:
    """The CA's certificate: the agent checks its hash against its token before it trusts it."""
    authority: Authority = request.app.state.authority
    return PlainTextResponse(authority.pem, media_type="application/x-pem-file")


@router.post("/join", status_code=HTTPStatus.CREATED)
def join(request: Request, control: Control, body: Json) -> Any:
    """Trade a one-time token for a host certificate."""
    authority: Authority = request.app.state.authority
    asked = codec.load(Join, body)
    for what, value, pattern in (
        ("name", asked.name, _HOST_NAME),
        ("site", asked.site, _SITE_NAME),
    ):
        if not pattern.fullmatch(value):
            raise Invalid(
                f"cannot join: {value!r} cannot be a host's {what}",
                "use letters, digits, dots and dashes",
            )
    secret, _, pin = asked.token.partition(".")
    if pin != authority.pin:
        raise TokenUnknown(
            "cannot join: the token was issued by another control plane",
            "make one here with `porter host token`",
        )
    key = key_fingerprint(asked.csr_pem)
    now = time.time()
    host_id = control.registry.spend_token(secret, key, asked.name, asked.site, now)
    issued = authority.host_certificate(asked.csr_pem, host_id)
    identity = Identity(issued.serial, issued.fingerprint, issued.pem)
    host = control.registry.enrol(host_id, asked.name, asked.site, identity, asked.facts, now)
    return codec.dump(Joined(host=host.id, certificate_pem=issued.pem, ca_pem=authority.pem))


@router.post("/heartbeat")
def heartbeat(control: Control, host: Caller, body: Json) -> Any:
    """A host's facts and containers; answered with the network as it should be there."""
    control.found.heartbeat(host, codec.load(Heartbeat, body), time.time())
    return codec.dump(control.registry.network(host.id))


@router.get("/commands")
async def commands(
    request: Request,
    wait: Annotated[float, Query(ge=0)] = 25.0,
    network: int = 0,
    resume: bool = False,
) -> Any:
    """What the host is to do. Returns at once when there is something, else after `wait`."""
    control = control_of(request)
    pulse: Pulse = request.app.state.pulse
    host = await run_in_threadpool(caller, request)
    await run_in_threadpool(control.registry.seen, host.id, time.time())
    clock = asyncio.get_running_loop().time
    deadline = clock() + min(wait, LONGEST_POLL)
    while True:
        mark = pulse.mark()
        orders = await run_in_threadpool(_orders, control, host.id, network, resume)
        left = deadline - clock()
        if orders.commands or orders.network is not None or left <= 0 or pulse.closed:
            return codec.dump(orders)
        await pulse.wait(mark, min(left, LOOK_AGAIN))
        if await request.is_disconnected():
            # Nobody would get what we took from the queue now.
            return codec.dump(Orders())


def _orders(control: ControlPlane, host: str, network: int, resume: bool) -> Orders:
    found = control.desk.fetch(host, time.time(), resume)
    version = control.desk.pulse()[2]
    told = control.registry.network(host) if version != network else None
    return Orders(commands=found, network=told)


@router.post("/tickets")
def tickets(control: Control, host: Caller, body: Json) -> Any:
    """Leave to read, write or remove blobs of a migration's tunnel, or of a checkpoint."""
    want = codec.load(WantTickets, body)
    store = _store(control, host, want.migration, want.method, *want.keys)
    seconds = max(1, min(want.seconds, LONGEST_TICKET))
    found = [store.ticket(want.method, key, seconds) for key in want.keys]
    return codec.dump(
        Granted(tuple(TicketFor(one.method, one.url, dict(one.headers)) for one in found))
    )


@router.get("/blobs")
def blobs(control: Control, host: Caller, migration: str, prefix: str) -> Any:
    """What lies there."""
    store = _store(control, host, migration, LIST, prefix)
    found = itertools.islice(store.list(prefix), MOST_LISTED)
    return codec.dump(Listed(tuple((blob.key, blob.size) for blob in found)))


def _store(control: ControlPlane, host: HostRecord, about: str, method: str, *keys: str) -> Store:
    """The store of a migration or checkpoint, if this host may do this to these keys."""
    try:
        kept = control.checkpoints.get(about)
    except NotFound:
        return _tunnel(control, host, about, *keys)
    if kept.id != about or not all(may(kept, host, method, key) for key in keys):
        raise Denied("cannot use the store: that is not this host's part of the checkpoint")
    return control.stores.open(kept.store)


def _tunnel(control: ControlPlane, host: HostRecord, migration: str, *keys: str) -> Store:
    """The store through which a migration's hosts talk, for one of the two, below its prefix."""
    story = control.moves.story(migration)
    via = next((step.output or {}).get("via") for step in story.steps if step.kind == "preflight")
    mine = host.id in (story.migration.source, story.migration.target)
    inside = all(key.startswith(f"{tunnel_of(migration)}/") for key in keys)
    if not mine or not inside or not via:
        raise Denied("cannot use the store: that is not this host's part of it")
    return control.stores.open(str(via))


@router.post("/commands/{command_id}/progress", status_code=HTTPStatus.NO_CONTENT)
def progress(control: Control, host: Caller, command_id: str, body: Json) -> None:
    """News of a running command, for people."""
    news = codec.load(Progress, body)
    control.desk.progress(host.id, command_id, news, time.time())
    control.checkpoints.note(command_id, news)


@router.post("/commands/{command_id}/result", status_code=HTTPStatus.NO_CONTENT)
def result(control: Control, host: Caller, command_id: str, body: Json) -> None:
    """The end of a command. Telling it again changes nothing."""
    ended = codec.load(Result, body)
    if (ended.output is None) == (ended.error is None):
        raise Invalid("cannot read Result: exactly one of output and error must be set")
    migration = control.desk.finish(host.id, command_id, ended, time.time())
    if migration is not None:
        control.queue.enqueue(migration)
    elif (kept := control.checkpoints.wake(command_id, time.time())) is not None:
        control.queue.checkpoint(kept)
