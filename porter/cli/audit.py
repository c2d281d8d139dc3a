"""`porter audit`: who did what, and proof that nobody changed the trail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter, ValidationError

from porter.cli import show
from porter.cli.app import FAILED, OK, App, PorterGroup
from porter.domain.audit import Anchor, Check, Entry, parse_anchor
from porter.domain.errors import Invalid
from porter.domain.units import clock

_ENTRY = TypeAdapter(Entry)
_MOST_SHOWN = 20
_COLUMNS = ("NO.", "TIME", "WHO", "FROM", "ACTION", "TARGET", "PROJECT", "OUTCOME")


@click.group(cls=PorterGroup)
def audit() -> None:
    """Every request that changed something or tried to, and reads of secrets and exports."""


@audit.command("ls")
@click.option("--actor", help="Id of who did it.")
@click.option("--action", help="An action, or how it begins or ends: DELETE, /cancel.")
@click.option("--project", help="Only what happened in this project.")
@click.option("--since", help="From then on, like 2026-01-31T12:00:00Z.")
@click.option("--until", help="Before then.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.pass_obj
def list_audit(app: App, **wanted: Any) -> None:
    """List entries, newest first."""
    query = {key: str(value) for key, value in wanted.items() if value is not None}
    found = app.api.audit(query)
    rows = [
        [
            one["seq"],
            clock(one["at"]),
            one["details"].get("name") or one["actor"],
            one["origin"],
            one["action"],
            one["target"],
            one["project"],
            one["outcome"],
        ]
        for one in found
    ]
    app.show(found, show.table(_COLUMNS, rows, "Nothing yet."))


@audit.command()
@click.pass_obj
def head(app: App) -> None:
    """Print number and hash of the last entry, to be kept where nobody here can change it."""
    found = app.api.audit_head()
    if app.json:
        app.show(found, None)
    else:
        click.echo(found["anchor"])


@audit.command()
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def export(app: App, output: Path) -> None:
    """Write the whole trail into a file, one JSON object a line."""
    check = Check()
    fresh = output.with_name(f".{output.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        told, lines = app.api.audit_export()

        def kept() -> Iterator[str]:
            for line in lines:
                file.write(f"{line}\n")
                yield line

        wrong = list(check.read(read_entries(kept())))
    fresh.replace(output)
    document = {"file": str(output), "entries": check.count, "head": str(check.head)}
    app.show(document, f"{check.count} entries, up to {check.head}")
    if wrong or str(check.head) != told:
        raise Invalid(f"the trail is broken; 'porter audit verify {output}' says where")


@audit.command()
@click.argument("file", required=False, type=click.File("r", encoding="utf-8"))
@click.option(
    "--head",
    "anchors",
    multiple=True,
    metavar="SEQ:HASH",
    help="An entry as 'porter audit head' printed it earlier: finds a trail that was cut off.",
)
@click.pass_obj
def verify(app: App, file: Iterable[str] | None, anchors: tuple[str, ...]) -> int:
    """Check that no entry was changed, removed or moved. FILE is an export; else the control
    plane is asked. Exit code 1 if anything is wrong."""
    known = [parse_anchor(one) for one in anchors]
    lines = file
    if lines is None:
        told, lines = app.api.audit_export()
        last = parse_anchor(told)
        known += [last] if last.seq else []
    check = Check(known)
    findings = [
        {"seq": one.seq, "fault": str(one.fault), "message": one.message}
        for one in check.read(read_entries(lines))
    ]
    app.show(
        {"entries": check.count, "head": str(check.head), "findings": findings},
        picture(check.count, check.head, findings),
    )
    return FAILED if findings else OK


def picture(count: int, last: Anchor, findings: list[dict[str, Any]]) -> str:
    if not findings:
        return f"✓ {count} entries, whole up to {last}"
    shown = [f"✗ {one['message']} ({one['fault']})" for one in findings[:_MOST_SHOWN]]
    rest = len(findings) - len(shown)
    return "\n".join([*shown, *([f"and {rest} more"] if rest else [])])


def read_entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Entries of an export. Raises Invalid for a line that is none."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _ENTRY.validate_json(line, strict=True, extra="forbid")
        except ValidationError as error:
            raise Invalid(
                f"cannot read line {number}: it is no entry of an audit trail",
                "give a file that 'porter audit export' wrote",
            ) from error
