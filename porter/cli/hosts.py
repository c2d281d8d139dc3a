"""`porter host` and `porter site`."""

from __future__ import annotations

from typing import Any

import click

from porter.cli import show
from porter.cli.app import App, PorterGroup
from porter.domain.errors import Invalid, NotFound
from porter.domain.units import clock


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
@click.argument("name")
@click.pass_obj
def rm(app: App, name: str) -> None:
    """Forget a host; its agent's certificate is no longer accepted."""
    found = find_host(app, name)
    app.api.remove_host(found["name"])
    app.show({"removed": found["name"]}, f"{found['name']} is removed")


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


@click.group(cls=PorterGroup)
def site() -> None:
    """Places that hosts are in: your own rooms, a cloud's region."""


@site.command("ls")
@click.pass_obj
def list_sites(app: App) -> None:
    """List the sites of the joined hosts."""
    found: dict[str, dict[str, Any]] = {}
    where: dict[str, str] = {}
    for known in app.api.hosts():
        entry = found.setdefault(
            known["site"], {"name": known["site"], "hosts": [], "workloads": []}
        )
        entry["hosts"].append(known["name"])
        where[known["name"]] = known["site"]
    for workload in app.api.workloads():
        if workload.get("host") in where:
            found[where[workload["host"]]]["workloads"].append(workload["name"])
    sites = [found[name] for name in sorted(found)]
    app.show(sites, show.sites(sites))
