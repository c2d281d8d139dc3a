"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def bytes_(count: float | None) -> str:
    """`1.5 GB` (decimal units, as links and disks are sold); `–` for unknown."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.4g} TB"


def duration(ms: float | None) -> str:
    """`12 ms`, `1.24 s`, `3 min 5 s`; `–` for unknown."""
    if ms is None:
        return "–"
    if ms < 1:
        return "<1 ms" if ms > 0 else "0 ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    return f"{minutes} min {seconds} s"


def about(seconds: float) -> str:
    """How long, in the one unit that says most: `12 s`, `3 min`, `5 h`, `2 d`."""
    below = 1
    for limit, unit in ((60, "s"), (3600, "min"), (86400, "h")):
        if seconds < limit:
            return f"{seconds / below:.0f} {unit}"
        below = limit
    return f"{seconds / below:.0f} d"


def span(seconds: float) -> str:
    """As people write it in documents: `500ms`, `2s`, `90m`, `6h`, `3d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:g}s"


def moment(at: object) -> float | None:
    """Seconds since 1970 of a time as an API writes it: ISO 8601, UTC if it names no zone, or a
    number. None for anything else."""
    if isinstance(at, int | float):
        return float(at)
    if isinstance(at, str) and at:
        try:
            return float(at)
        except ValueError:
            pass  # then it is ISO 8601
        try:
            read = datetime.fromisoformat(at)
        except ValueError:
            return None
        return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()
    return None


def clock(at: object) -> str:
    """Local date and time, to the second; `–` for unknown."""
    seconds = moment(at)
    if seconds is None:
        return "–"
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
