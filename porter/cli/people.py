"""`porter token` and `porter user`: who may use the API, and what they may."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from porter.cli import show
from porter.cli.app import App, PorterGroup
from porter.domain.errors import Invalid, NotFound
from porter.domain.identity import EVERYWHERE, Permission, Role
from porter.domain.units import clock, moment

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_SCOPES = click.Choice([str(one) for one in Permission])
_ROLES = click.Choice([str(one) for one in Role])


def lifetime(text: str) -> float:
    """Seconds of `90m`, `12h`, `30d`, `4w`. Raises Invalid."""
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if found is None:
        raise Invalid(f"cannot read the time {text!r}", "write it like 12h, 30d or 4w")
    return float(found[1]) * _UNITS[found[2]]


@click.group(cls=PorterGroup)
def token() -> None:
    """API tokens for programs."""


@token.command("create")
@click.argument("name")
@click.option(
    "--scope", "scopes", type=_SCOPES, multiple=True, default=("read",), help="What it may; repeat."
)
@click.option("--project", default=EVERYWHERE, help="The one in which it is good.")
@click.option("--expires", default="30d", show_default=True, help="Like 12h, 30d, 4w; a year most.")
@click.pass_obj
def create(app: App, name: str, scopes: Sequence[str], project: str, expires: str) -> None:
    """Make a token. It is shown this once; it never may more than you."""
    body = {
        "name": name,
        "scopes": list(scopes),
        "project": project,
        "expires_in": lifetime(expires),
    }
    made = app.api.change("POST", "tokens", body=body)
    if app.json:
        app.show(made, None)
        return
    # Plain, so that TOKEN=$(porter token create …) works; the rest is for people.
    click.echo(made["token"])
    click.echo(f"{made['id']}, good until {clock(made['expires_at'])}; keep it now.", err=True)


@token.command("ls")
@click.pass_obj
def list_tokens(app: App) -> None:
    """List tokens: yours, and those of projects that you administer."""
    found = app.api.listing("tokens")
    now = time.time()
    rows = [
        [
            one["id"],
            one["name"],
            _state(one, now),
            _project(one["project"]),
            ", ".join(one["scopes"]),
            one["owner"],
            clock(one["expires_at"]),
            clock(one["used_at"]),
        ]
        for one in found
    ]
    columns = ("TOKEN", "NAME", "STATE", "PROJECT", "SCOPES", "OWNER", "EXPIRES", "USED")
    app.show(found, show.table(columns, rows, "No tokens; 'porter token create' makes one."))


def _state(one: dict[str, Any], now: float) -> Text:
    if one["revoked_at"]:
        return Text("revoked", style="dim")
    if (moment(one["expires_at"]) or now) < now:
        return Text("expired", style="dim")
    return Text("good", style="green")


def _project(name: str) -> str:
    return "all" if name == EVERYWHERE else name


@token.command()
@click.argument("token_id", metavar="TOKEN")
@click.pass_obj
def revoke(app: App, token_id: str) -> None:
    """End a token at once, by its id, with all that were made with it."""
    app.show(app.api.change("DELETE", "tokens", token_id), f"{token_id} is revoked")


@click.group(cls=PorterGroup)
def user() -> None:
    """People who log in, and their roles."""


@user.command("ls")
@click.pass_obj
def list_users(app: App) -> None:
    """List everybody who has logged in, with the roles in projects that you administer."""
    found = app.api.listing("users")
    rows = [
        [
            one["id"],
            one["name"],
            one["email"],
            Text("disabled", style="red") if one["disabled_at"] else Text("good", style="green"),
            ", ".join(f"{held['role']} in {_project(held['project'])}" for held in one["grants"]),
            clock(one["seen_at"]),
        ]
        for one in found
    ]
    columns = ("USER", "NAME", "EMAIL", "STATE", "ROLES", "LAST LOGIN")
    app.show(found, show.table(columns, rows, "Nobody has logged in yet."))


def _find(app: App, wanted: str) -> dict[str, Any]:
    """By id, else by an address or name that only one has."""
    everybody = app.api.listing("users")
    for key in ("id", "email", "name"):
        found = [one for one in everybody if one[key] == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise Invalid(
                f"cannot tell who {wanted!r} is: {len(found)} users have that {key}",
                "give the id; 'porter user ls' lists them",
            )
    raise NotFound(f"cannot find the user {wanted!r}", "'porter user ls' lists them")


@user.command()
@click.argument("who", metavar="USER")
@click.argument("role", type=_ROLES)
@click.option("--project", required=True, help="Where it counts; * for all, and for the fleet.")
@click.pass_obj
def grant(app: App, who: str, role: str, project: str) -> None:
    """Give somebody a role. USER is an id, an e-mail address or a name."""
    found = _find(app, who)
    given = app.api.change("PUT", "users", found["id"], "grants", project, role)
    app.show(given, f"{found['name']} is {role} in {_project(project)}")


@user.command()
@click.argument("who", metavar="USER")
@click.argument("role", type=_ROLES)
@click.option("--project", required=True, help="Where it counted.")
@click.pass_obj
def withdraw(app: App, who: str, role: str, project: str) -> None:
    """Take a role away."""
    found = _find(app, who)
    left = app.api.change("DELETE", "users", found["id"], "grants", project, role)
    app.show(left, f"{found['name']} is no longer {role} in {_project(project)}")


@user.command()
@click.argument("who", metavar="USER")
@click.pass_obj
def disable(app: App, who: str) -> None:
    """Lock somebody out at once, with all sessions and tokens."""
    found = _find(app, who)
    changed = app.api.change("POST", "users", found["id"], "disable")
    app.show(changed, f"{found['name']} is locked out")


@user.command()
@click.argument("who", metavar="USER")
@click.pass_obj
def enable(app: App, who: str) -> None:
    """Let somebody in again."""
    found = _find(app, who)
    changed = app.api.change("POST", "users", found["id"], "enable")
    app.show(changed, f"{found['name']} may log in again")
