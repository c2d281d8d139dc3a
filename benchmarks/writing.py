"""Events at a steady rate, as moves write them; some transactions overlap, some come to nothing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from porter.db import rows
from porter.db.database import Database

LATE_S = 0.15
"""How long every fifth transaction stays open after its event got its number."""
FIFTH = 5


class GivenUp(Exception):
    """The transaction is rolled back: its event's number stays unused."""


def write(url: str, rate: float, seconds: float, given_up: int) -> int:
    """Write `rate` events a second, each `given_up`-th in a transaction that is rolled back.
    Returns how many were written. Blocks; to be run in a process of its own."""
    database = Database(url)
    began, begun = time.monotonic(), []
    with ThreadPoolExecutor(4) as threads:
        for number in range(round(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            comes_to_nothing = number % given_up == given_up - 1
            begun.append(threads.submit(_one, database, number, comes_to_nothing))
    written = 0
    for done in begun:
        try:
            done.result()
            written += 1
        except GivenUp:
            pass  # as was wanted
    database.close()
    return written


def _one(database: Database, number: int, comes_to_nothing: bool) -> None:
    with database.write() as c:
        message = f"{number * 262144} of 1073741824 bytes"
        data = {"step": "sync", "phase": "copy", "done": number * 262144, "total": 1073741824}
        rows.add_event(c, time.time(), "progress", message, workload="", data=data, project="")
        if not database.sqlite and number % FIFTH == 0:
            time.sleep(LATE_S)
        if comes_to_nothing:
            raise GivenUp
