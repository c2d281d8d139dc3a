"""What a move did, in Markdown: the summary of a job."""

from __future__ import annotations

import re
from typing import Any

from porter.client.models import Preflight, Receipt
from porter.domain.units import bytes_, duration

_HEADINGS = {
    "succeeded": "moved",
    "rolled_back": "was not moved: everything is as before",
    "held": "is held: somebody has to decide",
    "failed": "could not be moved",
}


def of_receipt(receipt: Receipt) -> str:
    """A heading, a table, and the phases in a fold."""
    rows = [
        ("From", receipt.source),
        ("To", receipt.target),
        ("State", receipt.state),
        ("Mode", receipt.mode),
        ("Pause", _ms(receipt.downtime_ms)),
        ("In all", _ms(receipt.total_ms)),
        ("Memory, files", f"{bytes_(receipt.bytes.memory)}, {bytes_(receipt.bytes.files)}"),
        ("Sent", f"{bytes_(receipt.bytes.wire)}, {bytes_(receipt.bytes.wire_frozen)} in the pause"),
        ("Connections", f"{receipt.connections.kept} kept, {receipt.connections.closed} closed"),
        ("Verified", receipt.verified or "not reached"),
        ("Migration", receipt.id),
    ]
    rows += [("Reason", receipt.reason)] if receipt.reason else []
    heading = _HEADINGS.get(receipt.state, f"is {receipt.state}")
    return _page(f"{receipt.workload} {heading}", rows) + _phases(receipt)


def _phases(receipt: Receipt) -> str:
    if not receipt.phases:
        return ""
    lines = ["", "<details><summary>Phases</summary>", "", "| phase | ms |", "|---|---:|"]
    lines += [f"| {cell(one.name)} | {one.ms:.0f} |" for one in receipt.phases]
    return "\n".join([*lines, "", "</details>", ""])


def of_preflight(found: Preflight) -> str:
    """Whether it could move, or what stands in the way and what to do."""
    where = f"{found.workload} to {found.target}"
    if found.ok:
        memory = "unknown" if found.memory_bytes is None else bytes_(found.memory_bytes)
        rows = [("From", found.source), ("Mode", found.mode), ("Memory", memory)]
        return _page(f"Nothing stands in the way of moving {where}", rows)
    told = [(one.code, f"{one.message}; {one.remedy}") for one in found.blockers]
    return _page(f"Cannot move {where}", told)


def of_error(message: str) -> str:
    return f"### Porter\n\n{cell(message)}\n"


def _page(heading: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"### {cell(heading)}", "", "| | |", "|---|---|"]
    return (
        "\n".join([*lines, *(f"| {cell(name)} | {cell(value)} |" for name, value in rows)]) + "\n"
    )


def cell(value: Any) -> str:
    """A text that Markdown and HTML take for nothing else: names and reasons are others' words."""
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]!|#~])", r"\\\1", text)


def _ms(value: float | None) -> str:
    return "unknown" if value is None else duration(value)
