"""Long-running operations: begun or asked once per call, resumed by any process from a token."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from porter.domain.errors import Invalid
from porter.providers.base import Pending

LONGEST = 30.0
"""Seconds; Azure may propose a minute for what is often done sooner."""


def _method() -> Any:
    from azure.core.polling.base_polling import get_retry_after
    from azure.mgmt.core.polling.arm_polling import ARMPolling

    class OnePoll(ARMPolling):
        """The SDK's own polling without its waiting: one look, then the caller decides."""

        def _poll(self) -> None:
            if not self.finished():
                self.update_status()
            if self.finished():
                super()._poll()

        def pause(self) -> float:
            asked = get_retry_after(self._pipeline_response)
            return min(max(asked or 2.0, 0.05), LONGEST)

    return OnePoll()


class Outcome:
    """Of `drive`: `pending` while it goes on, else `result`."""

    def __init__(self, pending: Pending | None, result: Any = None) -> None:
        self.pending, self.result = pending, result


def drive(stage: str, begin: Callable[..., Any], resume: str = "") -> Outcome:
    """Begin an operation (or go on with the one behind `resume`) and ask once how it goes.

    `begin` is a `begin_…` method of the SDK with its arguments bound. Raises what the SDK raises
    when the operation failed. An operation that Azure has forgotten counts as over: its caller
    looks at the resource next.
    """
    from azure.core.exceptions import HttpResponseError

    method = _method()
    try:
        poller = begin(polling=method, continuation_token=resume or None)
        poller.wait()
    except HttpResponseError as error:
        if resume and error.status_code == 404:
            return Outcome(None)
        raise
    if method.finished():
        return Outcome(None, method.resource())
    token = json.dumps({"stage": stage, "resume": poller.continuation_token()})
    return Outcome(Pending(token, method.pause()))


def read(token: str) -> tuple[str, str]:
    """Stage and continuation of a token; two empty strings where there is none."""
    if not token:
        return "", ""
    try:
        found = json.loads(token)
        return str(found["stage"]), str(found["resume"])
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid("cannot go on with an Azure operation: the token cannot be read") from error
