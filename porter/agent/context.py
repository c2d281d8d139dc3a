"""What every activity of the agent works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.agent.journal import Journal, Record
from porter.agent.ledger import TARGET, Ledger
from porter.agent.live import Live
from porter.agent.peer_client import PeerAddress, dial
from porter.agent.peer_tls import Credentials
from porter.agent.peer_wire import Wire
from porter.agent.settings import AgentSettings
from porter.agent.sockets import established
from porter.agent.strays import end_strays
from porter.agent.tunnels import Tunnels
from porter.domain.errors import Transient
from porter.protocol.messages import Handover, ShipImage
from porter.store.base import Blobs
from porter.wiring_agent import AgentParts


@dataclass(frozen=True)
class Context:
    """One agent's surroundings. Shared by all its threads."""

    settings: AgentSettings
    parts: AgentParts
    journal: Journal
    credentials: Credentials
    changed: Callable[[], None] = lambda: None
    """Call after something that the control plane should hear of soon."""
    end_strays: Callable[[Path, float], list[str]] = end_strays
    established: Callable[[str], frozenset[str]] = established
    live: Live = field(default_factory=Live)
    tunnels: Tunnels | None = None
    """Ways to hosts that cannot be reached; None where there is no control plane to ask."""
    open_store: Callable[[str], Blobs] | None = None
    """The store of a migration or checkpoint, by tickets; None without a control plane."""
    unrecovered: set[str] = field(default_factory=set)
    """Migrations whose records have not been acted on again since the start."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ledger", Ledger(self.journal))

    def must_be_recovered(self, migration: str) -> None:
        """Raise Transient while the record may not tell how things really stand here."""
        if migration in self.unrecovered:
            raise Transient(
                f"cannot decide on migration {migration} yet: this host still recovers from a "
                "restart"
            )

    def dial(
        self,
        to: PeerAddress,
        purpose: str,
        order: Record | Handover | ShipImage,
        **more: Any,
    ) -> tuple[Wire, dict[str, Any]]:
        """Connect to the other host of a migration, through a store if need be; see `dial`."""
        if order.via and self.tunnels is not None:
            to = PeerAddress(to.host, "127.0.0.1", self.tunnels.port(order.via))
        try:
            return dial(self.credentials, to, purpose, order.migration, order.token, **more)
        except Transient:
            if order.via and self.tunnels is not None:
                self.tunnels.broken(order.via)
            raise

    def keep_route(self, record: Record) -> None:
        """Let the source of an open migration come through a store, if that is its way."""
        if record.via and record.role == TARGET and self.tunnels is not None:
            self.tunnels.serve(record.via)

    def close_route(self, record: Record) -> None:
        """The migration is over here."""
        if record.via and self.tunnels is not None:
            self.tunnels.close(record.via)

    @property
    def ledger(self) -> Ledger:
        return self._ledger  # type: ignore[attr-defined]
