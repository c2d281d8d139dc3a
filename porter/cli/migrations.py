"""`porter migrate` and `porter migration`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Group, RenderableType
from rich.text import Text

from porter.cli import show
from porter.cli.app import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    OK,
    UNDER_WAY,
    App,
    PorterCommand,
    PorterGroup,
)
from porter.cli.watch import Interrupted, TimeUp, watch_migration
from porter.domain.migration import FINAL, Mode

Function = TypeVar("Function", bound=Callable[..., Any])
WITHOUT_END = "without end"


class Seconds(click.ParamType[float | None]):
    """How long to wait; without a value until the end."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        if value == WITHOUT_END:
            return None
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        if not 0 <= seconds < math.inf:
            self.fail(f"{value!r} is no time to wait: give 0 or more seconds", param, ctx)
        return seconds


def waiting(command: Function) -> Function:
    return click.option(
        "--wait",
        type=Seconds(),
        is_flag=False,
        flag_value=WITHOUT_END,
        metavar="[SECONDS]",
        help="Wait no longer than that; then exit 3, and the move goes on.  [default: to its end]",
    )(command)


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
@click.option(
    "--provision",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Make a machine at the site; auto does where it has no host.",
)
@click.option("--max-price", metavar="AMOUNT", help="Most that such a machine may cost an hour.")
@click.option("--release", is_flag=True, help="Remove the machine left, if Porter made it.")
@click.option("--via", metavar="STORE", help="Have the hosts talk through this store.")
@click.option("--dry-run", is_flag=True, help="Only say whether it could move, or why not.")
@click.option("--detach", is_flag=True, help="Start it and return; watch it later.")
@waiting
@click.pass_obj
def migrate(
    app: App,
    name: str,
    target: str,
    mode: str,
    provision: str,
    max_price: str | None,
    release: bool,
    via: str | None,
    dry_run: bool,
    detach: bool,
    wait: float | None,
) -> int:
    """Move the workload NAME to another host or site, and wait for the receipt."""
    if detach and wait is not None:
        raise click.UsageError("give --detach or --wait, not both.")
    if dry_run:
        return _preflight(app, name, target, mode)
    more: dict[str, Any] = {} if provision == "auto" else {"provision": provision}
    more |= {"max_price": max_price} if max_price else {}
    more |= {"release": True} if release else {}
    more |= {"via": via} if via else {}
    started = app.api.migrate(name, target, mode, **more)
    if detach:
        identity = started["id"]
        app.show(started, f"{identity} is under way; 'porter migration watch {identity}' shows it")
        return OK
    return follow(app, str(started["id"]), leave_held=True, wait=wait)


def _preflight(app: App, name: str, target: str, mode: str) -> int:
    answer = app.api.preflight(name, target, mode)
    found = answer.get("blockers") or []
    if found:
        headline = Text(f"{name} cannot move to {target}:", style="bold")
        app.show(answer, Group(headline, show.blockers(found)))
        return BAD_INPUT
    headline = Text(f"✓ nothing stands in the way of moving {name} to {target}", "green")
    offers = answer.get("offers") or []
    parts: list[RenderableType] = [headline, *([show.offers(offers)] if offers else ())]
    if told := show.forecast(answer.get("forecast")):
        parts += [Text("It is expected to come to:", style="dim"), show.pairs(told)]
    app.show(answer, Group(*parts))
    return OK


def follow(app: App, identity: str, *, leave_held: bool = False, wait: float | None = None) -> int:
    """Watch a migration and print its receipt; returns the exit code. After `wait` seconds it is
    shown as it is then."""
    try:
        receipt = watch_migration(app, identity, leave_held=leave_held, wait=wait)
    except TimeUp:
        found = app.api.migration(identity)
        if found.get("state") not in FINAL:
            return _still(app, found, wait or 0.0)
        receipt = app.api.receipt(identity)
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


def _still(app: App, found: dict[str, Any], seconds: float) -> int:
    identity = found.get("id")
    app.show(found, _unfinished(found))
    click.echo(
        f"porter: it is still under way after {seconds:g} s and goes on. "
        f"'porter migration watch {identity}' shows it, "
        f"'porter migration cancel {identity}' cancels it.",
        err=True,
    )
    return UNDER_WAY


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
    rows += [(f"expected {name}", told) for name, told in show.forecast(found.get("forecast"))]
    steps = found.get("steps") or []
    done = [[s.get("kind"), s.get("state"), s.get("attempt"), s.get("error")] for s in steps]
    return Group(
        show.pairs(rows),
        show.table(("STEP", "STATE", "ATTEMPT", "ERROR"), done, "No step has begun."),
    )


@migration.command()
@click.argument("identity", metavar="ID")
@waiting
@click.pass_obj
def watch(app: App, identity: str, wait: float | None) -> int:
    """Follow a migration to its end and print the receipt."""
    return follow(app, str(app.api.find_migration(identity)["id"]), wait=wait)


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
    undoing = app.api.rollback(str(found["id"]))
    if undoing["id"] == found["id"]:
        return OK if detach else _watch_undo(app, str(found["id"]))
    if detach:
        what = f"moves {undoing['workload']} back to {undoing['to']}"
        app.show(undoing, f"{undoing['id']} {what}")
        return OK
    return follow(app, str(undoing["id"]), leave_held=True)


@migration.command()
@click.argument("identity", metavar="ID")
@click.option(
    "--run-on",
    type=click.Choice(["source", "target"]),
    required=True,
    help="Whose copy runs; the other one's is given up.",
)
@click.option("--reason", required=True, help="Why; the receipt keeps it with your name.")
@click.option("--fence", is_flag=True, help="Have Porter power the target's machine off.")
@click.option(
    "--i-powered-it-off",
    "fenced",
    is_flag=True,
    help="You did, and answer for it that it stays off until this is over.",
)
@click.option("--detach", is_flag=True, help="Only decide; watch it later.")
@click.pass_obj
def resolve(
    app: App, identity: str, run_on: str, reason: str, fence: bool, fenced: bool, detach: bool
) -> int:
    """Decide how a held migration ends.

    To run it on the source it must be sure that the target does not and never will.
    """
    found = str(app.api.find_migration(identity)["id"])
    proof = {"fence": True} if fence else {}
    proof |= {"fenced": True} if fenced else {}
    answer = app.api.resolve(found, run_on, reason, **proof)
    click.echo(f"porter: {answer.get('gives_up', '')}", err=True)
    if detach:
        app.show(answer, f"{found} will run on the {run_on}")
        return OK
    return follow(app, found) if run_on == "target" else _watch_undo(app, found)


def _watch_undo(app: App, identity: str) -> int:
    """As `follow`, but here rolled back is what was wanted."""
    code = follow(app, identity)
    state = app.api.migration(identity).get("state") if code == FAILED else None
    return OK if state == "rolled_back" else code
