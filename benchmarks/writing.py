"""Events at a steady rate, as moves write them; some transactions overlap, some come to nothing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from porter.db import rows
from porter.db.database import Database

LATE_S = 0.15
"""How long every fifth transaction stays open after its event got its number."""
FIFTH, GIVEN_UP = 5, 400


class GivenUp(Exception):
    """The transaction is rolled back: its event's number stays unused."""


def write(url: str, rate: float, seconds: float) -> int:
    """Write `rate` events a second; returns how many. Blocks; to be run in a process of its own."""
    database = Database(url)
    began, written = time.monotonic(), 0
    with ThreadPoolExecutor(4) as threads:
        for number in range(round(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            done = threads.submit(_one, database, number)
            if number % GIVEN_UP == GIVEN_UP - 1:
                done.exception()
            else:
                written += 1
    database.close()
    return written


def _one(database: Database, number: int) -> None:
    with database.write() as c:
        message = f"{number * 262144} of 1073741824 bytes"
        data = {"step": "sync", "phase": "copy", "done": number * 262144, "total": 1073741824}
        rows.add_event(c, time.time(), "progress", message, workload="", data=data, project="")
        if not database.sqlite and number % FIFTH == 0:
            time.sleep(LATE_S)
        if number % GIVEN_UP == GIVEN_UP - 1:
            raise GivenUp
