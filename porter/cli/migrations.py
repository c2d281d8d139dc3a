"""`porter migrate` and `porter migration`."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Group
from rich.text import Text

from porter.cli import show
from porter.cli.app import BAD_INPUT, FAILED, INTERRUPTED, OK, App, PorterCommand, PorterGroup
from porter.cli.watch import Interrupted, watch_migration
from porter.domain.errors import Conflict
from porter.domain.migration import FINAL, Mode


@click.command(cls=PorterCommand)
@click.argument("name")
@click.option("--to", "target", required=True, metavar="HOST|SITE", help="Where to.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.AUTO.value,
    show_default=True,
    help="How; auto picks the best that both hosts can do.",
)
@click.option("--dry-run", is_flag=True, help="Only say whether it could move, or why not.")
@click.option("--detach", is_flag=True, help="Start it and return; watch it later.")
@click.pass_obj
def migrate(app: App, name: str, target: str, mode: str, dry_run: bool, detach: bool) -> int:
    """Move the workload NAME to another host or site, and wait for the receipt."""
    if dry_run:
        return _preflight(app, name, target, mode)
    started = app.api.migrate(name, target, mode)
    if detach:
        identity = started["id"]
        app.show(started, f"{identity} is under way; 'porter migration watch {identity}' shows it")
        return OK
    return _watch(app, str(started["id"]), leave_held=True)


def _preflight(app: App, name: str, target: str, mode: str) -> int:
    answer = app.api.preflight(name, target, mode)
    found = answer.get("blockers") or []
    if found:
        headline = Text(f"{name} cannot move to {target}:", style="bold")
        app.show(answer, Group(headline, show.blockers(found)))
        return BAD_INPUT
    app.show(answer, Text(f"✓ nothing stands in the way of moving {name} to {target}", "green"))
    return OK


def _watch(app: App, identity: str, *, leave_held: bool = False) -> int:
    try:
        receipt = watch_migration(app, identity, leave_held=leave_held)
    except Interrupted:
        click.echo(
            f"porter: you stopped watching; the migration goes on. "
            f"'porter migration watch {identity}' shows it, "
            f"'porter migration cancel {identity}' cancels it.",
            err=True,
        )
        return INTERRUPTED
    app.show(receipt, show.receipt(receipt))
    return OK if receipt.get("state") == "succeeded" else FAILED


@click.group(cls=PorterGroup)
def migration() -> None:
    """Moves, past and present. An ID may be shortened as long as it is unique."""


@migration.command("ls")
@click.pass_obj
def list_migrations(app: App) -> None:
    """List migrations, newest first."""
    found = app.api.migrations()
    app.show(found, show.migrations(found))


@migration.command("show")
@click.argument("identity", metavar="ID")
@click.pass_obj
def show_migration(app: App, identity: str) -> None:
    """Show one migration: its steps, or its receipt once it is over."""
    found = app.api.find_migration(identity)
    if found.get("state") in FINAL:
        receipt = app.api.receipt(str(found["id"]))
        app.show(receipt, show.receipt(receipt))
    else:
        app.show(found, _unfinished(found))


def _unfinished(found: dict[str, Any]) -> Group:
    rows = [
        ("migration", found.get("id")),
        ("workload", found.get("workload")),
        ("move", f"{found.get('from')} → {found.get('to')}"),
        ("mode", found.get("mode")),
        ("state", show.state(str(found.get("state")))),
        ("reason", found.get("reason")),
    ]
    steps = found.get("steps") or []
    done = [[s.get("kind"), s.get("state"), s.get("attempt"), s.get("error")] for s in steps]
    return Group(
        show.pairs(rows),
        show.table(("STEP", "STATE", "ATTEMPT", "ERROR"), done, "No step has begun."),
    )


@migration.command()
@click.argument("identity", metavar="ID")
@click.pass_obj
def watch(app: App, identity: str) -> int:
    """Follow a migration to its end and print the receipt."""
    return _watch(app, str(app.api.find_migration(identity)["id"]))


@migration.command()
@click.argument("identity", metavar="ID")
@click.pass_obj
def cancel(app: App, identity: str) -> None:
    """Ask for a migration to be undone. Once handed over it can only go forward."""
    found = app.api.cancel(str(app.api.find_migration(identity)["id"]))
    app.show(found, f"{found.get('id', identity)} will be undone if it can be")


@migration.command()
@click.argument("identity", metavar="ID")
@click.option("--detach", is_flag=True, help="Start it and return; watch it later.")
@click.pass_obj
def rollback(app: App, identity: str, detach: bool) -> int:
    """Undo a migration: cancel one that runs, move back one that succeeded."""
    found = app.api.find_migration(identity)
    if found.get("state") not in FINAL:
        app.api.cancel(str(found["id"]))
        return OK if detach else _watch_undo(app, str(found["id"]))
    if found.get("state") != "succeeded":
        raise Conflict(
            f"cannot roll back {found['id']}: it did not move anything",
            "'porter workload ls' shows where the workload is",
        )
    where = app.api.workload(str(found["workload"])).get("host")
    if where != found.get("to"):
        raise Conflict(
            f"cannot roll back {found['id']}: {found['workload']} is on {where} by now",
            f"move it with 'porter migrate {found['workload']} --to {found['from']}'",
        )
    back = app.api.migrate(str(found["workload"]), str(found["from"]), str(found["mode"]))
    if detach:
        app.show(back, f"{back['id']} moves {found['workload']} back to {found['from']}")
        return OK
    return _watch(app, str(back["id"]), leave_held=True)


def _watch_undo(app: App, identity: str) -> int:
    """As `_watch`, but here rolled back is what was wanted."""
    code = _watch(app, identity)
    state = app.api.migration(identity).get("state") if code == FAILED else None
    return OK if state == "rolled_back" else code
