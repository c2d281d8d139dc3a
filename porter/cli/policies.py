"""`porter policy`: what moves must keep to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from rich.console import Group, RenderableType
from rich.text import Text

from porter.cli import show
from porter.cli.app import BAD_INPUT, OK, App, PorterGroup, print_json
from porter.cli.client import Unreachable
from porter.domain.policy import Policy, moment
from porter.domain.units import clock
from porter.domain.windows import is_open, next_open
from porter.protocol.policies import parse, project_of, schema

File = click.Path(exists=True, dir_okay=False, path_type=Path)
STYLES = {"allowed": "green", "needs_approval": "yellow", "refused": "red"}


@click.group(cls=PorterGroup)
def policy() -> None:
    """What moves must keep to: approvals, change windows, sites, traffic, prices."""


@policy.command("ls")
@click.pass_obj
def list_policies(app: App) -> None:
    """List policies that hold in your projects."""
    found = app.api.pages("/v1/policies")
    rows = [
        [
            one["name"],
            one["project"],
            one["version"],
            ", ".join(one["demands"]),
            clock(one["updated_at"]),
        ]
        for one in found
    ]
    columns = ("POLICY", "PROJECT", "VERSION", "DEMANDS", "CHANGED")
    app.show(found, show.table(columns, rows, "No policies yet: every move is allowed."))


@policy.command("show")
@click.argument("name")
@click.pass_obj
def show_policy(app: App, name: str) -> None:
    """Print a policy's document as it was written."""
    found = app.api.call("GET", _path(name))
    app.show(found, Text(str(found["document"]).rstrip()))


@policy.command()
@click.argument("file", type=File)
@click.pass_obj
def apply(app: App, file: Path) -> None:
    """Add the policy in FILE, or replace the one of its name."""
    document = file.read_text()
    read = parse(document)
    kept = app.api.call("PUT", _path(read.name), {"document": document})
    where = project_of(read)
    app.show(kept, f"{read.name} holds in {where}, version {kept['version']}")


@policy.command("rm")
@click.argument("name")
@click.pass_obj
def remove(app: App, name: str) -> None:
    """Remove a policy. Plans that rest on it lapse."""
    app.api.text(_path(name), "DELETE")
    app.show({"removed": name}, f"{name} is removed")


@policy.command("schema")
@click.pass_obj
def show_schema(app: App) -> None:
    """Print the JSON Schema of policy documents, for editors. Asks nobody."""
    print_json(schema())


@policy.command()
@click.argument("file", type=File)
@click.option("--workload", help="Judge a move of this workload …")
@click.option("--to", "target", metavar="HOST|SITE", help="… to here.")
@click.option("--at", metavar="TIME", help="As if it were then: 2026-03-29T02:00+01:00.")
@click.pass_obj
def test(app: App, file: Path, workload: str | None, target: str | None, at: str | None) -> int:
    """Read the policy in FILE without keeping it, and say when its windows open and what it would
    demand of scheduled moves, workload by workload, beside the policies that are kept.

    With --workload and --to the control plane judges that move as if the policy were kept, beside
    those that are; the exit code is 0 only if the move would be allowed at once.
    """
    document = file.read_text()
    read = parse(document)
    if (workload is None) != (target is None):
        raise click.UsageError("--workload and --to go together.")
    if workload is None:
        return _look(app, read, document)
    body: dict[str, Any] = {"workload": workload, "to": target, "document": document}
    verdict = app.api.call("POST", "/v1/verdicts", body | ({"at": at} if at else {}))
    app.show(verdict, picture(verdict))
    return OK if verdict["outcome"] == "allowed" else BAD_INPUT


def _look(app: App, read: Policy, document: str) -> int:
    """What can be said of a policy without any move. Without a control plane less is said."""
    told = _opening(read)
    head = Text(f"{read.name} can be read; {told}")
    try:
        held = app.api.call("POST", "/v1/rules", {"document": document})["workloads"]
    except Unreachable as error:
        why = f"what it would demand of each workload is not known: {error.message}"
        app.show(
            {"name": read.name, "windows": told, "workloads": None, "reason": why},
            Group(head, Text(why, style="dim")),
        )
        return OK
    app.show({"name": read.name, "windows": told, "workloads": held}, Group(head, rules(held)))
    return OK


def rules(held: list[dict[str, Any]]) -> RenderableType:
    """What scheduled moves must keep to, each with the policy whose word it is."""
    rows = [
        [
            one["workload"],
            line["rule"],
            line["value"],
            line["policy"] or "no policy says otherwise",
        ]
        for one in held
        for line in one["rules"]
    ]
    lost = [
        Text(
            f"{one['workload']}: its label names what is no policy here: "
            f"{', '.join(one['missing'])}; nothing is scheduled for it",
            style="yellow",
        )
        for one in held
        if one["missing"]
    ]
    columns = ("WORKLOAD", "SCHEDULED MOVES", "MUST KEEP TO", "POLICY")
    return Group(show.table(columns, rows, "No workloads."), *lost)


def _opening(read: Policy) -> str:
    now = time.time()
    if not read.windows:
        return "it has no change windows"
    if is_open(read.windows, now):
        return "its change windows are open now"
    opens = next_open([read.windows], now)
    return "its windows open " + ("in no near future" if opens is None else moment(opens))


def picture(verdict: dict[str, Any]) -> RenderableType:
    """A verdict with every finding and what would change it."""
    outcome = str(verdict["outcome"])
    head = Text(outcome.replace("_", " "), style=STYLES.get(outcome, ""))
    lines = [
        Text(f"{one['policy']} ({one['rule']}): {one['why']}\n  → {one['remedy']}")
        for one in verdict["findings"]
    ]
    if verdict.get("opens_at"):
        lines.append(Text(f"the change windows open {clock(verdict['opens_at'])}"))
    return Group(head, *lines)


def _path(name: str) -> str:
    return f"/v1/policies/{quote(name, safe='')}"
