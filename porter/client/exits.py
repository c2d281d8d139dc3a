"""Exit codes, the same for `porter` and `python -m porter.client`."""

from __future__ import annotations

from porter.client.errors import StillUnderWay
from porter.domain.errors import Conflict, Denied, Invalid, NotFound, PorterError, Unsupported

OK = 0
"""Done: a migration succeeded, or was begun where nobody waits for it."""
FAILED = 1
"""A migration did not succeed (rolled back, failed, held), or no control plane answers."""
BAD_INPUT = 2
"""The request is wrong, refused by a policy, not allowed, or something stands in the way."""
UNDER_WAY = 3
"""The time to wait is over; the migration goes on."""
INTERRUPTED = 130
"""Ctrl-C: watching has ended; the migration goes on."""
CODES = (OK, FAILED, BAD_INPUT, UNDER_WAY, INTERRUPTED)
_CALLERS_FAULT = (Invalid, NotFound, Conflict, Denied, Unsupported)


def exit_code(error: PorterError) -> int:
    """2 if the caller can mend it by asking otherwise; 3 if only the time was short; else 1."""
    if isinstance(error, StillUnderWay):
        return UNDER_WAY
    return BAD_INPUT if isinstance(error, _CALLERS_FAULT) else FAILED
