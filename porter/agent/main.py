"""The daemon: `run` joins, recovers, and serves until it is told to stop."""

from __future__ import annotations

import ipaddress
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from porter.agent import join as joining
from porter.agent.control import Backoff
from porter.agent.daemon import Daemon
from porter.agent.facts import Facts
from porter.agent.join import Identity
from porter.agent.settings import AgentSettings
from porter.domain.errors import Invalid, Transient
from porter.wiring_agent import AgentParts

log = logging.getLogger(__name__)
_JOIN_PATIENCE_S = 30.0


def run(settings: AgentSettings, build: Callable[[str], AgentParts]) -> None:
    """Be this host's agent until SIGTERM or SIGINT. Raises PorterError if it cannot join.

    `build` makes the host's rooms from its own address.
    """
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        _serve(settings, build, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve(
    settings: AgentSettings, build: Callable[[str], AgentParts], stop: threading.Event
) -> None:
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(settings.state, 0o700)
    known = joining.load(settings.state)
    if known is not None and settings.url in ("", known.url):
        settings = replace(settings, url=known.url)
    elif not settings.url or not settings.token:
        raise Invalid(
            "cannot start: this host has not joined a control plane",
            "give --join URL and --token TOKEN once; `porter host token` makes a token",
        )
    underlay = settings.underlay or _address_towards(settings.url)
    parts = build(underlay)
    identity = identify(settings, parts, underlay, stop)
    if identity is None:
        return
    parts.install()
    daemon = Daemon(settings, parts, identity, underlay)
    try:
        daemon.start()
        log.info("host %s serves on port %s", identity.host, daemon.peer_port)
        stop.wait()
    finally:
        daemon.stop()


def identify(
    settings: AgentSettings, parts: AgentParts, underlay: str, stop: threading.Event
) -> Identity | None:
    """The identity of an earlier join, else join now; waits a while for a control plane.

    None if `stop` was set meanwhile.
    """
    known = joining.load(settings.state)
    if known is not None and known.url == settings.url:
        return known
    facts = Facts(parts, underlay, lambda: settings.peer_port).gather()
    name = settings.name or socket.gethostname()
    deadline, backoff = time.monotonic() + _JOIN_PATIENCE_S, Backoff()
    while not stop.is_set():
        try:
            return joining.join(
                *(settings.url, settings.token or "", name, settings.site, facts, settings.state)
            )
        except Transient as error:
            if time.monotonic() > deadline:
                raise
            log.info("%s", error)
            stop.wait(backoff.next())
    return None


def _address_towards(url: str) -> str:
    """Our own address on the way to the control plane. No packet is sent."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise Invalid(f"cannot use the URL {url!r}", "give it as https://HOST:PORT")
    port = parts.port or 443
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            parts.hostname, port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(where)
            return str(ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]))
    except OSError as error:
        raise Transient(
            f"cannot find this host's address towards {url}: {error}", "give --underlay ADDRESS"
        ) from error
