"""`porter plan`: moves frozen beforehand, approved by another person, executed once."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
from rich.console import Group, RenderableType
from rich.text import Text

from porter.cli import deciding, show
from porter.cli.app import OK, App, PorterGroup
from porter.cli.migrations import follow
from porter.cli.policies import picture as verdict_picture
from porter.domain.migration import Mode
from porter.domain.units import bytes_, clock


@click.group(cls=PorterGroup)
def plan() -> None:
    """Moves planned beforehand. A policy may demand that another person approves them."""


@plan.command()
@click.argument("name")
@click.option("--to", "target", required=True, metavar="HOST|SITE", help="Where to.")
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), default="auto")
@click.option("--provision", type=click.Choice(["auto", "always", "never"]), default="auto")
@click.option("--max-price", metavar="AMOUNT", help="Most that a new machine may cost an hour.")
@click.option("--release", is_flag=True, help="Remove the machine left, if Porter made it.")
@click.option("--via", metavar="STORE", help="Have the hosts talk through this store.")
@click.option("--days", type=click.FloatRange(min=0.001, max=90), default=7, show_default=True)
@click.pass_obj
def create(
    app: App,
    name: str,
    target: str,
    mode: str,
    provision: str,
    max_price: str | None,
    release: bool,
    via: str | None,
    days: float,
) -> None:
    """Freeze a move of the workload NAME into a plan, good for --days."""
    body: dict[str, Any] = {"workload": name, "to": target, "mode": mode, "provision": provision}
    body |= {"release": release, "lifetime": days * 86400}
    body |= {"max_price": max_price} if max_price else {}
    body |= {"via": via} if via else {}
    made = app.api.call("POST", "/v1/plans", body)
    app.show(made, Group(picture(made), Text(_next(made))))


@plan.command("ls")
@click.option("--state", help="Only those: waiting, approved …")
@click.pass_obj
def list_plans(app: App, state: str | None) -> None:
    """List plans, newest first."""
    found = [one for one in app.api.pages("/v1/plans") if state in (None, one["state"])]
    rows = [
        [
            one["id"],
            one["workload"],
            f"{one['content']['from']} → {one['content']['to']}",
            show.state(one["state"]),
            one["created_by_name"],
            clock(one["expires_at"]),
        ]
        for one in found
    ]
    columns = ("PLAN", "WORKLOAD", "MOVE", "STATE", "MADE BY", "EXPIRES")
    app.show(found, show.table(columns, rows, "No plans."))


@plan.command("show")
@click.argument("identity", metavar="ID")
@click.pass_obj
def show_plan(app: App, identity: str) -> None:
    """Show a plan: what it would do, what it rests on, what the policies say."""
    found = app.api.call("GET", _path(identity))
    app.show(found, picture(found))


@plan.command()
@click.argument("identity", metavar="ID")
@click.option("--hash", "digest", help="Of the plan that you looked at; else it is shown and asked")
@click.option("--reason", default="", help="For the record.")
@click.pass_obj
def approve(app: App, identity: str, digest: str | None, reason: str) -> None:
    """Approve a plan that somebody else made."""
    done = deciding.approve(app, _path(identity), "plan", picture, digest, reason)
    app.show(done, _next(done))


@plan.command()
@click.argument("identity", metavar="ID")
@click.option("--reason", required=True, help="For whoever made it.")
@click.pass_obj
def decline(app: App, identity: str, reason: str) -> None:
    """Decide that a plan is not carried out."""
    deciding.decline(app, _path(identity), identity, reason)


@plan.command()
@click.argument("identity", metavar="ID")
@click.option("--detach", is_flag=True, help="Start it and return; watch it later.")
@click.pass_obj
def execute(app: App, identity: str, detach: bool) -> int:
    """Carry out a plan and wait for the receipt. Executed again, it is the same migration."""
    started = app.api.call("POST", f"{_path(identity)}/execute")
    migration = str(started["id"])
    if detach:
        app.show(started, f"{migration} is under way; 'porter migration watch {migration}'")
        return OK
    return follow(app, migration, leave_held=True)


def picture(found: dict[str, Any]) -> RenderableType:
    """One plan for a person."""
    content = found["content"]
    known = content["forecast"]
    size = bytes_(known["bytes"]) + (f", {known['unknown']} unknown" if known["unknown"] else "")
    rows = [
        ("plan", found["id"]),
        ("hash", found["hash"]),
        ("state", show.state(found["state"])),
        ("workload", f"{found['workload']}, generation {content['generation']}"),
        ("move", f"{content['from']} → {content['to']}, {content['mode']}"),
        ("steps", ", ".join(content["steps"])),
        ("to send", f"at most {size}"),
        ("traffic", _amount(known["egress"], "once")),
        ("target", _amount(known["price"], "an hour")),
        *((f"expected {name}", told) for name, told in show.forecast(known.get("expected"))),
        ("made by", f"{found['created_by_name']}, {clock(found['created_at'])}"),
        ("decided by", found["decided_by_name"]),
        ("reason", found["reason"]),
        ("expires", clock(found["expires_at"])),
        ("migration", found["migration"]),
        ("policies", verdict_picture(found["verdict"])),
    ]
    return show.pairs([row for row in rows if row[1]])


def _amount(told: dict[str, Any], unit: str) -> str:
    if told["amount"] is None:
        return f"unknown: {told['source']}"
    return f"{told['amount']} {told['currency']} {unit} ({told['source']})"


def _next(found: dict[str, Any]) -> str:
    """What comes next."""
    identity = found["id"]
    if found["state"] == "waiting":
        return f"{identity} waits for another person: porter plan approve {identity}"
    return f"{identity} is {found['state']}: porter plan execute {identity}"


def _path(identity: str) -> str:
    return f"/v1/plans/{quote(identity, safe='')}"
