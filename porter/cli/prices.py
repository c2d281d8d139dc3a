"""`porter price`: what machines cost, and what a workload costs here and elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from porter.cli import show
from porter.cli.app import App, PorterGroup
from porter.domain.units import bytes_

TERMS = ("on_demand", "spot", "reserved-1y", "reserved-3y", "own")


@click.group(cls=PorterGroup)
def price() -> None:
    """What machines and traffic cost, who says so, and as of when."""


@price.command("show")
@click.option("--site", help="Only this site.")
@click.option("--type", "types", multiple=True, help="Only this type, or host; may be repeated.")
@click.option("--terms", type=click.Choice(TERMS), default="on_demand", show_default=True)
@click.pass_obj
def show_prices(app: App, site: str | None, types: tuple[str, ...], terms: str) -> None:
    """Show prices an hour."""
    query = [("terms", terms), *(("type", one) for one in types)]
    found = app.api.prices([*query, ("site", site)] if site else query)
    app.show(found, prices(found))


@price.command()
@click.argument("name")
@click.option("--terms", type=click.Choice(TERMS), default="on_demand", show_default=True)
@click.option("--cpus", type=click.IntRange(min=1), default=1, help="The least that would do.")
@click.option(
    "--bytes", "size", type=click.IntRange(min=0), help="To send; its memory if left out."
)
@click.pass_obj
def compare(app: App, name: str, terms: str, cpus: int, size: int | None) -> None:
    """Compare what a workload costs here and at every site, by the month."""
    query = [("terms", terms), ("cpus", str(cpus))]
    if size is not None:
        query.append(("bytes", str(size)))
    found = app.api.workload_prices(name, query)
    app.show(found, comparison(found))


def prices(found: Iterable[dict[str, Any]]) -> RenderableType:
    rows = [
        [
            one["site"],
            one["item"],
            _amount(one["amount"]),
            one["currency"],
            one["unit"],
            one["terms"],
            str(one["as_of"])[:10],
            one["source"],
        ]
        for one in found
    ]
    columns = ("SITE", "TYPE", "AMOUNT", "CURRENCY", "UNIT", "TERMS", "AS OF", "SOURCE")
    return show.table(columns, rows, "No prices: no site has machines that could be priced.")


def comparison(found: dict[str, Any]) -> RenderableType:
    here = found["here"]
    head = Text(
        f"{found['workload']} on {found['host']} at {found['site']}: "
        f"{bytes_(found['memory_bytes'])} of memory, needs a machine with "
        f"{bytes_(found['needs_bytes'])}\n"
    )
    known = here["amount"] is not None
    now = f"{found['monthly']} {here['currency']} a month" if known else "price unknown"
    head.append(f"now: {here['item']}, {now} ({here['source']})\n")
    rows = [_row(choice) for choice in found["choices"]]
    columns = ("SITE", "TYPE", "CPUS", "MEMORY", "A MONTH", "MOVING ONCE", "AS OF", "SOURCE")
    table = show.table(columns, rows, "No site has a machine that would do.")
    problems = [Text(f"{one['site']}: {one['reason']}") for one in found["problems"]]
    return Group(head, table, *problems)


def _row(choice: dict[str, Any]) -> list[Any]:
    told, moving = choice["quote"], choice["moving"]
    monthly = choice["monthly"] and f"{choice['monthly']} {told['currency']}"
    once = moving["amount"] and f"{moving['amount']} {moving['currency']}".strip()
    return [
        told["site"],
        told["item"],
        choice["cpus"],
        bytes_(choice["memory_bytes"]),
        _amount(monthly),
        _amount(once),
        str(told["as_of"])[:10],
        told["source"],
    ]


def _amount(text: str | None) -> Any:
    return Text("unknown", style="yellow") if text is None else text
