"""Runs the optimiser when a schedule says so: by its clock, when prices change, when a machine is
about to be taken away.

What has been run is in SQL: a run is claimed by a row of its schedule and the time that it is for,
which can be there once. So each time comes once, however many ask, whether beat dies, and whatever
the clock does: one that is put back finds the row, one that is put forth misses times, of which one
at most is caught up with, if it is no longer past than the schedule's grace.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from porter.db.rebalances import Rebalances, RunClaim, Trigger
from porter.db.schedules import ScheduleRecord, Schedules
from porter.domain.errors import PorterError, Transient
from porter.domain.windows import last_opening
from porter.migrate.places import Places
from porter.schedule.authority import new_run
from porter.schedule.priced import PriceBook
from porter.schedule.proposals import Proposer
from porter.schedule.rates import Rates
from porter.schedule.snapshot import Scope

log = logging.getLogger(__name__)

LEASE = 60.0
GRACE = 3600.0
"""Seconds for which a run that was missed is caught up with, unless its schedule says otherwise."""
PROMPT = 60.0
"""A run that begins later than this is called caught up."""
LOOK_AT_PRICES = 300.0
ATTEMPTS = 3
"""So often a run is begun whose worker dies."""
PROPOSE, EXECUTE = "propose", "execute"


class Clockwork:
    """Thread-safe; any number may work on one database."""

    def __init__(
        self,
        schedules: Schedules,
        rebalances: Rebalances,
        proposer: Proposer,
        places: Places,
        clock: Callable[[], float],
        lease: float = LEASE,
        prices_every: float = LOOK_AT_PRICES,
    ) -> None:
        """`prices_every`: seconds between looks whether prices have changed."""
        self._schedules = schedules
        self._rebalances = rebalances
        self._proposer = proposer
        self._places = places
        self._clock = clock
        self._lease = lease
        self._prices_every = prices_every

    def tick(self) -> int:
        """Begin and finish every run whose time has come; take over what others left. Returns how
        many. Blocks for as long as they take. Raises Transient if the database is away."""
        done = 0
        while (left := self._rebalances.take_over(self._clock(), self._lease)) is not None:
            self._work(left)
            done += 1
        for schedule in self._schedules.all():
            claim = self._claim(schedule)
            if claim is not None:
                self._work(claim)
                done += 1
        return done

    def _claim(self, schedule: ScheduleRecord) -> RunClaim | None:
        """The run of a schedule that is due and that nobody has begun."""
        now = self._clock()
        for trigger, due in self._dues(schedule, now):
            by = f"schedule {schedule.name}"
            scope = Scope.of({**schedule.spec, "project": schedule.project}).as_dict()
            spec = {**scope, "auto": schedule.spec.get("auto", PROPOSE)}
            run = new_run(trigger, schedule.name, due, schedule.project, spec, by, now)
            claim = self._rebalances.claim(run, now, self._lease)
            if claim is not None:
                return claim
        return None

    def _dues(self, schedule: ScheduleRecord, now: float) -> Iterator[tuple[Trigger, float]]:
        """Times that a run would be for, whether it was begun or not."""
        if schedule.spec.get("interruption"):
            for _, seen in self._schedules.notices():
                if schedule.updated <= seen <= now:
                    yield Trigger.INTERRUPTION, seen
        due = self.due(schedule, now)
        if due is not None:
            yield (Trigger.CRON if now - due <= PROMPT else Trigger.CATCH_UP), due
        if self._prices_changed(schedule, now):
            # Everybody who finds out within the same time means the same run.
            yield Trigger.PRICE, now // self._prices_every * self._prices_every

    def due(self, schedule: ScheduleRecord, now: float) -> float | None:
        """The last time that its clock has come to and that no run was for yet, if its grace is not
        over."""
        grace = float(schedule.spec.get("grace", GRACE))
        last = self._rebalances.last_due(schedule.name, now)
        after = max(schedule.updated, now - grace, last if last is not None else 0.0)
        return last_opening(schedule.cron, schedule.zone, after, now)

    def _prices_changed(self, schedule: ScheduleRecord, now: float) -> bool:
        limit = schedule.spec.get("price_change")
        if limit is None or not schedule.prices:
            return False
        if not self._schedules.look(schedule.name, now, self._prices_every):
            return False
        book = PriceBook(self._places, Rates())
        return any(_changed(one, book, Decimal(str(limit))) for one in schedule.prices)

    # -- a run

    def _work(self, claim: RunClaim) -> None:
        run = claim.run
        if run.attempt > ATTEMPTS:
            self._rebalances.fail(claim, "its worker died again and again", self._clock())
            return
        execute = run.spec.get("auto") == EXECUTE and not run.spec.get("dry_run")
        try:
            with self._renewed(claim):
                scope = Scope.of(run.spec)
                outcome = self._proposer.propose(
                    run.id, scope, run.created_by, self._clock(), execute
                )
        except Transient as error:
            # It is tried again once the lease is over.
            log.warning("run %s cannot go on now: %s", run.id, error)
            return
        except PorterError as error:
            self._rebalances.fail(claim, str(error), self._clock())
            return
        if self._rebalances.finish(claim, outcome, self._clock()) and run.schedule is not None:
            self._schedules.measure(run.schedule, outcome.prices, self._clock())

    @contextmanager
    def _renewed(self, claim: RunClaim) -> Iterator[None]:
        """Keep the lease for as long as the run works."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(self._lease / 3):
                try:
                    if not self._rebalances.renew(claim, self._clock() + self._lease):
                        return
                except PorterError as error:
                    log.warning("cannot renew the lease of run %s: %s", claim.run.id, error)

        thread = threading.Thread(target=renew, name=f"renew {claim.run.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _changed(known: dict[str, Any], book: PriceBook, percent: Decimal) -> bool:
    """Whether a price is another one by more than so many percent, or not known any more."""
    if known["amount"] is None:
        return False
    now = book.quote(known["site"], known["item"], known["terms"])
    if now.amount is None or now.currency != known["currency"]:
        return True
    before = Decimal(known["amount"])
    return abs(now.amount - before) * 100 > percent * before
