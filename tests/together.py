"""Calls that are really at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from porter.domain.errors import PorterError


def together(calls: Sequence[Callable[[], object]]) -> list[object]:
    """All at once; what each gave, or the error it ended with."""
    ready = threading.Barrier(len(calls))
    results: list[object] = []

    def one(call: Callable[[], object]) -> None:
        ready.wait()
        try:
            results.append(call())
        except PorterError as error:
            results.append(error)

    threads = [threading.Thread(target=one, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
