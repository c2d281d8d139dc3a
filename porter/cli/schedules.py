"""`porter schedule`: when the optimiser is asked by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click

from porter.cli import show
from porter.cli.app import App, PorterGroup
from porter.domain.scheduling import HORIZON_DAYS
from porter.domain.units import clock, span


@click.group(cls=PorterGroup)
def schedule() -> None:
    """When the optimiser is asked by itself, and what becomes of its answers."""


@schedule.command()
@click.argument("name")
@click.option("--cron", required=True, help="Five fields: minute, hour, day, month, week day.")
@click.option("--zone", default="UTC", show_default=True, help="Like Europe/Berlin.")
@click.option("--project", help="Only workloads of this project.  [default: all]")
@click.option("--workload", "patterns", multiple=True, help="Only those whose names match.")
@click.option(
    "--days", type=click.FloatRange(min=0.05, max=366), default=HORIZON_DAYS, show_default=True
)
@click.option("--most-moves", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--currency", help="In which to reckon, like EUR.")
@click.option("--dry-run", is_flag=True, help="Only say what would be proposed.")
@click.option(
    "--auto",
    type=click.Choice(["propose", "execute"]),
    default="propose",
    show_default=True,
    help="execute: carry out what needs nobody's approval.",
)
@click.option("--grace", type=click.FloatRange(60, 604800), default=3600, show_default=True)
@click.option("--price-change", type=click.FloatRange(0.1, 1000), metavar="PERCENT")
@click.option("--interruption", is_flag=True, help="Run when a machine is to be taken away.")
@click.pass_obj
def add(
    app: App,
    name: str,
    cron: str,
    zone: str,
    project: str | None,
    patterns: Sequence[str],
    days: float,
    currency: str | None,
    price_change: float | None,
    **plain: Any,
) -> None:
    """Add the schedule NAME, or replace it."""
    body: dict[str, Any] = {"cron": cron, "zone": zone, "horizon": days * 86400, **plain}
    body |= {"project": project} if project else {}
    body |= {"workloads": list(patterns)} if patterns else {}
    body |= {"currency": currency} if currency else {}
    body |= {"price_change": price_change} if price_change else {}
    kept = app.api.call("PUT", _path(name), body)
    app.show(kept, f"{name} runs next at {clock(kept['next_at'])}")


@schedule.command("ls")
@click.pass_obj
def list_schedules(app: App) -> None:
    """List schedules of your projects."""
    found = app.api.pages("/v1/schedules")
    rows = [
        [
            one["name"],
            one["project"] or "all",
            f"{one['cron']} {one['zone']}",
            one["spec"]["auto"] + (", dry run" if one["spec"]["dry_run"] else ""),
            clock(one["next_at"]),
        ]
        for one in found
    ]
    columns = ("SCHEDULE", "PROJECT", "WHEN", "THEN", "NEXT")
    app.show(found, show.table(columns, rows, "No schedules: the optimiser is asked by hand."))


@schedule.command("show")
@click.argument("name")
@click.pass_obj
def show_schedule(app: App, name: str) -> None:
    """Show a schedule."""
    found = app.api.call("GET", _path(name))
    spec = found["spec"]
    change = spec["price_change"]
    rows = [
        ("schedule", found["name"]),
        ("project", found["project"] or "all"),
        ("workloads", ", ".join(spec["workloads"])),
        ("when", f"{found['cron']} {found['zone']}"),
        ("next", clock(found["next_at"])),
        ("also", f"when a price changes by more than {change} %" if change else ""),
        ("and", "when a machine is to be taken away" if spec["interruption"] else ""),
        ("then", spec["auto"]),
        ("dry run", "yes" if spec["dry_run"] else ""),
        ("looks ahead", span(spec["horizon_s"])),
        ("moves at most", spec["most_moves"]),
        ("grace", span(spec["grace"])),
        ("changed", f"{clock(found['updated_at'])} by {found['updated_by']}"),
    ]
    app.show(found, show.pairs([row for row in rows if row[1]]))


@schedule.command("rm")
@click.argument("name")
@click.pass_obj
def remove(app: App, name: str) -> None:
    """Remove a schedule. What its runs proposed stays."""
    app.api.text(_path(name), "DELETE")
    app.show({"removed": name}, f"{name} is removed")


def _path(name: str) -> str:
    return f"/v1/schedules/{quote(name, safe='')}"
