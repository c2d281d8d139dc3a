"""What may go wrong on the way to Google, on order."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any


class ApiError(Exception):
    """An answer with an error, in the form that Google gives it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def body(self) -> dict[str, Any]:
        one = {"domain": "global", "reason": self.reason, "message": self.message}
        return {"error": {"code": self.status, "message": self.message, "errors": [one]}}


@dataclass
class Fault:
    """Befalls the next `times` calls of the methods that fit `method` (`*` allowed)."""

    method: str
    times: int = 1
    status: int = 0
    """Answer this instead of doing it."""
    reason: str = "backendError"
    cut: bool = False
    """Do it, then close the connection without an answer."""
    operation: str = ""
    """Begin the operation, and let it end with this error code."""


class Faults:
    def __init__(self) -> None:
        self.ordered: list[Fault] = []

    def order(self, fault: Fault) -> None:
        self.ordered.append(fault)

    def take(self, method: str) -> Fault | None:
        """The fault that befalls this call, if any; used up by one."""
        for fault in self.ordered:
            if fault.times > 0 and fnmatch(method, fault.method):
                fault.times -= 1
                return fault
        return None
