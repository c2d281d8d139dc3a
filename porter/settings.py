"""Everything that can be set from outside, read once: `PORTER_*` environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from porter.domain.errors import Invalid

DEFAULT_STATE = "/var/lib/porter"
DEFAULT_LISTEN = "127.0.0.1:8460"
DEFAULT_AGENTS = "0.0.0.0:8461"


def split_address(value: str) -> tuple[str, int]:
    """`HOST:PORT` as a pair. Raises Invalid for anything else."""
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise Invalid(f"cannot read the address {value!r}", "write it as HOST:PORT")
    return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Settings:
    """One control plane's settings. Durations in seconds."""

    state: Path
    """Directory for the database, the embedded broker, keys, logs and process ids."""
    database_url: str
    broker_url: str
    listen: str
    """Where people and programs reach the REST API."""
    agents: str
    """Where agents reach the control plane, by TLS."""
    agent_names: tuple[str, ...]
    """Further names and addresses that stand in the agents' listener's certificate."""
    allowed_hosts: tuple[str, ...]
    """Host headers that the REST API accepts beside loopback's."""
    api_token_file: Path
    lease: float = 6.0
    """How long a worker owns a migration without renewing."""

    @property
    def run(self) -> Path:
        """Process ids and locks."""
        return self.state / "run"

    @property
    def log(self) -> Path:
        return self.state / "log"

    @property
    def queue(self) -> Path:
        """Folder of the embedded broker."""
        return self.state / "queue"

    @property
    def dashboard(self) -> str:
        host, port = split_address(self.listen)
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        return f"http://{shown}:{port}/"

    def environment(self) -> dict[str, str]:
        """The variables from which `load` reads these settings again (for child processes)."""
        return {
            "PORTER_STATE": str(self.state),
            "PORTER_DATABASE_URL": self.database_url,
            "PORTER_BROKER_URL": self.broker_url,
            "PORTER_LISTEN": self.listen,
            "PORTER_AGENTS": self.agents,
            "PORTER_AGENT_NAMES": ",".join(self.agent_names),
            "PORTER_ALLOWED_HOSTS": ",".join(self.allowed_hosts),
            "PORTER_API_TOKEN_FILE": str(self.api_token_file),
            "PORTER_LEASE": str(self.lease),
        }


def _names(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def load(env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment. Raises Invalid for values that cannot be read."""
    env = os.environ if env is None else env
    state = Path(env.get("PORTER_STATE") or env.get("PORTER_STATE_DIR") or DEFAULT_STATE)
    listen = env.get("PORTER_LISTEN") or DEFAULT_LISTEN
    agents = env.get("PORTER_AGENTS") or DEFAULT_AGENTS
    split_address(listen)
    split_address(agents)
    try:
        lease = float(env.get("PORTER_LEASE") or 6.0)
    except ValueError as error:
        raise Invalid("cannot read PORTER_LEASE", "set it to a number of seconds") from error
    return Settings(
        state=state,
        database_url=env.get("PORTER_DATABASE_URL") or f"sqlite:///{state / 'porter.sqlite3'}",
        broker_url=env.get("PORTER_BROKER_URL") or "filesystem://",
        listen=listen,
        agents=agents,
        agent_names=_names(env.get("PORTER_AGENT_NAMES", "")),
        allowed_hosts=_names(env.get("PORTER_ALLOWED_HOSTS", "")),
        api_token_file=Path(env.get("PORTER_API_TOKEN_FILE") or state / "api-token"),
        lease=lease,
    )
