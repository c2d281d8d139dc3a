"""`porter forecast`: how good the forecasts of moves were."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from porter.cli import show
from porter.cli.app import App, PorterCommand


@click.command(cls=PorterCommand)
@click.option("--workload", help="Only of its moves.")
@click.option("--limit", type=click.IntRange(1, 5000), default=1000, show_default=True)
@click.pass_obj
def forecast(app: App, workload: str | None, limit: int) -> None:
    """Say how good the forecasts of past moves were.

    A forecast of one move is in `porter migrate --dry-run`, and with the figures in its receipt.
    """
    asked: dict[str, Any] = {"limit": limit} | ({"workload": workload} if workload else {})
    found = app.api.call("GET", f"/v1/forecasts/accuracy?{urlencode(asked)}")
    app.show(found, show.accuracy(found))
