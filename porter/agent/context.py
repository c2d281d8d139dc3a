"""What every activity of the agent works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from porter.agent.journal import Journal
from porter.agent.ledger import Ledger
from porter.agent.live import Live
from porter.agent.peer_tls import Credentials
from porter.agent.settings import AgentSettings
from porter.agent.sockets import established
from porter.agent.strays import end_strays
from porter.domain.errors import Transient
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

    @property
    def ledger(self) -> Ledger:
        return self._ledger  # type: ignore[attr-defined]
