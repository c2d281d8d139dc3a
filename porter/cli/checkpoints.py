"""`porter checkpoint`: the state of a workload, kept in a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import click
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TransferSpeedColumn,
)

from porter.cli import show
from porter.cli.app import FAILED, INTERRUPTED, OK, App, PorterGroup, interactive
from porter.cli.client import Unreachable
from porter.domain.errors import NotFound
from porter.domain.units import bytes_, clock, duration

_LOOK_S = 0.25
_PATIENCE_S = 120.0
"""How long the control plane may be out of reach while we watch."""
_STYLES = {"ready": "green", "failed": "red", "creating": "cyan", "restoring": "cyan"}


@click.group(cls=PorterGroup)
def checkpoint() -> None:
    """Checkpoints that are kept: encrypted, in a store. An ID may be shortened while unique."""


@checkpoint.command()
@click.argument("workload")
@click.option("--store", help="Where to; the first store unless named.")
@click.option(
    "--for",
    "readers",
    multiple=True,
    metavar="HOST",
    help="A host that may read it, beside its own; all living ones unless named.",
)
@click.option("--detach", is_flag=True, help="Begin it and return.")
@click.pass_obj
def create(app: App, workload: str, store: str | None, readers: Sequence[str], detach: bool) -> int:
    """Take a checkpoint of a running WORKLOAD, which goes on running."""
    body: dict[str, Any] = {"workload": workload, "readers": list(readers)}
    made = app.api.create_checkpoint(body | ({"store": store} if store else {}))
    if detach:
        app.show(made, f"{made['id']} is under way; 'porter checkpoint show {made['id']}' tells")
        return OK
    return _follow(app, made, "creating")


@checkpoint.command("ls")
@click.pass_obj
def list_checkpoints(app: App) -> None:
    """List checkpoints, newest first."""
    found = app.api.checkpoints()
    rows = [
        [
            *(one["id"], one["workload"], one["host"], one["store"], _state(one)),
            *(clock(one["taken_at"]), _bytes(one["size_bytes"]), _bytes(one["stored_bytes"])),
        ]
        for one in found
    ]
    columns = ("CHECKPOINT", "WORKLOAD", "FROM", "STORE", "STATE", "TAKEN", "PLAIN", "STORED")
    app.show(found, show.table(columns, rows, "No checkpoints yet."))


@checkpoint.command("show")
@click.argument("identity", metavar="ID")
@click.pass_obj
def show_checkpoint(app: App, identity: str) -> None:
    """Show one checkpoint."""
    found = app.api.checkpoint(identity)
    app.show(found, show.pairs(_pairs(found)))


@checkpoint.command()
@click.argument("identity", metavar="ID")
@click.option("--to", "target", required=True, metavar="HOST|SITE", help="Where to.")
@click.option("--detach", is_flag=True, help="Begin it and return.")
@click.pass_obj
def restore(app: App, identity: str, target: str, detach: bool) -> int:
    """Restore a workload that runs nowhere: as it was at that moment, with its address."""
    begun = app.api.restore_checkpoint(identity, target)
    if detach:
        app.show(begun, f"{begun['id']} is being restored on {begun['task']['to']}")
        return OK
    return _follow(app, begun, "restoring")


@checkpoint.command()
@click.argument("identity", metavar="ID")
@click.option("--detach", is_flag=True, help="Begin it and return.")
@click.pass_obj
def rm(app: App, identity: str, detach: bool) -> int:
    """Remove a checkpoint from its store."""
    begun = app.api.remove_checkpoint(identity)
    if not detach:
        try:
            return _follow(app, begun, "removing", quiet=True)
        except NotFound:
            pass  # it is gone, which is what was asked for
    app.show({"removed": begun["id"]}, f"{begun['id']} is removed")
    return OK


def _follow(app: App, begun: dict[str, Any], state: str, quiet: bool = False) -> int:
    """Look until it is no longer in the state; then show it."""
    bar = _bar(app)
    try:
        with bar or nullcontext():
            found = _until(app, begun, state, _drawing(bar, begun) if bar else lambda _: None)
    except KeyboardInterrupt:
        click.echo(
            f"porter: you stopped watching; it goes on. 'porter checkpoint show {begun['id']}' "
            "tells how far it is.",
            err=True,
        )
        return INTERRUPTED
    if not quiet:
        app.show(found, show.pairs(_pairs(found)))
    return OK if found["task"]["outcome"] == "succeeded" else FAILED


def _until(
    app: App, begun: dict[str, Any], state: str, look: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    found, lost_since = begun, None
    said = ""
    while found["state"] == state:
        time.sleep(_LOOK_S)
        try:
            found = app.api.checkpoint(begun["id"])
        except Unreachable:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > _PATIENCE_S:
                raise
            continue
        lost_since = None
        look(found)
        if found["reason"] and found["reason"] != said and found["state"] == state:
            said = found["reason"]
            click.echo(f"porter: {said}", err=True)
    return found


def _bar(app: App) -> Progress | None:
    """A progress bar for a person who waits; nothing in a pipe or with --json."""
    if app.json or not interactive():
        return None
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    return Progress(*columns, TransferSpeedColumn(), console=app.console, transient=True)


def _drawing(bar: Progress, begun: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    task = bar.add_task(begun["workload"], total=None)

    def draw(found: dict[str, Any]) -> None:
        news = found["progress"] or {}
        total = news.get("total") or None
        words = f"{begun['workload']}: {news.get('phase') or 'waiting'}"
        done = min(news.get("done") or 0, total or 0)
        bar.update(task, description=words, total=total, completed=done)

    return draw


def _bytes(value: int | None) -> str:
    return "" if value is None else bytes_(value)


def _state(found: dict[str, Any]) -> Any:
    picture = show.state(found["state"])
    picture.stylize(_STYLES.get(found["state"], ""))
    return picture


def _pairs(found: dict[str, Any]) -> list[tuple[str, Any]]:
    task = found["task"]
    last = " ".join(word for word in (task["kind"], task["outcome"], task["to"] or "") if word)
    return [
        ("checkpoint", found["id"]),
        ("workload", found["workload"]),
        ("state", _state(found)),
        ("taken on", found["host"]),
        ("taken at", clock(found["taken_at"])),
        ("downtime", duration(found["downtime_ms"]) if found["downtime_ms"] is not None else ""),
        ("store", found["store"]),
        ("memory", _bytes(found["memory_bytes"])),
        ("files", _bytes(found["file_bytes"])),
        ("plain", _bytes(found["size_bytes"])),
        ("stored", _bytes(found["stored_bytes"])),
        ("image", found["image"]),
        ("address", found["address"]),
        ("readers", ", ".join(found["readers"])),
        ("last", last),
        ("reason", found["reason"] or task["reason"]),
    ]
