"""`porter rebalance` and `porter proposal`: what should be moved, decided on, and carried out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click
from rich.console import Group, RenderableType
from rich.text import Text

from porter.cli import deciding, show
from porter.cli.app import FAILED, OK, App, LazyGroup, PorterGroup
from porter.domain.scheduling import HORIZON_DAYS
from porter.domain.units import bytes_, clock, duration, span

LOOK = 1.0
OVER = ("done", "stopped", "lapsed", "declined")


@click.group(
    cls=LazyGroup,
    lazy={"simulate": ("porter.cli.simulate:simulate", "What moving would have saved.")},
)
def rebalance() -> None:
    """Runs of the optimiser: what should be moved, and why the rest stays."""


@rebalance.command()
@click.option("--project", help="Only workloads of this project.  [default: all]")
@click.option("--workload", "patterns", multiple=True, help="Only those whose names match.")
@click.option(
    "--days", type=click.FloatRange(min=0.05, max=366), default=HORIZON_DAYS, show_default=True
)
@click.option("--most-moves", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--currency", help="In which to reckon, like EUR.")
@click.option("--seconds", type=click.FloatRange(0.1, 60), default=5, show_default=True)
@click.option("--dry-run", is_flag=True, help="Show what would be proposed; keep nothing.")
@click.pass_obj
def run(
    app: App,
    project: str | None,
    patterns: Sequence[str],
    days: float,
    most_moves: int,
    currency: str | None,
    seconds: float,
    dry_run: bool,
) -> None:
    """Ask the optimiser now. What is decided is expected to last for --days. Moves nothing."""
    body: dict[str, Any] = {"horizon": days * 86400, "most_moves": most_moves, "seconds": seconds}
    body |= {"project": project} if project else {}
    body |= {"workloads": list(patterns)} if patterns else {}
    body |= {"currency": currency} if currency else {}
    path = "/v1/rebalances?dry_run=true" if dry_run else "/v1/rebalances"
    with app.working("the optimiser thinks"):
        found = app.api.call("POST", path, body)
    app.show(found, Group(_run(found), Text(_then(found, dry_run))))


@rebalance.command("ls")
@click.option("--schedule", help="Only those of this schedule.")
@click.pass_obj
def list_runs(app: App, schedule: str | None) -> None:
    """List runs, newest first."""
    found = [one for one in app.api.pages("/v1/rebalances") if schedule in (None, one["schedule"])]
    rows = [
        [
            one["id"],
            one["trigger"],
            one["schedule"],
            one["project"] or "all",
            show.state(one["state"]),
            _gap(one["answer"]),
            clock(one["started_at"]),
            one["reason"],
        ]
        for one in found
    ]
    columns = ("RUN", "TRIGGER", "SCHEDULE", "PROJECT", "STATE", "METHOD", "BEGAN", "REASON")
    app.show(found, show.table(columns, rows, "No runs yet; 'porter rebalance run' begins one."))


@rebalance.command("show")
@click.argument("identity", metavar="ID")
@click.pass_obj
def show_run(app: App, identity: str) -> None:
    """Show a run: what it proposed, and why each other workload stays."""
    found = app.api.call("GET", f"/v1/rebalances/{quote(identity, safe='')}")
    app.show(found, _run(found))


@click.group(cls=PorterGroup)
def proposal() -> None:
    """Moves that pay only together: look at them, decide, carry them out."""


@proposal.command("ls")
@click.option("--state", help="Only those: open, waiting, approved, executing …")
@click.pass_obj
def list_proposals(app: App, state: str | None) -> None:
    """List proposals, newest first."""
    found = [one for one in app.api.pages("/v1/proposals") if state in (None, one["state"])]
    app.show(found, _proposals(found))


@proposal.command("show")
@click.argument("identity", metavar="ID")
@click.pass_obj
def show_proposal(app: App, identity: str) -> None:
    """Show a proposal: moves, sums with their sources, and what it really cost and saved."""
    found = app.api.call("GET", _path(identity))
    if found["started_at"]:
        found["receipt"] = app.api.call("GET", f"{_path(identity)}/receipt")
    app.show(found, picture(found))


@proposal.command()
@click.argument("name")
@click.pass_obj
def explain(app: App, name: str) -> None:
    """Why the workload NAME stays, and what would change that; or the sums of its move."""
    found = app.api.call("GET", f"/v1/workloads/{quote(name, safe='')}/explanation")
    app.show(found, _explanation(found))


@proposal.command()
@click.argument("identity", metavar="ID")
@click.option("--hash", "digest", help="Of the proposal that you looked at; else it is asked.")
@click.option("--reason", default="", help="For the record.")
@click.pass_obj
def approve(app: App, identity: str, digest: str | None, reason: str) -> None:
    """Approve a proposal that somebody else, or a schedule, had made."""
    done = deciding.approve(app, _path(identity), "proposal", picture, digest, reason)
    app.show(done, f"{identity} is approved: porter proposal execute {identity}")


@proposal.command()
@click.argument("identity", metavar="ID")
@click.option("--reason", required=True, help="For whoever had it made.")
@click.pass_obj
def decline(app: App, identity: str, reason: str) -> None:
    """Decide that a proposal is not carried out."""
    deciding.decline(app, _path(identity), identity, reason)


@proposal.command()
@click.argument("identity", metavar="ID")
@click.option("--detach", is_flag=True, help="Begin it and return; look at it later.")
@click.pass_obj
def execute(app: App, identity: str, detach: bool) -> int:
    """Carry a proposal out and wait for its end. Executed again, it is carried out once."""
    found = app.api.call("POST", f"{_path(identity)}/execute")
    if detach:
        app.show(found, f"{identity} is {found['state']}; 'porter proposal show {identity}'")
        return OK
    with app.working("moves are under way"):
        while found["state"] not in OVER:
            time.sleep(LOOK)
            found = app.api.call("GET", _path(identity))
    app.show(found, picture(found))
    return OK if found["state"] == "done" else FAILED


@proposal.command()
@click.argument("identity", metavar="ID")
@click.option("--reason", default="", help="For the record.")
@click.pass_obj
def stop(app: App, identity: str, reason: str) -> None:
    """Begin no further move of a proposal. What is begun comes to its end."""
    done = app.api.call("POST", f"{_path(identity)}/stop", {"reason": reason})
    app.show(done, f"{identity} begins no further move: {done['stopping']}")


# -- pictures


def _run(found: dict[str, Any]) -> RenderableType:
    answer, problem = found["answer"] or {}, found["problem"] or {}
    rows = [
        ("run", found["id"]),
        ("state", show.state(found["state"])),
        ("why", " ".join(filter(None, [found["trigger"], found["schedule"]]))),
        ("workloads", problem.get("jobs")),
        ("hosts", f"{problem.get('nodes', 0)}, {problem.get('removable', 0)} of them removable"),
        ("offers", problem.get("offers")),
        ("answer", _gap(answer)),
        ("left out", "\n".join((problem.get("left_out") or {}).values())),
        ("notes", "\n".join(problem.get("notes") or ())),
        ("reason", found["reason"]),
    ]
    parts: list[RenderableType] = [show.pairs([row for row in rows if row[1]])]
    if found["proposals"]:
        parts += [Text(""), _proposals(found["proposals"])]
    stays = found["stays"] or {}
    if stays:
        lines = [[name, one["why"], one["remedy"]] for name, one in sorted(stays.items())]
        parts += [Text(""), show.table(("STAYS", "BECAUSE", "WHAT WOULD CHANGE THAT"), lines, "")]
    return Group(*parts)


def _gap(answer: dict[str, Any] | None) -> str:
    if not answer:
        return ""
    return f"{answer['method']}, at most {answer['gap'] * 100:.1f} % from the best"


def _proposals(found: Sequence[dict[str, Any]]) -> RenderableType:
    rows = [
        [
            one["id"],
            show.state(one["state"]),
            ", ".join(move["workload"] for move in one["moves"]),
            _saves(one["content"]["sums"]),
            clock(one["expires_at"]),
        ]
        for one in found
    ]
    columns = ("PROPOSAL", "STATE", "MOVES", "SAVES", "EXPIRES")
    return show.table(columns, rows, "No proposals: nothing would be cheaper.")


def _saves(sums: dict[str, Any]) -> str:
    return f"{sums['saving']} {sums['currency']} in {span(sums['horizon_s'])}"


def picture(found: dict[str, Any]) -> RenderableType:
    """One proposal for a person."""
    content = found["content"]
    sums = content["sums"]
    other = content["runner_up"] or {}
    rows = [
        ("proposal", found["id"]),
        ("hash", found["hash"]),
        ("state", show.state(found["state"])),
        ("saves", _saves(sums)),
        ("before", f"{sums['before']} {sums['currency']}"),
        ("after", f"{sums['after']}, of it {sums['once']} once"),
        ("next best", _other(other, sums["currency"])),
        ("urgent", ", ".join(content["urgent"])),
        ("new", ", ".join(one["name"] for one in content["machines"])),
        ("ends", ", ".join(content["ended"])),
        ("rates", "\n".join(map(_rate, sums["rates"]))),
        ("approval", "\n".join(f"{one['policy']}: {one['why']}" for one in found["demands"])),
        ("made by", f"{found['created_by']}, {clock(found['created_at'])}"),
        ("decided by", found["decided_by"]),
        ("expires", clock(found["expires_at"])),
        ("stopping", found["stopping"]),
        ("reason", found["reason"]),
    ]
    parts: list[RenderableType] = [show.pairs([row for row in rows if row[1]]), Text("")]
    parts += [_moves(found), Text(""), _sums(sums)]
    if found.get("receipt"):
        parts += [Text(""), _receipt(found["receipt"])]
    return Group(*parts)


def _other(other: dict[str, Any], currency: str) -> str:
    return f"{other['what']} ({other['saving']} {currency})" if other else ""


def _rate(rate: dict[str, Any]) -> str:
    return f"1 {rate['from']} is {rate['rate']} {rate['to']} ({rate['source']}, {rate['as_of']})"


def _moves(found: dict[str, Any]) -> RenderableType:
    wishes = found["content"]["moves"]
    rows = []
    for wish, move in zip(wishes, found["moves"], strict=True):
        likely = wish["outlook"]["downtime_s"]["likely"]
        rows.append(
            [
                wish["wave"] + 1,
                wish["workload"],
                f"{wish['from']} → {wish['to']}",
                duration(likely * 1000),
                show.state(move["state"]),
                move["migration"],
                move["reason"],
            ]
        )
    columns = ("WAVE", "WORKLOAD", "MOVE", "PAUSE", "STATE", "MIGRATION", "REASON")
    return show.table(columns, rows, "No moves.")


def _sums(sums: dict[str, Any]) -> RenderableType:
    rows = [
        [
            f"{one['what']} {one['of']}",
            one["before"],
            one["after"],
            "once" if one["once"] else "",
            _basis(one["basis"]),
        ]
        for one in sums["lines"]
    ]
    return show.table(("WHAT", "BEFORE", "AFTER", "", "BY"), rows, "No sums.")


def _basis(basis: dict[str, Any]) -> str:
    if "amount" not in basis:
        return str(basis.get("source", ""))
    price = f"{basis['amount']} {basis['currency']} per {basis['unit']}"
    told = f"{price} ({basis['source']}{', ' if basis['as_of'] else ''}{basis['as_of'][:10]})"
    return f"{basis['expected']['why']}; {told}" if "expected" in basis else told


def _receipt(found: dict[str, Any]) -> RenderableType:
    if found["unknown"]:
        told = "; ".join(found["unknown"])
        return show.pairs([("saved so far", f"unknown: {told}")])
    money = found["currency"]
    rows = [
        ("staying", f"{found['staying']} {money} since {clock(found['started_at'])}"),
        ("paid", f"{found['paid']} {money}"),
        ("saved so far", Text(f"{found['saving']} {money}", style="bold")),
        ("traffic", bytes_(sum(one.get("bytes", 0) for one in found["lines"]))),
    ]
    return show.pairs(rows)


def _explanation(found: dict[str, Any]) -> RenderableType:
    if found["outcome"] == "moves":
        wish, sums = found["move"], found["sums"]
        rows: list[tuple[str, Any]] = [
            (found["workload"], f"moves: {wish['from']} → {wish['to']}"),
            ("why", found["why"]),
            ("next best", found["runner_up"]),
            ("needs", found["needs"]),
            ("proposal", found["proposal"]),
        ]
        return Group(show.pairs([row for row in rows if row[1]]), Text(""), _sums(sums))
    saving = found["saving"]
    money = f" {found['currency']}" if found["currency"] else ""
    what = "" if saving is None else f", which would save {saving:.2f}{money} over the horizon"
    rows = [
        (found["workload"], "stays" if found["outcome"] == "stays" else "has not been looked at"),
        ("binds", f"{found['rule']}: {found['why']}" if found["rule"] else found["why"]),
        ("would change it", found["remedy"]),
        ("next best", f"{found['runner_up']}{what}" if found["runner_up"] else ""),
        ("needs", found["needs"]),
        ("prices", found["prices"]),
        ("by run", found["rebalance"]),
    ]
    return show.pairs([row for row in rows if row[1]])


def _then(found: dict[str, Any], dry_run: bool) -> str:
    if dry_run or not found["proposals"]:
        return ""
    first = found["proposals"][0]
    word = "approve" if first["state"] == "waiting" else "execute"
    return f"porter proposal show {first['id']}; porter proposal {word} {first['id']}"


def _path(identity: str) -> str:
    return f"/v1/proposals/{quote(identity, safe='')}"
