"""What a request turns out to be about, for the audit trail."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from porter.domain.identity import FLEET


@dataclass
class Note:
    """Filled by routes while they work; routes in other threads share it with the request."""

    project: str = FLEET
    """The last one in which a permission was demanded."""
    user: str = ""
    """Id of who has just logged in."""
    written: bool = False


noting: ContextVar[Note | None] = ContextVar("noting", default=None)


def about(project: str) -> None:
    """The request is about something of this project."""
    note = noting.get()
    if note is not None:
        note.project = project


def became(user: str) -> None:
    """The request was a log-in, as this user."""
    note = noting.get()
    if note is not None:
        note.user = user
