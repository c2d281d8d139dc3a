"""Everything that can be set from outside, read once: `PORTER_*` environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

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
    secret_key_file: Path
    """The key under which credentials of sites are stored."""
    agents_url: str
    """Where machines that Porter makes find the agents' listener."""
    lease: float = 6.0
    """How long a worker owns a migration without renewing."""
    prices_every: float = 300.0
    """So often schedules look whether prices have changed."""
    idle: float = 900.0
    """A machine that Porter made is removed after standing empty for so long; 0 keeps it."""
    join_limit: float = 900.0
    """So long a new machine may take until its agent has joined."""
    rate_limit: str = "12000/minute"
    """Requests that one principal may send to one web process; empty for no limit."""

    rates: Path | None = None
    """A TOML file with exchange rates; without one, currencies are never compared."""

    metrics_open: bool = False
    """Show metrics without a token to everybody on this machine."""
    log_format: str = "text"
    """`text` for people, `json` for programs."""
    public_url: str = ""
    """Where browsers reach the control plane, without a slash at its end."""
    oidc_issuer: str = ""
    """URL of the OpenID Connect issuer at which people log in; empty for none."""
    oidc_client_id: str = ""
    oidc_client_secret_file: Path | None = None
    """Without one the control plane is a public client."""
    webhook_allow: tuple[str, ...] = ()
    """Networks (CIDR) and hosts that webhooks may lead to beside public addresses; also by http."""

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
            "PORTER_SECRET_KEY_FILE": str(self.secret_key_file),
            "PORTER_AGENTS_URL": self.agents_url,
            "PORTER_LEASE": str(self.lease),
            "PORTER_IDLE": str(self.idle),
            "PORTER_PRICES_EVERY": str(self.prices_every),
            "PORTER_JOIN_LIMIT": str(self.join_limit),
            "PORTER_RATE_LIMIT": self.rate_limit,
            "PORTER_RATES": str(self.rates or ""),
            "PORTER_METRICS_OPEN": "1" if self.metrics_open else "",
            "PORTER_LOG_FORMAT": self.log_format,
            "PORTER_PUBLIC_URL": self.public_url,
            "PORTER_OIDC_ISSUER": self.oidc_issuer,
            "PORTER_OIDC_CLIENT_ID": self.oidc_client_id,
            "PORTER_OIDC_CLIENT_SECRET_FILE": str(self.oidc_client_secret_file or ""),
            "PORTER_WEBHOOK_ALLOW": ",".join(self.webhook_allow),
        }


def _names(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(env.get(name) or default)
    except ValueError as error:
        raise Invalid(f"cannot read {name}", "set it to a number of seconds") from error


def _path(value: str) -> Path | None:
    return Path(value) if value else None


def log_format(env: Mapping[str, str], default: str) -> str:
    """`text` or `json`. Raises Invalid for anything else."""
    value = env.get("PORTER_LOG_FORMAT") or default
    if value not in ("text", "json"):
        raise Invalid(f"cannot read PORTER_LOG_FORMAT={value!r}", "set it to text or json")
    return value


def _public_url(value: str, listen: str) -> str:
    """`http(s)://HOST[:PORT]`; by default where the API listens."""
    host, port = split_address(listen)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    found = (value or f"http://{f'[{shown}]' if ':' in shown else shown}:{port}").rstrip("/")
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
        raise Invalid(f"cannot use {value!r} as PORTER_PUBLIC_URL", "write it as https://HOST")
    return found


def load(env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment. Raises Invalid for values that cannot be read."""
    env = os.environ if env is None else env
    state = Path(env.get("PORTER_STATE") or env.get("PORTER_STATE_DIR") or DEFAULT_STATE)
    listen = env.get("PORTER_LISTEN") or DEFAULT_LISTEN
    agents = env.get("PORTER_AGENTS") or DEFAULT_AGENTS
    split_address(listen)
    split_address(agents)
    return Settings(
        state=state,
        database_url=env.get("PORTER_DATABASE_URL") or f"sqlite:///{state / 'porter.sqlite3'}",
        broker_url=env.get("PORTER_BROKER_URL") or "filesystem://",
        listen=listen,
        agents=agents,
        agent_names=_names(env.get("PORTER_AGENT_NAMES", "")),
        allowed_hosts=_names(env.get("PORTER_ALLOWED_HOSTS", "")),
        api_token_file=Path(env.get("PORTER_API_TOKEN_FILE") or state / "api-token"),
        secret_key_file=Path(env.get("PORTER_SECRET_KEY_FILE") or state / "secret.key"),
        agents_url=env.get("PORTER_AGENTS_URL") or f"https://{agents}",
        lease=_seconds(env, "PORTER_LEASE", 6.0),
        idle=_seconds(env, "PORTER_IDLE", 900.0),
        prices_every=_seconds(env, "PORTER_PRICES_EVERY", 300.0),
        join_limit=_seconds(env, "PORTER_JOIN_LIMIT", 900.0),
        rate_limit=env.get("PORTER_RATE_LIMIT", "12000/minute"),
        rates=_path(env.get("PORTER_RATES", "")),
        metrics_open=env.get("PORTER_METRICS_OPEN", "") not in ("", "0", "false"),
        log_format=log_format(env, "text"),
        public_url=_public_url(env.get("PORTER_PUBLIC_URL", ""), listen),
        oidc_issuer=env.get("PORTER_OIDC_ISSUER", ""),
        oidc_client_id=env.get("PORTER_OIDC_CLIENT_ID", ""),
        oidc_client_secret_file=_path(env.get("PORTER_OIDC_CLIENT_SECRET_FILE", "")),
        webhook_allow=_names(env.get("PORTER_WEBHOOK_ALLOW", "")),
    )
