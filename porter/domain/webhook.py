"""Webhooks: which events one takes, and what follows from an attempt to deliver one. Pure rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus

from porter.domain.cloudevents import PREFIX
from porter.domain.identity import EVERYWHERE, FLEET

TEST = "webhook.test"
"""Kind of the event that `porter webhook test` sends: to that webhook only, whatever it takes."""
DISABLED = "webhook.disabled"

TRIES = 12
"""After so many an event is given up."""
FIRST, LONGEST, GROWTH = 5.0, 24 * 3600.0, 2.65
"""Seconds until the second try, before the last one at most, and by what each wait is longer."""
JITTER = 0.2
"""A wait is so much shorter or longer by chance, lest all come at once."""
PAUSES = 300.0
"""A receiver that fails as a whole is left alone for so long at most before its next event."""
PATIENCE = 5 * 86400.0
"""A webhook that has only failed for so long is disabled …"""
LEAST = 10
"""… if it has been tried so often meanwhile."""
KEPT = 30 * 86400.0
"""Seconds for which deliveries stay in the log after their end."""
GRACE = 86400.0
"""Seconds for which a secret signs on after its rotation."""


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up."""
    CANCELLED = "cancelled"
    """Its webhook was disabled meanwhile."""


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to. `status` is None where nothing was answered."""

    status: int | None = None
    error: str = ""
    """Short; holds nothing of what the receiver answered but its status."""
    retry_after: float | None = None
    """Seconds that the receiver asked for."""

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def away(self) -> bool:
        """Whether the receiver as a whole has trouble, not only with this event."""
        busy = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        return self.status is None or self.status >= 500 or self.status in busy


@dataclass(frozen=True)
class Health:
    """How a webhook has done lately."""

    failures: int = 0
    """Since the last success."""
    failing_since: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What follows from an attempt."""

    state: DeliveryState
    next_at: float | None
    health: Health
    paused_until: float | None = None
    """Until then the webhook is sent nothing at all."""
    disable: str = ""
    """Why the webhook is disabled; "" if it is not."""


def judge(outcome: Outcome, tries: int, health: Health, now: float, chance: float) -> Verdict:
    """`tries` of this delivery with this one, `health` before it, `chance` in [0, 1)."""
    if outcome.delivered:
        return Verdict(DeliveryState.DELIVERED, None, Health())
    since = now if health.failing_since is None else health.failing_since
    after = Health(health.failures + 1, since)
    if outcome.status == HTTPStatus.GONE:
        why = "the receiver answered 410 Gone"
        return Verdict(DeliveryState.FAILED, None, after, disable=why)
    hopeless = now - since >= PATIENCE and after.failures >= LEAST
    disable = f"nothing could be delivered for {PATIENCE / 86400:.0f} days" if hopeless else ""
    paused = None
    if outcome.away:
        paused = now + min(wait(after.failures, chance, outcome.retry_after), PAUSES)
    if tries >= TRIES:
        return Verdict(DeliveryState.FAILED, None, after, paused, disable)
    next_at = now + wait(tries, chance, outcome.retry_after)
    return Verdict(DeliveryState.PENDING, next_at, after, paused, disable)


def wait(tries: int, chance: float, asked: float | None = None) -> float:
    """Seconds until the next try after so many; what the receiver asked for counts if it is longer,
    up to a day."""
    plain = min(FIRST * GROWTH ** min(tries - 1, 100), LONGEST)
    spread = plain * (1 + JITTER * (2 * chance - 1))
    return min(max(spread, asked or 0.0), LONGEST * (1 + JITTER))


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header means; None if it cannot be read or is past."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() - now
    return seconds if seconds > 0 else None


def takes(project: str, types: Sequence[str], event_project: str, kind: str) -> bool:
    """Whether a webhook of this project gets such an event. `EVERYWHERE`: those of all projects and
    of the fleet. `types` are how kinds begin; none: all kinds."""
    if kind == TEST or (
        project != EVERYWHERE and (event_project == FLEET or event_project != project)
    ):
        return False
    return not types or any(kind.startswith(one) for one in types)


def kinds(types: Sequence[str]) -> list[str]:
    """How kinds begin, from types as people write them: `io.porter.` may be left out. One that
    stands for all makes the rest superfluous."""
    plain = ["" if PREFIX.startswith(one) else one.removeprefix(PREFIX) for one in types]
    return [] if "" in plain else sorted(set(plain))


def message_id(webhook: str, event: int) -> str:
    """The same for every attempt, and after a replay, so that receivers can tell doubles."""
    return f"{webhook}-{event}"
