"""Private servers from the installed Debian packages: temporary directories, free loopback ports,
ended by their process ids."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

PATIENCE = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, true: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.05)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def folder(owner: str = "root") -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="porter-test-"))
    shutil.chown(path, owner, owner)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def program(
    argv: Sequence[str | Path],
    log: Path,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, ended with all that it started."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=log.parent,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    try:
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            pass  # the group is killed below
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended whole
        process.wait(20)


def _newest(pattern: str) -> Path:
    found = sorted(Path("/").glob(pattern.lstrip("/")))
    assert found, f"{pattern} is missing: run `make setup`"
    return found[-1]


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty server's database."""
    binaries = _newest("/usr/lib/postgresql/*/bin/postgres").parent
    port = free_port()
    with folder("postgres") as home:
        data = home / "data"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-A", "trust", "-U", "porter", "--no-sync"],
            check=True,
            capture_output=True,
            user="postgres",
            group="postgres",
            extra_groups=[],
            cwd=home,
            timeout=120,
        )
        argv = [binaries / "postgres", "-D", data, "-p", str(port), "-k", home]
        argv += ["-h", "127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]
        log = home / "log"
        with program(argv, log, user="postgres", end=signal.SIGINT):
            ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(
                "PostgreSQL",
                lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0,
            )
            yield f"postgresql+psycopg://porter@127.0.0.1:{port}/postgres"


@contextmanager
def redis_server(port: int = 0) -> Iterator[str]:
    port = port or free_port()
    with folder() as home:
        argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with program([*argv, "--dir", home], home / "log"):
            wait_until("Redis", lambda: answers(port))
            with redis.Redis(port=port) as client:
                wait_until("Redis to serve", client.ping)
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def rabbitmq(port: int = 0) -> Iterator[str]:
    """RabbitMQ with an Erlang port mapper of its own."""
    port, distribution, mapper = port or free_port(), free_port(), free_port()
    epmd = _newest("/usr/lib/erlang/erts-*/bin/epmd")
    with folder() as home, ExitStack() as running:
        (home / "enabled_plugins").write_text("[].\n")
        (home / "env.conf").touch()
        (home / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        env = {
            "HOME": str(home),
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"porter{port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }
        argv = [epmd, "-port", str(mapper), "-address", "127.0.0.1"]
        running.enter_context(program(argv, home / "epmd.log", env))
        wait_until("the port mapper", lambda: answers(mapper))
        server = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        running.enter_context(program([server], home / "server.log", env))
        log = home / "server.log"
        wait_until(
            "RabbitMQ",
            lambda: answers(port) and "Server startup complete" in log.read_text(errors="replace"),
        )
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
