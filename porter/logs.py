"""Log lines, for people or for programs, that say what they are about.

Whoever works on something says so with `about`; every line that is written meanwhile, also by
libraries, carries it. `request` is the id of the API request in which it all began.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

FIELDS = ("request", "migration", "step", "command", "host", "workload")
QUIET = ("httpx", "alembic", "celery.worker.strategy", "celery.app.trace")
"""They tell of every request and every message at level INFO."""
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

current_request: ContextVar[str] = ContextVar("request", default="")
"""Id of the API request that is being served, or in which the work at hand began."""
_always: dict[str, str] = {}
_about: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)


@contextmanager
def about(**fields: str | None) -> Iterator[None]:
    """Lines written inside carry these fields; empty ones leave what is there."""
    given = {name: value for name, value in fields.items() if value}
    request = given.pop("request", None)
    known = _about.set({**(_about.get() or {}), **given})
    asked = current_request.set(request or current_request.get())
    try:
        yield
    finally:
        current_request.reset(asked)
        _about.reset(known)


def always(**fields: str) -> None:
    """Every line of this process carries these fields from now on."""
    _always.update(fields)


def here(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass, and puts the fields into it."""
    known = {**_always, **(_about.get() or {}), "request": current_request.get()}
    for name in FIELDS:
        if not getattr(record, name, None):
            setattr(record, name, known.get(name))
    return True


class JsonLines(JsonFormatter):
    """One object per line: time, level, logger, message, the fields that are known, and what
    `extra` adds."""

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        for name in FIELDS:
            if not log_data.get(name):
                log_data.pop(name, None)
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        first = {
            "time": stamp.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        rest = {name: value for name, value in log_data.items() if name not in first}
        log_data.clear()
        log_data.update(first | rest)


def to_stderr(style: str, level: int = logging.INFO) -> None:
    """Send everything from a level on to stderr, Porter's own from INFO; style `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else logging.Formatter(TEXT))
    handler.addFilter(here)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("porter").setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
