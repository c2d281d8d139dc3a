"""Delivers events: makes deliveries of what is new, and sends what is due.

Any number may work on one database. A message only names a webhook; lost, doubled or late ones are
harmless. While something is sent no database session is open, only the webhook's lease is held.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from porter.db.deliveries import Errand
from porter.domain.errors import Permanent
from porter.domain.webhook import Outcome, Verdict, judge
from porter.vault import Vault
from porter.webhooks.post import SECONDS
from porter.webhooks.signing import signed, unseal

log = logging.getLogger(__name__)

MARGIN = 5.0
"""A lease outlives the longest attempt by so many seconds."""
AT_ONCE = 2
"""Threads of one worker that may wait for receivers: the others go on moving workloads."""
STRIDE, TURN = 50, 10.0
"""Events of one webhook, and seconds, before others get their turn."""
AWAKE = 20
"""Webhooks that one sweep sends messages for."""
PRUNE_EVERY = 600.0

Post = Callable[[str, Mapping[str, str], str], Outcome]


class Outbox(Protocol):
    """The rows of deliveries. Every method is one short transaction, or a few."""

    def collect(self, now: float) -> int: ...

    def prune(self, now: float) -> int: ...

    def due(self, now: float, limit: int) -> list[str]: ...

    def claim(self, hook: str, now: float, lease: float) -> Errand | None: ...

    def settle(self, errand: Errand, outcome: Outcome, verdict: Verdict, now: float) -> bool: ...


class Courier:
    """Thread-safe."""

    def __init__(
        self,
        outbox: Outbox,
        vault: Vault,
        clock: Callable[[], float],
        enqueue: Callable[[str], None],
        post: Post,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._vault = vault
        self._clock = clock
        self._enqueue = enqueue
        self._post = post
        self._chance = chance
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._pruned = float("-inf")

    def sweep(self) -> int:
        """Make deliveries of new events, and enqueue webhooks that have something due. Returns how
        many. Raises Transient if the database is away."""
        now = self._clock()
        self._outbox.collect(now)
        if now - self._pruned > PRUNE_EVERY:
            self._pruned = now
            self._outbox.prune(now)
        found = self._outbox.due(now, AWAKE)
        for hook in found:
            self._enqueue(hook)
        return len(found)

    def deliver(self, hook: str) -> int:
        """Send what is due to one webhook, one event after the other. Returns how many attempts
        were made; blocks for as long as they take. Harmless at any time. Raises Transient if the
        database is away."""
        if not self._slots.acquire(blocking=False):
            # The sweep asks again.
            return 0
        try:
            made, until = 0, self._clock() + TURN
            while made < STRIDE and self._clock() < until:
                if not self._one(hook):
                    return made
                made += 1
        finally:
            self._slots.release()
        self._enqueue(hook)
        return made

    def _one(self, hook: str) -> bool:
        errand = self._outbox.claim(hook, self._clock(), SECONDS + MARGIN)
        if errand is None:
            return False
        outcome = self._attempt(errand)
        now = self._clock()
        health = errand.webhook.health
        verdict = judge(outcome, errand.delivery.tries, health, now, self._chance())
        if not self._outbox.settle(errand, outcome, verdict, now):
            log.warning("%s: the lease was lost, the outcome is thrown away", hook)
            return False
        if not outcome.delivered:
            log.info("%s: event %s: %s", hook, errand.delivery.event, outcome.error)
        return True

    def _attempt(self, errand: Errand) -> Outcome:
        hook = errand.webhook
        try:
            kept = unseal(self._vault, hook.id, hook.sealed)
            headers = signed(kept, errand.delivery.id, errand.body, self._clock())
            return self._post(hook.url, headers, errand.body)
        except Permanent as error:
            return Outcome(error=error.message)
        except Exception as error:
            # It counts as a try, so that it comes to an end.
            log.exception("%s: cannot send event %s", hook.id, errand.delivery.event)
            return Outcome(error=f"internal error ({type(error).__name__})")
