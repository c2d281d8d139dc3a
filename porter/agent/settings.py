"""Settings of one agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib/porter/agent")
PEER_PORT = 7443


@dataclass(frozen=True)
class AgentSettings:
    """Where the control plane is, who this host is, where state lies. Times in seconds."""

    url: str
    state: Path = STATE
    token: str | None = None
    """Needed for the first start only."""
    name: str = ""
    site: str = "onprem"
    cloud: str = ""
    """`aws`, `azure`, `gcp` or `openstack`: whose metadata service tells of interruptions."""
    metadata_url: str = ""
    """Where that service is, if not where it always is."""
    underlay: str = ""
    """Address at which other hosts reach this one; empty: the one used towards `url`."""
    peer_port: int = PEER_PORT
    scratch: Path = Path("/dev/shm/porter")
    """Memory-backed: CRIU's images on the source lie here during a handover."""
    heartbeat_every: float = 3.0
    poll_wait: float = 25.0
    drain: float = 10.0
    """How long a running handover may take to end by itself when the agent is told to stop."""
    accept_wait: float = 300.0
    """How long the source stays frozen for the target to verify and restore."""
    commit_wait: float = 30.0
    """How long the source listens for the target's word after the commit before it asks anew."""
    doubt_wait: float = 5.0
    """How long a handover in doubt asks the target before it reports so."""
    dump_wait: float = 10.0
    """How long a dump left over by a killed agent may take to end before it is killed."""

    @property
    def journal(self) -> Path:
        return self.state / "journal.sqlite3"

    def images(self, migration: str) -> Path:
        return self.scratch / migration / "images"

    def work(self, migration: str) -> Path:
        return self.scratch / migration / "work"
