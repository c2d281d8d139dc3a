"""Every error Porter raises on purpose.

Messages read "cannot …: why"; `remedy` says what to do. The class says what the engine does next.
"""

from __future__ import annotations

from typing import Any


class PorterError(Exception):
    """Root of Porter's errors. `str()` is one sentence for a person; `remedy` is what to do."""

    code = "error"

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.members: dict[str, Any] = {}
        """What else a program may want to know; stands in the problem that the error becomes."""

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class Transient(PorterError):
    """It may work when tried again: the engine retries."""

    code = "transient"


class Permanent(PorterError):
    """It will not work by trying again: the engine undoes."""

    code = "permanent"


class Unsupported(Permanent):
    """The workload or host cannot do this. Said at preflight, with the remedy."""

    code = "unsupported"


class Exhausted(Permanent):
    """A place has no capacity or quota left for what was asked: something else may do."""

    code = "exhausted"


class InDoubt(PorterError):
    """The other side may or may not have acted: ask it, else hold. Never guess."""

    code = "in_doubt"


class Invalid(PorterError):
    """The request itself is wrong (HTTP 422, exit code 2)."""

    code = "invalid"


class NotFound(PorterError):
    """What the request names does not exist (HTTP 404, exit code 2)."""

    code = "not_found"


class Conflict(PorterError):
    """The request contradicts the present state (HTTP 409, exit code 2)."""

    code = "conflict"


class Denied(PorterError):
    """The caller may not do this (HTTP 401 or 403, exit code 2)."""

    code = "denied"


class PolicyRefused(Conflict):
    """A policy refuses the move; `policy` and `rule` name what binds, `opens_at` (or null) when the
    change windows open."""

    code = "policy"


class ApprovalRequired(Conflict):
    """A policy demands another person's approval; `plan` names the plan that waits for it."""

    code = "approval-required"


class Lapsed(Conflict):
    """The plan has expired, or rests on what is no longer so: make a new one."""

    code = "plan-lapsed"


BY_CODE: dict[str, type[PorterError]] = {
    cls.code: cls
    for cls in (
        PorterError,
        Transient,
        Permanent,
        Unsupported,
        Exhausted,
        InDoubt,
        Invalid,
        NotFound,
        Conflict,
        Denied,
        PolicyRefused,
        ApprovalRequired,
        Lapsed,
    )
}


def from_code(code: str, message: str, remedy: str = "") -> PorterError:
    """Rebuild an error that crossed the wire. An unknown code becomes `Permanent`."""
    return BY_CODE.get(code, Permanent)(message, remedy)
