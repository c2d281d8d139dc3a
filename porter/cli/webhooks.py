"""`porter webhook`: events sent to a URL of one's own, signed."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import click
from rich.console import RenderableType
from rich.text import Text

from porter.cli import show
from porter.cli.app import FAILED, OK, App, PorterGroup
from porter.domain.identity import DEFAULT_PROJECT
from porter.domain.units import clock
from porter.domain.webhook import DeliveryState

STYLES = {"delivered": "green", "failed": "red", "cancelled": "dim", "pending": "cyan"}
PATIENCE = 20.0
"""Seconds that `test` waits for what became of its event: a sweep, and an attempt."""
STEP = 0.2


@click.group(cls=PorterGroup)
def webhook() -> None:
    """Events sent to a URL of your own, signed as Standard Webhooks say."""


@webhook.command()
@click.argument("url")
@click.option(
    "--project",
    default=DEFAULT_PROJECT,
    show_default=True,
    help="Whose events; * for all and the fleet's.",
)
@click.option("--types", default="", help="How types begin: migration.,proposal.; without: all.")
@click.pass_obj
def add(app: App, url: str, project: str, types: str) -> None:
    """Send events to URL from now on. The secret is shown this once."""
    wanted = [one.strip() for one in types.split(",") if one.strip()]
    body = {"url": url, "project": project, "types": wanted}
    _tell_secret(app, app.api.call("POST", "/v1/webhooks", body))


@webhook.command("ls")
@click.pass_obj
def list_webhooks(app: App) -> None:
    """List the webhooks of your projects."""
    found = app.api.pages("/v1/webhooks")
    rows = [
        [one["id"], one["url"], one["project"], ", ".join(one["types"]) or "all", _state(one)]
        for one in found
    ]
    columns = ("WEBHOOK", "URL", "PROJECT", "TYPES", "STATE")
    app.show(found, show.table(columns, rows, "No webhooks; 'porter webhook add' makes one."))


@webhook.command("show")
@click.argument("identity", metavar="ID")
@click.pass_obj
def show_webhook(app: App, identity: str) -> None:
    """Show a webhook and how it does."""
    found = app.api.call("GET", _path(identity))
    app.show(found, _picture(found))


@webhook.command("rm")
@click.argument("identity", metavar="ID")
@click.pass_obj
def remove(app: App, identity: str) -> None:
    """Remove a webhook, with the log of its deliveries."""
    app.api.text(_path(identity), "DELETE")
    app.show({"removed": identity}, f"{identity} is removed")


@webhook.command()
@click.argument("identity", metavar="ID")
@click.pass_obj
def disable(app: App, identity: str) -> None:
    """Send it nothing more; what waits is cancelled."""
    done = app.api.call("POST", _path(identity, "disable"))
    app.show(done, f"{identity} is disabled")


@webhook.command()
@click.argument("identity", metavar="ID")
@click.pass_obj
def enable(app: App, identity: str) -> None:
    """Send it what happens from now on; 'replay' sends what it missed."""
    done = app.api.call("POST", _path(identity, "enable"))
    app.show(done, f"{identity} is enabled")


@webhook.command()
@click.argument("identity", metavar="ID")
@click.option("--state", type=click.Choice([str(one) for one in DeliveryState]))
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.pass_obj
def deliveries(app: App, identity: str, state: str | None, limit: int) -> None:
    """Show what it was sent in the last 30 days, newest events first."""
    query = {"state": state} if state else {}
    found = app.api.pages(_path(identity, "deliveries"), limit, query)
    rows = [
        [
            one["event"],
            one["type"],
            Text(one["state"], style=STYLES.get(one["state"], "")),
            one["attempts"],
            one["status"],
            clock(one["attempted_at"]),
            clock(one["next_at"]),
            one["error"],
        ]
        for one in found
    ]
    columns = ("EVENT", "TYPE", "STATE", "ATTEMPTS", "STATUS", "LAST", "NEXT", "ERROR")
    app.show(found, show.table(columns, rows, "Nothing was sent yet."))


@webhook.command()
@click.argument("identity", metavar="ID")
@click.option("--since", metavar="TIME", help="All events from then on: 2026-03-29T02:00:00Z.")
@click.option("--event", type=click.IntRange(min=1), help="The event of this number.")
@click.pass_obj
def replay(app: App, identity: str, since: str | None, event: int | None) -> None:
    """Send events again; without an option all that were given up or cancelled."""
    if since is not None and event is not None:
        raise click.UsageError("--since and --event exclude each other.")
    body = {"since": since} if since is not None else {"event": event} if event is not None else {}
    done = app.api.call("POST", _path(identity, "replay"), body)
    count = done["events"]
    app.show(done, f"{count} event{'' if count == 1 else 's'} will be sent again")


@webhook.command()
@click.argument("identity", metavar="ID")
@click.option("--now", is_flag=True, help="The old secret signs no more at once, not in 24 hours.")
@click.pass_obj
def rotate(app: App, identity: str, now: bool) -> None:
    """Make a new secret, shown this once. For 24 hours both sign."""
    _tell_secret(app, app.api.call("POST", _path(identity, "rotate"), {"grace": 0} if now else {}))


@webhook.command()
@click.argument("identity", metavar="ID")
@click.pass_obj
def test(app: App, identity: str) -> int:
    """Send it an event, and say what became of that. Exit code 0 only if it was delivered."""
    made = app.api.call("POST", _path(identity, "test"))
    until = time.monotonic() + PATIENCE
    with app.working("waiting for the receiver"):
        # Attempts are made one after the other: the first one that has ended tells.
        while not _told(made) and time.monotonic() < until:
            time.sleep(STEP)
            made = app.api.call("GET", _path(identity, "deliveries", str(made["event"])))
    done = made["state"] == DeliveryState.DELIVERED
    why = made["error"] or "no worker has tried it yet; 'porter webhook deliveries' tells more"
    app.show(made, "delivered" if done else Text(f"not delivered: {why}", style="red"))
    return OK if done else FAILED


def _told(made: dict[str, Any]) -> bool:
    return made["state"] != DeliveryState.PENDING or bool(made["error"])


def _tell_secret(app: App, made: dict[str, Any]) -> None:
    if app.json:
        app.show(made, None)
        return
    # Plain, so that SECRET=$(porter webhook add …) works; the rest is for people.
    click.echo(made["secret"])
    click.echo(f"{made['id']} to {made['url']}; keep its secret now.", err=True)


def _state(one: dict[str, Any]) -> Text:
    if one["disabled_at"]:
        return Text(f"disabled: {one['reason']}", style="red")
    if one["failures"]:
        return Text(f"failing since {clock(one['failing_since'])}", style="yellow")
    return Text("good", style="green")


def _picture(one: dict[str, Any]) -> RenderableType:
    return show.pairs(
        [
            ("webhook", one["id"]),
            ("url", one["url"]),
            ("project", one["project"]),
            ("types", ", ".join(one["types"]) or "all"),
            ("state", _state(one)),
            ("made", f"{clock(one['created_at'])} by {one['created_by']}"),
            ("rotated", clock(one["rotated_at"])),
        ]
    )


def _path(identity: str, *more: str) -> str:
    return "/".join(("/v1/webhooks", *(quote(part, safe="") for part in (identity, *more))))
