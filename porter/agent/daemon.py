"""All of an agent's threads, put together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from porter.agent.context import Context
from porter.agent.control import Backoff, ControlPlane
from porter.agent.executor import Executor
from porter.agent.facts import Facts
from porter.agent.join import Identity
from porter.agent.journal import Journal
from porter.agent.network_view import corrected
from porter.agent.notices import Listener
from porter.agent.operations import Operations
from porter.agent.peer_server import PeerServer
from porter.agent.recovery import Recovery, Tender
from porter.agent.residents import Residents
from porter.agent.settings import AgentSettings
from porter.agent.source import SourceSide
from porter.agent.target import TargetSide
from porter.agent.tunnels import Tunnels
from porter.domain.errors import NotFound, PorterError
from porter.protocol import codec
from porter.protocol.joining import FoundWorkload, Heartbeat, Network, OpenHandover, Orders
from porter.protocol.messages import Progress, Result
from porter.store.base import Blobs
from porter.wiring_agent import AgentParts

log = logging.getLogger(__name__)
_TEND_EVERY_S = 2.0
_THREAD_ENDS_S = 0.5
"""A poll may wait for the control plane much longer; what it brings is delivered again."""
_NETWORK = "network"


class Control(Protocol):
    """What the daemon needs of a control plane."""

    def heartbeat(self, beat: Heartbeat) -> Network: ...
    def poll(self, wait: float, network: int, resume: bool) -> Orders: ...
    def progress(self, command: str, news: Progress) -> None: ...
    def result(self, command: str, result: Result) -> None: ...
    def store(self, migration: str) -> Blobs: ...
    def close(self) -> None: ...


class Daemon:
    """One agent: start, then stop. Everything it must remember lies in its state directory."""

    def __init__(
        self,
        settings: AgentSettings,
        parts: AgentParts,
        identity: Identity,
        underlay: str,
        control: Control | None = None,
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._control = control or ControlPlane(identity.url, identity.credentials)
        self._journal = Journal(settings.journal)
        self._stop = threading.Event()
        self._beat_now = threading.Event()
        self._tunnels = Tunnels(self._control.store, self._journal, lambda: self.peer_port)
        self._context = Context(
            *(settings, parts, self._journal, identity.credentials),
            changed=self._beat_now.set,
            tunnels=self._tunnels,
            open_store=self._control.store,
        )
        self._underlay = underlay
        self._facts = Facts(parts, underlay, lambda: self.peer_port)
        source, target = SourceSide(self._context), TargetSide(self._context)
        self._target = target
        self._residents = Residents(self._context)
        self._recovery = Recovery(self._context, source, target)
        operations = Operations(self._context, source, target, self._facts)
        self._news: dict[str, Progress] = {}
        self._executor = Executor(self._journal, operations, self._note_news)
        self._server: PeerServer | None = None
        self._network_lock = threading.Lock()
        self._network: Network | None = None
        self._found: tuple[FoundWorkload, ...] = ()
        self._threads: list[threading.Thread] = []
        ask = parts.notices
        self._listener = None if ask is None else Listener(ask, self._beat_now.set, self._stop)

    @property
    def peer_port(self) -> int:
        return self._server.port if self._server is not None else self._settings.peer_port

    def start(self) -> None:
        """Recover first; then listen to peers and the control plane."""
        known = self._journal.recall(_NETWORK)
        self._recovery.at_start()
        if known is not None:
            self._apply(codec.load(Network, known))
        bind = "::" if ":" in self._underlay else "0.0.0.0"
        self._server = PeerServer(self._context, self._target, bind, self._settings.peer_port)
        for name, body in (
            ("recover", self._finish_interrupted),
            ("heartbeat", self._beat),
            ("poll", self._poll),
            ("deliver", self._deliver),
        ):
            self._threads.append(threading.Thread(target=body, name=name, daemon=True))
        self._threads.append(Tender(self._recovery, _TEND_EVERY_S, self._stop))
        if self._listener is not None:
            self._threads.append(self._listener)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let a running handover end, break it off if that takes too long, then end everything."""
        self._executor.stop()
        live = self._context.live
        if not live.wait_all(self._settings.drain):
            live.cancel_all("the agent is being stopped")
            live.wait_all(self._settings.drain)
        self._stop.set()
        self._beat_now.set()
        self._executor.done.set()
        self._tunnels.close_all()
        if self._server is not None:
            self._server.close()
        self._control.close()
        for thread in self._threads:
            thread.join(_THREAD_ENDS_S)
        if self._executor.wait(_THREAD_ENDS_S):
            self._journal.close()

    # -- threads ----------------------------------------------------------------------------

    def _finish_interrupted(self) -> None:
        self._recovery.finish_interrupted()
        self._executor.done.set()

    def _beat(self) -> None:
        backoff = Backoff()
        while not self._stop.is_set():
            self._beat_now.clear()
            if self._attempt("heartbeat", self._beat_once):
                backoff.reset()
                self._beat_now.wait(self._settings.heartbeat_every)
            else:
                self._stop.wait(backoff.next())

    def _beat_once(self) -> None:
        busy = self._context.live.any()
        if not busy:
            # The engine's list costs processor time that a frozen workload is waiting for.
            self._found = tuple(self._parts.runtime.discover())
        handovers = tuple(
            OpenHandover(one.migration, one.workload, one.role, one.state, one.note)
            for one in self._context.ledger.open()
        )
        notices = () if self._listener is None else self._listener.heard
        beat = Heartbeat(self._facts.gather(), self._found, handovers, notices)
        self._apply(self._control.heartbeat(beat))
        if not busy:
            self._residents.claim(self._found)

    def _poll(self) -> None:
        backoff, resume = Backoff(), True
        while not self._stop.is_set():
            if self._attempt("poll", partial(self._poll_once, resume)):
                backoff.reset()
                resume = False
            else:
                self._stop.wait(backoff.next())

    def _poll_once(self, resume: bool) -> None:
        version = self._network.version if self._network is not None else 0
        orders = self._control.poll(self._settings.poll_wait, version, resume)
        if orders.network is not None:
            self._apply(orders.network)
        for command in orders.commands:
            self._executor.submit(command)

    def _deliver(self) -> None:
        """Results until they are acknowledged; progress once, if at all."""
        backoff = Backoff()
        while not self._stop.is_set():
            self._executor.done.wait(self._settings.heartbeat_every)
            self._executor.done.clear()
            if self._attempt("deliver", self._deliver_all):
                backoff.reset()
            else:
                self._stop.wait(backoff.next())
                self._executor.done.set()

    def _deliver_all(self) -> None:
        for operation, result, since in self._journal.undelivered():
            self._news.pop(operation, None)
            try:
                self._control.result(operation, result)
            except NotFound:
                log.warning("nobody waits for the result of %s any more", operation)
            self._journal.delivered(operation, since)
        for operation in list(self._news):
            self._control.progress(operation, self._news.pop(operation))

    def _note_news(self, operation: str, news: Progress) -> None:
        self._news[operation] = news
        self._executor.done.set()

    def _attempt(self, what: str, act: Callable[[], None]) -> bool:
        try:
            act()
        except PorterError as error:
            if not self._stop.is_set():
                log.warning("%s: %s", what, error)
            return False
        except Exception:
            if not self._stop.is_set():
                log.exception("%s failed", what)
            return False
        return True

    def _apply(self, network: Network) -> None:
        """Set the workload network up, if it differs from what was last set up."""
        with self._network_lock:
            if self._network is not None and network.version == self._network.version:
                return
            self._parts.network.apply(corrected(network, self._context.ledger.open()))
            self._network = network
            self._journal.remember(_NETWORK, codec.dump(network))
