"""One process, two listeners: the REST API, and the agents' over TLS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
import sys
from collections.abc import Iterator
from typing import Any

import uvicorn

from porter.domain.errors import Permanent
from porter.settings import Settings, split_address
from porter.web.app import agents_app, public_app
from porter.web.pulse import Pulse
from porter.web.tls import PeerProtocol, server_context
from porter.wiring import api_token, authority, control_plane

log = logging.getLogger(__name__)

TURN_S = 0.0005
"""How long a thread may compute while another wants to. The event loop gives its turn up with every
write: at Python's 5 ms, writing to hundreds of streams would wait for that long at each of them."""
GRACE = 3
"""Seconds that open requests have to end when the process is told to."""


class Listener(uvicorn.Server):
    """A server that leaves signals to `serve`, which has two of them to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listener(app: Any, address: str, tls: ssl.SSLContext | None) -> Listener:
    host, port = split_address(address)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="h11" if tls is None else PeerProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # Else a request that comes while another of its connection is worked on inherits what
        # that one has set for itself: its dry run, its row of the audit trail.
        reset_contextvars=True,
        # Above the agents' polls, so that their connections are kept between two of them.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    return Listener(config)


async def serve(settings: Settings) -> None:
    """Serve both listeners until SIGTERM or SIGINT. Raises Permanent if one cannot be had."""
    sys.setswitchinterval(TURN_S)
    control = control_plane(settings)
    control.database.upgrade()
    issuer = authority(settings)
    pulse = Pulse(control.desk.pulse)
    public = _listener(
        public_app(control, issuer, pulse, api_token(settings.api_token_file)),
        settings.listen,
        None,
    )
    agents = _listener(
        agents_app(control, issuer, pulse), settings.agents, server_context(issuer, settings)
    )

    def stop() -> None:
        pulse.close()
        public.should_exit = agents.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    running = [
        loop.create_task(_run(listener, address, stop))
        for listener, address in ((public, settings.listen), (agents, settings.agents))
    ]
    try:
        await asyncio.gather(*running)
    finally:
        stop()
        await asyncio.gather(*running, return_exceptions=True)
        control.close()


async def _run(listener: Listener, address: str, stop: Any) -> None:
    try:
        await listener.serve()
    except SystemExit as error:
        # Uvicorn's way of saying that it could not bind; its log has the reason.
        raise Permanent(
            f"cannot listen on {address}", "see the log; is another program using it?"
        ) from error
    finally:
        stop()
