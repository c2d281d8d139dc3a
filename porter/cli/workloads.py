"""`porter workload`."""

from __future__ import annotations

from typing import Any

import click

from porter.cli import show
from porter.cli.app import App, PorterGroup
from porter.domain.units import bytes_


@click.group(cls=PorterGroup)
def workload() -> None:
    """Containers under Porter's care: those labelled porter.enable=true."""


@workload.command("ls")
@click.pass_obj
def list_workloads(app: App) -> None:
    """List the workloads and where each one is."""
    found = app.api.workloads()
    app.show(found, show.workloads(found))


@workload.command("show")
@click.argument("name")
@click.pass_obj
def show_workload(app: App, name: str) -> None:
    """Show one workload."""
    found = app.api.workload(name)
    app.show(found, show.pairs(_rows(found)))


@workload.command()
@click.argument("name")
@click.argument("declared", metavar="ENDPOINT...", nargs=-1)
@click.option("--none", "clear", is_flag=True, help="Declare none any more.")
@click.pass_obj
def endpoints(app: App, name: str, declared: tuple[str, ...], clear: bool) -> None:
    """Declare what the outside calls a workload by; it follows every move.

    An ENDPOINT is dns=NAME@SITE, lb=TARGETS:PORT@SITE or ip=ADDRESS@SITE. Those of the container's
    label porter.endpoint hold too. Without any, show them.
    """
    if declared or clear:
        found = app.api.declare(name, list(declared))
    else:
        found = app.api.workload(name)
    app.show(found, "\n".join(found["endpoints"]) or f"{name} has no endpoints")


def _rows(found: dict[str, Any]) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in found.items():
        name = key.removesuffix("_bytes").replace("_", " ")
        if key.endswith("_bytes"):
            rows.append((name, bytes_(value)))
        elif isinstance(value, dict):
            rows.append((name, show.pairs((str(k), v) for k, v in value.items())))
        elif isinstance(value, list):
            rows.append((name, ", ".join(map(str, value))))
        else:
            rows.append((name, value))
    return rows
