"""`porter rebalance simulate`: what the schedule would have saved. Needs no control plane."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from porter.cli import show
from porter.cli.app import App, PorterCommand, interactive
from porter.domain.errors import Invalid
from porter.schedule.backtest import tracefile, volatility
from porter.schedule.backtest.backtest import Outcome, compare
from porter.schedule.backtest.contenders import Rules
from porter.schedule.backtest.measured import MoveCosts, documents, from_receipts
from porter.schedule.backtest.picture import draw
from porter.schedule.backtest.starts import FOUND, STARTS
from porter.schedule.backtest.traces import Trace

File = click.Path(exists=True, dir_okay=False, path_type=Path)
Out = click.Path(dir_okay=False, path_type=Path)
HOUR = 3600.0


@click.command(cls=PorterCommand)
@click.option("--prices", "file", type=File, help="A trace: prices, loads, outages.")
@click.option(
    "--made-up",
    "level",
    type=click.Choice(list(volatility.LEVELS)),
    help="Make a trace up instead, from the prices that come with Porter: how restless.",
)
@click.option("--fleet", type=click.Choice(STARTS), default=FOUND, help="How a made-up one begins.")
@click.option("--from", "start", metavar="TIME", help="ISO 8601 with a zone; else all of it.")
@click.option("--to", "end", metavar="TIME")
@click.option("--seed", type=int, default=1, show_default=True, help="Of what is left to chance.")
@click.option("--receipts", type=File, help="Moves cost as these did: receipts as JSON.")
@click.option("--every", type=click.FloatRange(min=1), help="Hours between two decisions.")
@click.option("--horizon", type=click.FloatRange(min=1), help="Hours that a decision looks ahead.")
@click.option("--picture", type=Out, help="Draw cost by time there, as SVG.")
@click.option("--write", type=Out, help="Write the trace that was replayed there.")
@click.pass_obj
def simulate(
    app: App,
    file: Path | None,
    level: str | None,
    fleet: str,
    start: str | None,
    end: str | None,
    seed: int,
    receipts: Path | None,
    every: float | None,
    horizon: float | None,
    picture: Path | None,
    write: Path | None,
) -> None:
    """Replay prices and loads of the past, and compare what Porter would have saved.

    With never moving, with a greedy rule, and with one who knows the future. Runs on this machine
    and takes some minutes.
    """
    # Imported late: HiGHS takes a while, and other commands of the group do without it.
    from porter.schedule.optimiser.optimise import optimise

    if (file is None) == (level is None):
        raise click.UsageError("Give either --prices FILE or --made-up LEVEL.")
    whole = (
        tracefile.read(file)
        if file
        else volatility.make(seed, volatility.LEVELS[level or ""], fleet)
    )
    trace = whole.cut(_time(start), _time(end))
    if receipts is not None:
        trace = replace(trace, moving=_measured(receipts))
    with _bar(app) as bar:
        rules = _rules(every, horizon)
        outcome = compare(trace, optimise, rules, seed=seed, progress=_telling(bar))
    if write is not None:
        tracefile.write(trace, write)
    if picture is not None:
        _save(picture, draw([(trace.note or str(file), outcome)]))
    app.show(outcome.as_dict(), table(trace, outcome))


def _rules(every: float | None, horizon: float | None) -> Rules:
    rules = Rules()
    if every is not None:
        rules = replace(rules, every_s=every * HOUR)
    return rules if horizon is None else replace(rules, horizon_s=horizon * HOUR)


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"{text} is no time; write 2026-11-02T00:00:00Z.") from error
    if at.tzinfo is None:
        raise click.UsageError(f"{text} says no time zone; write {text}Z for UTC.")
    return at.timestamp()


def _measured(path: Path) -> MoveCosts:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read receipts from {path}: {error}", "name a JSON file") from error
    return from_receipts(documents(text), f"{path.name}")


def _save(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise Invalid(f"cannot write {path}: {error.strerror}", "name another file") from error


def _bar(app: App) -> Any:
    if app.json or not interactive():
        return nullcontext()
    columns = (TextColumn("{task.description:<14}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=app.console, transient=True)


def _telling(bar: Progress | None) -> Callable[[str, float], None]:
    if bar is None:
        return lambda _name, _done: None
    task = bar.add_task("", total=1.0)
    return lambda name, done: bar.update(task, description=name, completed=done)


def table(trace: Trace, outcome: Outcome) -> RenderableType:
    """One row for each contender."""
    head = Text(
        f"{trace.note or 'trace'}: {trace.days:g} days, {len(trace.workloads)} workloads, "
        f"{len(trace.hosts)} hosts, amounts in {trace.currency}\n"
        f"moves cost as measured: {trace.moving.source}\n"
    )
    rows = [
        [
            row["name"],
            f"{row['cost']:.2f}",
            f"{row['saving']:.2f}",
            _percent(row["share_of_clairvoyant"]),
            row["moves"],
            f"{row['moves_per_workload_day']:.2f}",
            f"{row['pause_minutes']:.1f}",
            row["interrupted"],
        ]
        for row in outcome.as_dict()["contenders"]
    ]
    columns = (
        "CONTENDER",
        "COST",
        "SAVED",
        "OF CLAIRVOYANT",
        "MOVES",
        "PER WORKLOAD-DAY",
        "PAUSE MIN",
        "INTERRUPTED",
    )
    foot = Text(f"Nothing can cost less than {outcome.bound:.2f}: docs/economics.md says why.")
    return Group(head, show.table(columns, rows, ""), foot)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"
