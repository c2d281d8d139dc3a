"""Values as pages show them: sizes, times, states."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from porter.domain.units import about, bytes_, duration, moment

GOOD, BUSY, BAD, WARN, DIM = "good", "busy", "bad", "warn", "dim"
TONES = {
    "up": GOOD,
    "running": GOOD,
    "succeeded": GOOD,
    "done": GOOD,
    "active": GOOD,
    "approved": GOOD,
    "ready": GOOD,
    "granted": GOOD,
    "standing": GOOD,
    "delivered": GOOD,
    "enabled": GOOD,
    "pending": BUSY,
    "proposed": BUSY,
    "waiting": BUSY,
    "begun": BUSY,
    "executing": BUSY,
    "migrating": BUSY,
    "moving": BUSY,
    "undoing": WARN,
    "rolled_back": WARN,
    "draining": WARN,
    "expired": WARN,
    "lapsed": WARN,
    "stopped": WARN,
    "failing": WARN,
    "cancelled": DIM,
    "revoked": DIM,
    "gone": DIM,
    "down": BAD,
    "failed": BAD,
    "held": BAD,
    "refused": BAD,
    "declined": BAD,
    "missing": BAD,
    "lost": BAD,
}
"""What a state means at a glance. Its word always stands beside the colour."""


def tone(state: object) -> str:
    """The colour class of a state; running migrations are `busy`: write `tone('migrating')`."""
    return TONES.get(str(state), DIM)


def badge(state: object, as_: str = "") -> Markup:
    """A state as a word with its colour. `as_` names another tone's state."""
    text = str(state).replace("_", " ")
    return Markup('<span class="badge {}">{}</span>').format(tone(as_ or state), text)


def ago(seconds: float) -> str:
    """`3 min ago`, `in 2 h`, `just now`."""
    size = abs(seconds)
    if size < 5:
        return "just now"
    return f"in {about(size)}" if seconds < 0 else f"{about(size)} ago"


def when(at: object) -> Markup:
    """A time in relative words, with the exact one in the element; `–` for none."""
    seconds = moment(at)
    if seconds is None:
        return Markup("–")
    exact = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}" title="{}" data-when>{}</time>').format(
        exact.isoformat(timespec="seconds"),
        exact.strftime("%Y-%m-%d %H:%M:%S UTC"),
        ago(time.time() - seconds),
    )


def bar(used: float, total: float, label: str, tone_: str = "") -> Markup:
    """A bar of how much is used: no inline style, so that the strict policy lets it be."""
    share = min(1.0, max(0.0, used / total)) if total else 0.0
    colour = tone_ or (BAD if share > 0.9 else WARN if share > 0.75 else GOOD)
    return Markup(
        '<svg class="bar {}" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" '
        'aria-label="{}"><rect class="trough" width="100" height="6"/>'
        '<rect class="fill" width="{:.1f}" height="6"/></svg>'
    ).format(colour, label, share * 100)


def money(amount: object, currency: str = "") -> str:
    """A price with as many digits as it needs; `–` for unknown."""
    if amount is None or amount == "":
        return "–"
    value = Decimal(str(amount))
    digits = 2 if abs(value) >= 10 or value == 0 else 4
    return f"{value:,.{digits}f} {currency}".strip()


def cost(amount: object, currency: str = "") -> str:
    """A sum to the hundredth, or to the ten-thousandth if it is less than one; `–` for unknown."""
    if amount is None or amount == "":
        return "–"
    value = Decimal(str(amount))
    digits = 2 if abs(value) >= 1 or value == 0 else 4
    # Added to 0, a negative zero loses its sign.
    return f"{round(value, digits) + 0:,.{digits}f} {currency}".strip()


def exact(amount: object, currency: str = "") -> str:
    """Every digit of a sum, and two after the point at least; `–` for unknown."""
    if amount is None or amount == "":
        return "–"
    whole, _, rest = f"{Decimal(str(amount)):,f}".partition(".")
    return f"{whole}.{rest.rstrip('0'):0<2} {currency}".strip()


def over(seconds: float) -> str:
    """A length of time that people plan with: `30 days`, `12 hours`, `90 minutes`."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and (seconds % size == 0 or seconds >= 10 * size):
            count = round(seconds / size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"


def seconds(length: float | None) -> str:
    """The same as `duration` for a length in seconds."""
    return duration(None if length is None else length * 1000)


def short(identity: object) -> str:
    """The first ten characters of an id or hash."""
    return str(identity)[:10]


FILTERS: dict[str, Callable[..., Any]] = {
    "size": bytes_,
    "duration": duration,
    "when": when,
    "badge": badge,
    "tone": tone,
    "bar": bar,
    "money": money,
    "cost": cost,
    "exact": exact,
    "over": over,
    "seconds": seconds,
    "short": short,
}
