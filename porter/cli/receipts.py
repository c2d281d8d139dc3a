"""`porter receipt`: signed receipts, and their proof without any control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from porter.cli import show
from porter.cli.app import App, PorterGroup
from porter.domain.errors import Invalid, Permanent
from porter.signing import read_keys
from porter.signing import verify as proven

File = click.Path(exists=True, dir_okay=False, path_type=Path)
Out = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=PorterGroup)
def receipt() -> None:
    """Receipts signed by the control plane, which anybody can check."""


@receipt.command()
@click.argument("identity", metavar="ID")
@click.option("-o", "--output", type=Out, help="Write it there instead of to stdout.")
@click.pass_obj
def get(app: App, identity: str, output: Path | None) -> None:
    """Get the signed receipt of a migration that has ended."""
    found = str(app.api.find_migration(identity)["id"])
    signed = app.api.text(f"/v1/migrations/{found}/receipt.jws")
    _give(app, {"receipt": signed}, signed, output)


@receipt.command()
@click.option("-o", "--output", type=Out, help="Write them there instead of to stdout.")
@click.pass_obj
def keys(app: App, output: Path | None) -> None:
    """Get the public keys with which receipts are checked."""
    text = app.api.text("/v1/keys")
    _give(app, app.api.call("GET", "/v1/keys"), text, output)


def _give(app: App, document: dict[str, Any], text: str, output: Path | None) -> None:
    if output is None:
        app.show(document, None)
        if not app.json:
            click.echo(text)
        return
    try:
        output.write_text(f"{text}\n")
    except OSError as error:
        raise Invalid(f"cannot write {output}: {error.strerror}", "name another file") from error
    app.show({"written": str(output)}, f"written to {output}")


@receipt.command()
@click.argument("file", type=File)
@click.option("--key", "jwks", type=File, required=True, help="Public keys: porter receipt keys.")
@click.pass_obj
def verify(app: App, file: Path, jwks: Path) -> None:
    """Check that FILE is a receipt which the keys' owner signed, and print it.

    Asks nobody. The exit code is 1 if it was forged, changed, cut off, or signed by another key.
    """
    try:
        signed, trusted = file.read_text(), jwks.read_text()
    except UnicodeDecodeError as error:
        raise Permanent("cannot trust this receipt: the file is no text") from error
    found = proven(signed, read_keys(trusted))
    approved = f", plan {found['plan']}" if found.get("plan") else ""
    headline = (
        f"✓ signed: {found.get('workload')} moved from {found.get('from')} to {found.get('to')}, "
        f"{found.get('state')}, {found.get('finished_at')}; "
        f"asked for by {found.get('requested_by') or 'unknown'}{approved}"
    )
    app.show(found, headline)
    if not app.json:
        app.console.print(show.receipt(found))
