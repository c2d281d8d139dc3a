"""`porter store`: where the layers of checkpoints lie."""

from __future__ import annotations

from collections.abc import Sequence

import click

from porter.cli import show
from porter.cli.app import App, PorterGroup
from porter.cli.sites import pair, read_secret


@click.group(cls=PorterGroup)
def store() -> None:
    """Object stores and directories for checkpoints, and for hosts that do not reach each other."""


@store.command("ls")
@click.pass_obj
def list_stores(app: App) -> None:
    """List stores; the first is used unless another is named."""
    found = app.api.stores()
    rows = [[one["name"], one["url"], one["credentials"]] for one in found]
    app.show(found, show.table(("STORE", "URL", "CREDENTIALS"), rows, "No stores yet."))


@store.command()
@click.argument("name")
@click.argument("url")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="KEY=FILE|-",
    help="A credential, read from a file or, with -, a line of stdin; stored encrypted.",
)
@click.pass_obj
def add(app: App, name: str, url: str, settings: Sequence[str], secrets: Sequence[str]) -> None:
    """Add a store.

    URL is s3://BUCKET/PREFIX, azure://CONTAINER/PREFIX, gs://BUCKET/PREFIX,
    swift://CONTAINER/PREFIX, or file:///DIRECTORY that all hosts have mounted.
    """
    body = {
        "name": name,
        "url": url,
        "settings": dict(pair(one) for one in settings),
        "secrets": {key: read_secret(where) for key, where in map(pair, secrets)},
    }
    made = app.api.add_store(body)
    app.show(made, f"{name} is added; 'porter store verify {name}' tries it out")


@store.command()
@click.argument("name")
@click.pass_obj
def verify(app: App, name: str) -> None:
    """Write, read, list and remove a small blob there."""
    app.api.verify_store(name)
    app.show({"verified": name}, f"✓ {name} works")


@store.command()
@click.argument("name")
@click.pass_obj
def rm(app: App, name: str) -> None:
    """Forget a store and its credentials, once no checkpoint is in it."""
    app.api.remove_store(name)
    app.show({"removed": name}, f"{name} is removed")
