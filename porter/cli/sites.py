"""`porter site`: places with an account, a region and prices."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from porter.cli import show
from porter.cli.app import BAD_INPUT, OK, App, PorterGroup
from porter.domain.errors import Invalid
from porter.domain.site import SiteKind

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}
_KINDS = [kind.value for kind in SiteKind if kind is not SiteKind.FAKE]


@click.group(cls=PorterGroup)
def site() -> None:
    """Places that hosts are in: your own rooms, a cloud's region."""


@site.command("ls")
@click.pass_obj
def list_sites(app: App) -> None:
    """List sites with their hosts and workloads."""
    found = app.api.sites()
    app.show(found, show.sites(found))


@site.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(_KINDS), help="Told by NAME where it is KIND:REGION.")
@click.option("--region", default="", help="Told by NAME where it is KIND:REGION.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="KEY=FILE|-",
    help="A credential, read from a file or, with -, a line of stdin; stored encrypted. Without "
    "any, they come from the control plane's surroundings.",
)
@click.pass_obj
def add(
    app: App,
    name: str,
    kind: str | None,
    region: str,
    settings: Sequence[str],
    secrets: Sequence[str],
) -> None:
    """Add a site. NAME is best KIND:REGION, like aws:eu-west-1."""
    word, _, rest = name.partition(":")
    if kind is None:
        if word not in _KINDS:
            raise Invalid(f"cannot tell what kind of site {name} is", "give --kind")
        kind = word
    body = {
        "name": name,
        "kind": kind,
        "region": region or rest,
        "settings": dict(pair(one) for one in settings),
        "secrets": {key: read_secret(where) for key, where in map(pair, secrets)},
    }
    made = app.api.add_site(body)
    app.show(made, f"{name} is added; 'porter site verify {name}' checks its rights")


def pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise Invalid(f"cannot read {text.partition('=')[0]!r}", "write KEY=VALUE")
    return key, value


def read_secret(where: str) -> str:
    """A secret from a file or a line of stdin: a command line could be read by everybody."""
    if where == "-":
        return sys.stdin.readline().rstrip("\n")
    try:
        return Path(where).read_text().rstrip("\n")
    except OSError as error:
        raise Invalid(
            f"cannot read the secret in {where}: {error.strerror}",
            "name a file that holds it, or - to type it",
        ) from error


@site.command("show")
@click.argument("name")
@click.pass_obj
def show_site(app: App, name: str) -> None:
    """Show one site: settings, what Porter can do there, who is there."""
    found = app.api.site(name)
    settings = [f"{key}={value}" for key, value in sorted(found["settings"].items())]
    rows = [
        ("site", found["name"]),
        ("kind", found["kind"]),
        ("region", found["region"]),
        ("settings", "\n".join(settings)),
        ("credentials", found["credentials"]),
        ("Porter can", ", ".join(found["can"])),
        ("hosts", ", ".join(found["hosts"])),
        ("workloads", ", ".join(found["workloads"])),
        ("missing rights", ", ".join(found["missing"])),
    ]
    app.show(found, show.pairs(rows))


@site.command()
@click.argument("name")
@click.pass_obj
def verify(app: App, name: str) -> int:
    """Check a site's credentials and rights one by one."""
    found = app.api.verify_site(name)

    def row(right: dict[str, Any]) -> list[Any]:
        mark, style = _MARKS[right["granted"]]
        remedy = "" if right["granted"] else right["remedy"]
        return [Text(mark, style=style), right["name"], right["purpose"], remedy]

    columns = ("", "RIGHT", "FOR", "REMEDY")
    app.show(found, show.table(columns, map(row, found), f"{name} needs no rights."))
    return BAD_INPUT if any(right["granted"] is False for right in found) else OK


@site.command()
@click.argument("name")
@click.option("--remove", is_flag=True, help="Remove what nobody knows of.")
@click.pass_obj
def sweep(app: App, name: str, remove: bool) -> None:
    """Find everything at a site with Porter's tags, and explain what nobody knows of."""
    found = app.api.sweep_site(name, remove)
    rows = [[one["verdict"], one["kind"], one["id"], one["explanation"]] for one in found]
    columns = ("VERDICT", "KIND", "ID", "EXPLANATION")
    app.show(found, show.table(columns, rows, f"Nothing of Porter's is at {name}."))


@site.command()
@click.argument("name")
@click.pass_obj
def rm(app: App, name: str) -> None:
    """Forget a site and its credentials."""
    app.api.remove_site(name)
    app.show({"removed": name}, f"{name} is removed")
