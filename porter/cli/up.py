"""`porter up`, `down` and `status`; `web`, `worker` and `beat` for a distributed control plane."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import ProxyHandler, build_opener

import click

from porter import logs
from porter.cli.supervisor import (
    CHILDREN,
    SELF,
    Supervisor,
    alive,
    is_running,
    pid_file,
    read_pid,
    take_lock,
)
from porter.domain.errors import Conflict, PorterError, Transient
from porter.settings import Settings, load, log_format

START_PATIENCE = 60.0
STOP_PATIENCE = 20.0
HEALTH_TIMEOUT = 5.0
Function = TypeVar("Function", bound=Callable[..., Any])


def _log_to_stderr() -> None:
    # Database, queue and logs hold what moves are authorised by.
    os.umask(0o077)
    logs.to_stderr(log_format(os.environ, "text"))


def _settings(state: Path | None, listen: str | None = None, agents: str | None = None) -> Settings:
    given = {"PORTER_STATE": state, "PORTER_LISTEN": listen, "PORTER_AGENTS": agents}
    env = {**os.environ, **{key: str(value) for key, value in given.items() if value}}
    return load(env)


def _state_option(command: Function) -> Function:
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        help="State directory (PORTER_STATE; /var/lib/porter).",
    )(command)


def _json_option(command: Function) -> Function:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _wants_json(as_json: bool) -> bool:
    root = click.get_current_context().find_root().obj
    return as_json or bool(getattr(root, "json", False))


@click.command()
@_state_option
@click.option("--listen", help="Where the REST API listens (127.0.0.1:8460).")
@click.option("--agents", help="Where agents reach the control plane (0.0.0.0:8461).")
@click.option("--detach", is_flag=True, help="Return when it answers; it runs on.")
@_json_option
def up(
    state: Path | None, listen: str | None, agents: str | None, detach: bool, as_json: bool
) -> None:
    """Run the control plane: API, worker and beat, supervised. Ctrl-C ends it."""
    settings = _settings(state, listen, agents)
    # Said before anything is changed; the supervisor takes the lock for good.
    take_lock(settings).close()
    _prepare(settings)
    if detach:
        _start_detached(settings)
        _announce(settings, _wants_json(as_json))
        return
    _log_to_stderr()
    _announce(settings, _wants_json(as_json))
    Supervisor(settings).run()


def _prepare(settings: Settings) -> None:
    """All that can fail for a reason a person should read: directories, schema, keys."""
    from porter.wiring import api_token, authority, control_plane

    os.umask(0o077)
    settings.state.mkdir(parents=True, exist_ok=True)
    control = control_plane(settings)
    try:
        control.database.upgrade()
    finally:
        control.close()
    authority(settings)
    api_token(settings.api_token_file)


def _announce(settings: Settings, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_facts(settings)))
        return
    click.echo(f"Dashboard   {settings.dashboard}")
    click.echo(f"Agents      {settings.agents}")
    click.echo(f"API token   {settings.api_token_file}")
    click.echo(f"Logs        {settings.log}")


def _facts(settings: Settings) -> dict[str, Any]:
    return {
        "dashboard": settings.dashboard,
        "agents": settings.agents,
        "state": str(settings.state),
        "api_token_file": str(settings.api_token_file),
        "logs": str(settings.log),
    }


def _start_detached(settings: Settings) -> None:
    settings.log.mkdir(parents=True, exist_ok=True)
    path = settings.log / "up.log"
    with path.open("ab") as output:
        process = subprocess.Popen(
            [*SELF, "up"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **settings.environment()},
            start_new_session=True,
            cwd="/",
        )
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Transient(f"cannot start the control plane: it ended at once; see {path}")
        if _answers(settings) and alive(read_pid(pid_file(settings, "worker"))):
            # It outlives us on purpose; without this Python warns about it.
            process.returncode = 0
            return
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait(STOP_PATIENCE)
    raise Transient(
        f"cannot start the control plane: it did not answer in {START_PATIENCE:.0f} s; "
        f"see {settings.log}"
    )


def _answers(settings: Settings) -> dict[str, Any] | None:
    """What /healthz says, None if nobody answers."""
    url = f"{settings.dashboard}healthz"
    # Never through a proxy of the surroundings: this is our own machine.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=HEALTH_TIMEOUT) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except (OSError, ValueError):
        return None


@click.command()
@_state_option
@_json_option
def down(state: Path | None, as_json: bool) -> None:
    """Stop the control plane of this machine. Agents and workloads run on."""
    settings = _settings(state)
    pid = read_pid(pid_file(settings, "up"))
    if not is_running(settings) or pid is None:
        _say("the control plane does not run", {"running": False}, as_json)
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_PATIENCE
    while is_running(settings):
        if time.monotonic() > deadline:
            raise Conflict(f"cannot stop the control plane: process {pid} does not end")
        time.sleep(0.05)
    _say("stopped", {"running": False}, as_json)


def _say(text: str, document: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(document) if _wants_json(as_json) else text)


@click.command()
@_state_option
@click.option("--listen", help="Where the REST API listens (as told to `porter up`).")
@_json_option
def status(state: Path | None, listen: str | None, as_json: bool) -> None:
    """Say whether the control plane runs, and how it is. Exit code 1 if it does not."""
    settings = _settings(state, listen)
    if listen is None:
        settings = _as_started(settings)
    processes = {name: read_pid(pid_file(settings, name)) for name in CHILDREN}
    running = is_running(settings)
    health = _answers(settings) if running else None
    document = {
        "running": running,
        "pid": read_pid(pid_file(settings, "up")) if running else None,
        "processes": {name: pid if alive(pid) else None for name, pid in processes.items()},
        "health": health,
        **_facts(settings),
    }
    if _wants_json(as_json):
        click.echo(json.dumps(document, indent=2))
    else:
        _show(document)
    good = running and health is not None and all(document["processes"].values())
    click.get_current_context().exit(0 if good else 1)


def _show(document: dict[str, Any]) -> None:
    if not document["running"]:
        click.echo(f"the control plane in {document['state']} does not run; `porter up` starts it")
        return
    for name, pid in document["processes"].items():
        click.echo(f"{name:8} {'runs as ' + str(pid) if pid else 'is down, will be restarted'}")
    health = document["health"]
    if health is None:
        click.echo("the API does not answer")
    else:
        click.echo(
            f"{health['hosts_alive']} of {health['hosts']} hosts alive, "
            f"{health['migrations_active']} migrations under way"
        )
    click.echo(f"dashboard {document['dashboard']}")


def _as_started(settings: Settings) -> Settings:
    """The addresses that the running supervisor was told, which only its environment knows."""
    try:
        raw = (settings.run / "settings.json").read_text()
        known = json.loads(raw)
        return replace(settings, listen=known["PORTER_LISTEN"], agents=known["PORTER_AGENTS"])
    except (FileNotFoundError, ValueError, KeyError):
        return settings


@click.command()
def web() -> None:
    """Run one replica of the API and the agents' listener."""
    import asyncio

    from porter.web.server import serve

    _log_to_stderr()
    asyncio.run(serve(load()))


@click.command()
def worker() -> None:
    """Run one Celery worker."""
    from porter.worker import run_worker

    _log_to_stderr()
    run_worker(load())


@click.command()
def beat() -> None:
    """Run the one Celery beat."""
    from porter.worker import run_beat

    _log_to_stderr()
    run_beat(load())


@click.group()
def main() -> None:
    """The control plane's processes, as the supervisor starts them."""


for _command in (up, down, status, web, worker, beat):
    main.add_command(_command)


if __name__ == "__main__":
    try:
        main()
    except PorterError as error:
        sys.exit(f"porter: {error}")
