"""How a person decides on what was frozen beforehand, be it a plan or a proposal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from rich.console import RenderableType

from porter.cli.app import App


def approve(
    app: App,
    path: str,
    noun: str,
    picture: Callable[[dict[str, Any]], RenderableType],
    digest: str | None,
    reason: str,
) -> dict[str, Any]:
    """Approve what has this hash; without a hash it is shown, and the person asked."""
    if digest is None:
        found = app.api.call("GET", path)
        if not app.json:
            app.console.print(picture(found))
        click.confirm(f"Approve exactly this {noun}?", abort=True, err=True)
        digest = str(found["hash"])
    done: dict[str, Any] = app.api.call(
        "POST", f"{path}/approve", {"hash": digest, "reason": reason}
    )
    return done


def decline(app: App, path: str, identity: str, reason: str) -> None:
    done = app.api.call("POST", f"{path}/decline", {"reason": reason})
    app.show(done, f"{identity} is declined")
