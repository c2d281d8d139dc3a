"""`porter host`."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import click

from porter.bootstrap import HOME, user_data
from porter.cli import show
from porter.cli.app import OK, App, PorterGroup
from porter.domain.errors import Invalid, NotFound, Transient
from porter.domain.units import clock

_AS_ROOT = '[ "$(id -u)" = 0 ] && exec sh -s; exec sudo -n sh -s'
_JOINS_S = 120


@click.group(cls=PorterGroup)
def host() -> None:
    """Machines that run Porter's agent."""


@host.command("ls")
@click.pass_obj
def list_hosts(app: App) -> None:
    """List the hosts that have joined."""
    found = app.api.hosts()
    app.show(found, show.hosts(found))


@host.command()
@click.option("--name", help="Only a host of this name may use it.")
@click.option("--site", "site_name", help="Only a host of this site may use it.")
@click.option("--ttl", type=click.FloatRange(min=0), help="Good for so many seconds; an hour.")
@click.pass_obj
def token(app: App, name: str | None, site_name: str | None, ttl: float | None) -> None:
    """Make a one-time token with which a new host's agent joins."""
    wanted = {"name": name or None, "site": site_name or None, "ttl": ttl}
    made = app.api.join_token({key: value for key, value in wanted.items() if value is not None})
    if app.json:
        app.show(made, None)
        return
    # Plain, so that TOKEN=$(porter host token) works; the rest is for people and goes to stderr.
    click.echo(made["token"])
    click.echo(f"Good for one host until {clock(made.get('expires_at'))}.", err=True)


@host.command()
@click.argument("destination", metavar="[USER@]ADDRESS")
@click.option("--name", help="The host's name; ADDRESS up to its first dot if not given.")
@click.option("--site", "site_name", default="onprem", show_default=True, help="Where it stands.")
@click.option("--port", type=int, help="SSH's port.")
@click.option("--identity", type=click.Path(dir_okay=False), help="SSH's key file.")
@click.option("--option", "-o", "options", multiple=True, help="As ssh -o.")
@click.option("--url", help="Where the host finds the control plane, if not as it believes.")
@click.pass_obj
def join(
    app: App,
    destination: str,
    name: str | None,
    site_name: str,
    port: int | None,
    identity: str | None,
    options: tuple[str, ...],
    url: str | None,
) -> int:
    """Make a machine a host over SSH: installs Porter and starts its agent.

    It needs root there: as the user, or by sudo without a password.
    """
    address = destination.rpartition("@")[2]
    name = name or (address if address.replace(".", "").isdigit() else address.partition(".")[0])
    made = app.api.join_token({"name": name, "site": site_name})
    script = user_data((url or made["url"]).rstrip("/"), made["token"], name, site_name)
    words = ["ssh", "-o", "BatchMode=yes", *(f"-o{one}" for one in options)]
    words += ["-p", str(port)] if port else []
    words += ["-i", identity] if identity else []
    with app.working(f"setting {name} up"):
        # The script goes in by stdin: it holds the token.
        done = subprocess.run(
            [*words, "--", destination, _AS_ROOT],
            input=script,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise Invalid(
                f"cannot set {name} up over SSH: {done.stderr.strip() or 'ssh failed'}",
                f"try 'ssh {destination} true'; the machine's own log is {HOME}/log",
            )
        _await_host(app, name)
    app.show(find_host(app, name), f"{name} has joined")
    return OK


def _await_host(app: App, name: str) -> None:
    until = time.monotonic() + _JOINS_S
    while not any(one["name"] == name and one["alive"] for one in app.api.hosts()):
        if time.monotonic() > until:
            raise Transient(
                f"cannot see {name}: its agent did not join within {_JOINS_S} s",
                f"see {HOME}/log there, and that it reaches the control plane",
            )
        time.sleep(0.5)


@host.command()
@click.argument("name")
@click.pass_obj
def rm(app: App, name: str) -> None:
    """Forget a host; its agent's certificate is no longer accepted. A machine that Porter made is
    terminated."""
    found = find_host(app, name)
    app.api.remove_host(found["name"])
    done = "is being terminated" if found.get("machine") else "is removed"
    app.show({"removed": found["name"]}, f"{found['name']} {done}")


def find_host(app: App, wanted: str) -> dict[str, Any]:
    """The host of that name, or whose id alone begins so."""
    known = app.api.hosts()
    for candidate in known:
        if wanted in (candidate.get("name"), candidate.get("id")):
            return candidate
    found = [h for h in known if str(h.get("id", "")).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(str(h.get("name")) for h in known)) or "none"
    if found:
        raise Invalid(f"cannot tell which host {wanted!r} is", f"give a name: {names}")
    raise NotFound(f"cannot find a host {wanted!r}: there is none", f"the hosts are: {names}")
