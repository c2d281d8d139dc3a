"""Porter's control plane, for programs."""

from __future__ import annotations

import json
import math
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import httpx

from porter.client.decode import load
from porter.client.errors import RateLimited, StillUnderWay, Unavailable, Unreachable
from porter.client.models import (
    Checkpoint,
    Event,
    Host,
    Move,
    Plan,
    Preflight,
    Receipt,
    Verdict,
    Workload,
)
from porter.client.transport import TRIES, Transport, document, part
from porter.domain.errors import Denied, Invalid

T = TypeVar("T")
LONG_S = 120.0
"""What hosts or providers are asked for takes longer."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0)
HELD_PATIENCE_S = 20.0
"""How long a held migration may take to find its way again before `wait` gives it back as held."""
PATIENCE_S = 120.0
"""How long the control plane may be away before waiting, or a stream of events, gives up."""
AWAY = (Unreachable, Unavailable, RateLimited)


class Porter:
    """The control plane at `url`. Thread-safe; to be closed, or used in a `with`.

    The token is `token`, else what `token_file` holds, else the environment's PORTER_API_TOKEN or
    PORTER_API_TOKEN_FILE. Every POST has an Idempotency-Key, so that whatever is safe to send again
    is sent again: up to `tries` times, when no answer comes (of a connection, or within 30 s) and
    for 429, 502 and 503, after the time that `Retry-After` asks for. All methods block, and raise
    what `porter.client.errors` describes. With `dry_run` nothing is done, and the answer is what
    would be.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        *,
        tries: int = TRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        found = token or _token(token_file)
        self._transport = Transport(url, found, tries=tries, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    # -- hosts and workloads

    def hosts(self, **filters: str) -> list[Host]:
        """Filters: `site`, `alive`."""
        return self._list(Host, "/v1/hosts", filters)

    def host(self, name: str) -> Host:
        return load(Host, self._get(f"/v1/hosts/{part(name)}"))

    def workloads(self, **filters: str) -> list[Workload]:
        """Filters: `host`, `site`, `state`, `project`, `name` (how it begins)."""
        return self._list(Workload, "/v1/workloads", filters)

    def workload(self, name: str) -> Workload:
        return load(Workload, self._get(f"/v1/workloads/{part(name)}"))

    def preflight(self, workload: str, to: str, mode: str = "auto") -> Preflight:
        """What would stop this move? Both hosts are asked, nothing is touched."""
        path = f"/v1/workloads/{part(workload)}/preflight"
        return load(Preflight, self._post(path, {"to": to, "mode": mode}, timeout=LONG_S))

    def verdict(self, workload: str, to: str, **more: Any) -> Verdict:
        """What the policies say to a move, now or `at` some time. Nothing is begun."""
        return load(Verdict, self._post("/v1/verdicts", _move(workload, to, more)))

    # -- migrations

    def migrate(
        self,
        workload: str,
        to: str,
        mode: str = "auto",
        *,
        wait: float | None = None,
        idempotency_key: str | None = None,
        dry_run: bool = False,
        **more: Any,
    ) -> Migration:
        """Move a workload to a host or site. `more`: `provision`, `max_price`, `release`, `via`.

        It returns when the move has begun; with `wait` when it has ended, as `Migration.wait` does.
        The same `idempotency_key` is the same migration, for 24 hours, also from another process.
        """
        body = _move(workload, to, {"mode": mode, **more})
        path = "/v1/migrations" + _query({"dry_run": "true"} if dry_run else {})
        begun = self._migration(self._post(path, body, key=idempotency_key))
        return begun if wait is None or dry_run else begun.wait(wait)

    def migrations(self, most: int = 100, **filters: str) -> list[Migration]:
        """The newest ones, so many at most. Filters: `workload`, `state`, `project`, `since`."""
        found = self._transport.pages("/v1/migrations" + _query(filters), most)
        return [self._migration(one) for one in found]

    def migration(self, identity: str) -> Migration:
        return self._migration(self._get(f"/v1/migrations/{part(identity)}"))

    def receipt(self, migration: str) -> Receipt:
        """What a migration did, measured; what is known so far while it has not ended."""
        raw = document(self._get(f"/v1/migrations/{part(migration)}/receipt"))
        found = load(Receipt, raw)
        found.raw.update(raw)
        return found

    def cancel(self, migration: str) -> Migration:
        """Ask for it to be undone. Conflict once the workload is handed over."""
        return self._migration(self._post(f"/v1/migrations/{part(migration)}/cancel"))

    def rollback(self, migration: str, *, idempotency_key: str | None = None) -> Migration:
        """Cancel one that is under way, or begin the move back of one that succeeded."""
        path = f"/v1/migrations/{part(migration)}/rollback"
        return self._migration(self._post(path, key=idempotency_key))

    # -- plans

    def plans(self, **filters: str) -> list[Plan]:
        """Newest first. Filters: `state`, `workload`."""
        return self._list(Plan, "/v1/plans", filters)

    def plan(self, identity: str) -> Plan:
        return load(Plan, self._get(f"/v1/plans/{part(identity)}"))

    def create_plan(self, workload: str, to: str, mode: str = "auto", **more: Any) -> Plan:
        """Freeze a move. `more`: `lifetime` (seconds), and what `migrate` takes."""
        return load(Plan, self._post("/v1/plans", _move(workload, to, {"mode": mode, **more})))

    def approve_plan(self, plan: Plan, reason: str = "") -> Plan:
        """Approve exactly this plan, which somebody else made."""
        body = {"hash": plan.hash, "reason": reason}
        return load(Plan, self._post(f"/v1/plans/{part(plan.id)}/approve", body))

    def decline_plan(self, identity: str, reason: str) -> Plan:
        return load(Plan, self._post(f"/v1/plans/{part(identity)}/decline", {"reason": reason}))

    def execute_plan(self, identity: str, *, wait: float | None = None) -> Migration:
        """Carry a plan out, once: executed again, it is the same migration."""
        begun = self._migration(self._post(f"/v1/plans/{part(identity)}/execute"))
        return begun if wait is None else begun.wait(wait)

    # -- checkpoints

    def checkpoints(self, **filters: str) -> list[Checkpoint]:
        """Filters: `workload`, `state`, `project`."""
        return self._list(Checkpoint, "/v1/checkpoints", filters)

    def checkpoint(self, identity: str) -> Checkpoint:
        return load(Checkpoint, self._get(f"/v1/checkpoints/{part(identity)}"))

    def create_checkpoint(
        self, workload: str, store: str | None = None, readers: tuple[str, ...] = ()
    ) -> Checkpoint:
        """Begin to take one; its `task` tells how that goes."""
        body: dict[str, Any] = {"workload": workload, "readers": list(readers)}
        body |= {"store": store} if store else {}
        return load(Checkpoint, self._post("/v1/checkpoints", body))

    def restore_checkpoint(self, identity: str, to: str) -> Checkpoint:
        """Begin to restore it at a host or site."""
        return load(Checkpoint, self._post(f"/v1/checkpoints/{part(identity)}/restore", {"to": to}))

    def delete_checkpoint(self, identity: str) -> Checkpoint:
        path = f"/v1/checkpoints/{part(identity)}"
        return load(Checkpoint, self._transport.call("DELETE", path))

    # -- events

    def events(self, after: str | None = None, **filters: str) -> Iterator[Event]:
        """What happens in the fleet, as it happens, each once and in order, without end: from now
        on, or all after the event of that id. Filters: `type`, `project`, `workload`, `migration`.

        A connection that breaks is opened again where it broke off, at whichever replica answers.
        Raises Unreachable or Unavailable when the control plane is away for PATIENCE_S.
        """
        path, last, retry = "/v1/events" + _query(filters), after, 1.0
        lost: float | None = None
        while True:
            try:
                for frame in self._transport.frames(path, last):
                    lost, last, retry = None, frame.id or last, frame.retry_s or retry
                    if frame.data:
                        yield load(Event, json.loads(frame.data))
            except AWAY:
                now = time.monotonic()
                lost = now if lost is None else lost
                if now - lost > PATIENCE_S:
                    raise
            time.sleep(retry)

    # -- plumbing

    def _get(self, path: str) -> Any:
        return self._transport.call("GET", path)

    def _post(self, path: str, body: Any = None, key: str | None = None, **more: Any) -> Any:
        return self._transport.call("POST", path, body, key=key or str(uuid.uuid4()), **more)

    def _list(self, cls: type[T], path: str, filters: dict[str, str]) -> list[T]:
        return [load(cls, one) for one in self._transport.pages(path + _query(filters))]

    def _migration(self, raw: Any) -> Migration:
        return Migration(**vars(load(Move, raw)), porter=self)


@dataclass(frozen=True)
class Migration(Move):
    """A migration as it was when it was asked for; `refresh` asks again."""

    porter: Porter = field(kw_only=True, repr=False, compare=False)

    def refresh(self) -> Migration:
        return self.porter.migration(self.id)

    def wait(self, timeout: float | None = None) -> Migration:
        """The migration when it has ended, or has stayed held for HELD_PATIENCE_S. Look at its
        `state`: not every one succeeds. Raises StillUnderWay after so many seconds; it goes on.
        A control plane that is away for less than PATIENCE_S is waited for."""
        began = heard = time.monotonic()
        held: float | None = None
        look, found = 0, self
        while not found.ended:
            now = time.monotonic()
            held = (now if held is None else held) if found.state == "held" else None
            if held is not None and now - held >= HELD_PATIENCE_S:
                return found
            left = math.inf if timeout is None else began + timeout - now
            if left <= 0:
                raise StillUnderWay(self.id, found.state, timeout or 0.0)
            time.sleep(min(left, PAUSES_S[min(look, len(PAUSES_S) - 1)]))
            look += 1
            try:
                found = found.refresh()
            except AWAY:
                if time.monotonic() - heard > PATIENCE_S:
                    raise
            else:
                heard = time.monotonic()
        return found

    def receipt(self) -> Receipt:
        return self.porter.receipt(self.id)

    def cancel(self) -> Migration:
        return self.porter.cancel(self.id)

    def rollback(self) -> Migration:
        return self.porter.rollback(self.id)

    def events(self) -> Iterator[Event]:
        """What has happened to it, and what happens, without end; see `Porter.events`."""
        return self.porter.events(after="0", migration=self.id)


def _token(token_file: str | os.PathLike[str] | None) -> str | None:
    if token_file is None:
        given = os.environ.get("PORTER_API_TOKEN", "").strip()
        token_file = os.environ.get("PORTER_API_TOKEN_FILE") or None
        if given or token_file is None:
            return given or None
    try:
        return Path(token_file).read_text().strip() or None
    except OSError as error:
        raise Denied(
            f"cannot read the API token in {token_file}: {error.strerror}",
            "run as its owner, or give another file",
        ) from error


def _query(filters: dict[str, str]) -> str:
    return "?" + urlencode(filters) if filters else ""


def _move(workload: str, to: str, more: dict[str, Any]) -> dict[str, Any]:
    body = {key: value for key, value in more.items() if value is not None}
    price = body.get("max_price")
    if isinstance(price, float):
        raise Invalid("cannot use a float as a price: it is no exact amount", "give a Decimal")
    if isinstance(price, Decimal):
        body["max_price"] = format(price, "f")
    return {"workload": workload, "to": to, **body}
