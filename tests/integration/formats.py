"""Formats that the OpenAPI document names and JSON Schema does not know, for schemathesis."""

from __future__ import annotations

from zoneinfo import available_timezones

import schemathesis
from hypothesis import strategies as st


def _field(first: int, last: int) -> st.SearchStrategy[str]:
    """One field of a cron expression: all, one, a range, a list, or a step."""
    number = st.integers(first, last)
    ordered = st.tuples(number, number).map(sorted)
    return st.one_of(
        st.just("*"),
        number.map(str),
        ordered.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.lists(number, min_size=2, max_size=4).map(lambda some: ",".join(map(str, some))),
        st.integers(1, last).map(lambda step: f"*/{step}"),
    )


# Every month has a 28th: none of them never comes true.
CRON = st.tuples(_field(0, 59), _field(0, 23), _field(1, 28), _field(1, 12), _field(0, 6))

schemathesis.openapi.format("cron", CRON.map(" ".join))
schemathesis.openapi.format("time-zone", st.sampled_from(sorted(available_timezones())))
