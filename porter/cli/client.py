"""The REST API as the command line sees it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from porter.cli.events import Event, parse_events
from porter.client.errors import Unreachable
from porter.client.transport import TRIES, Remedies, Transport
from porter.client.transport import document as _document
from porter.client.transport import items as _items
from porter.client.transport import part as _part
from porter.domain.errors import Denied, Invalid, NotFound

__all__ = ["Api", "Event", "Unreachable", "parse_events"]
_PRICES_S = 120.0
"""Price lists that are read for the first time take a while."""


class Api:
    """Calls block; they raise a PorterError that says what to do. Only the start of a migration is
    repeated: whoever waits for the control plane to come back does so by asking again."""

    def __init__(
        self, url: str, token_file: Path, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.token_file = token_file
        remedies = Remedies(
            url="give --api or PORTER_API like http://127.0.0.1:8460",
            unreachable="start it with 'porter up', or name another with --api",
            token=f"it is read from {token_file}; name another with --token-file",
            down="'porter status' shows how the control plane is",
        )
        token = _read_token(token_file)
        self._transport = Transport(url, token, tries=1, remedies=remedies, transport=transport)
        self.url = self._transport.url

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    # -- hosts

    def hosts(self) -> list[dict[str, Any]]:
        return self._pages("/v1/hosts")

    def remove_host(self, name: str) -> None:
        self._call("DELETE", f"/v1/hosts/{_part(name)}")

    def join_token(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/join-tokens", body))

    # -- sites

    def sites(self) -> list[dict[str, Any]]:
        return self._pages("/v1/sites")

    def site(self, name: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/sites/{_part(name)}"))

    def add_site(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/sites", body))

    def verify_site(self, name: str) -> list[dict[str, Any]]:
        return _items(self._call("POST", f"/v1/sites/{_part(name)}/verify", timeout=120.0))

    def sweep_site(self, name: str, remove: bool) -> list[dict[str, Any]]:
        path = f"/v1/sites/{_part(name)}/sweep"
        return _items(self._call("POST", path, {"remove": remove}, timeout=120.0))

    def remove_site(self, name: str) -> None:
        self._call("DELETE", f"/v1/sites/{_part(name)}")

    # -- prices

    def prices(self, query: list[tuple[str, str]]) -> list[dict[str, Any]]:
        path = f"/v1/prices?{urlencode(query)}"
        return _items(self._call("GET", path, timeout=_PRICES_S))

    def workload_prices(self, name: str, query: list[tuple[str, str]]) -> dict[str, Any]:
        path = f"/v1/workloads/{_part(name)}/prices?{urlencode(query)}"
        return _document(self._call("GET", path, timeout=_PRICES_S))

    # -- stores

    def stores(self) -> list[dict[str, Any]]:
        return self._pages("/v1/stores")

    def add_store(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/stores", body))

    def verify_store(self, name: str) -> None:
        self._call("POST", f"/v1/stores/{_part(name)}/verify", timeout=120.0)

    def remove_store(self, name: str) -> None:
        self._call("DELETE", f"/v1/stores/{_part(name)}")

    # -- checkpoints

    def checkpoints(self) -> list[dict[str, Any]]:
        return self._pages("/v1/checkpoints")

    def checkpoint(self, identity: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/checkpoints/{_part(identity)}"))

    def create_checkpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        return _document(self._call("POST", "/v1/checkpoints", body))

    def restore_checkpoint(self, identity: str, to: str) -> dict[str, Any]:
        path = f"/v1/checkpoints/{_part(identity)}/restore"
        return _document(self._call("POST", path, {"to": to}))

    def remove_checkpoint(self, identity: str) -> dict[str, Any]:
        return _document(self._call("DELETE", f"/v1/checkpoints/{_part(identity)}"))

    # -- workloads

    def declare(self, workload: str, endpoints: list[str]) -> dict[str, Any]:
        path = f"/v1/workloads/{_part(workload)}/endpoints"
        return _document(self._call("PUT", path, {"endpoints": endpoints}))

    def workloads(self) -> list[dict[str, Any]]:
        return self._pages("/v1/workloads")

    def workload(self, name: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/workloads/{_part(name)}"))

    def preflight(self, workload: str, to: str, mode: str) -> dict[str, Any]:
        path = f"/v1/workloads/{_part(workload)}/preflight"
        return _document(self._call("POST", path, {"to": to, "mode": mode}, timeout=120.0))

    # -- migrations

    def migrate(self, workload: str, to: str, mode: str, **more: Any) -> dict[str, Any]:
        """Start a migration. Repeated with one idempotency key if the answer gets lost."""
        body = {"workload": workload, "to": to, "mode": mode, **more}
        key = str(uuid.uuid4())
        return _document(self._call("POST", "/v1/migrations", body, key=key, tries=TRIES))

    def migrations(self, most: int = 100) -> list[dict[str, Any]]:
        """The newest ones, so many at most."""
        return self._pages("/v1/migrations", most)

    def migration(self, identity: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/migrations/{_part(identity)}"))

    def cancel(self, identity: str) -> dict[str, Any]:
        return _document(self._call("POST", f"/v1/migrations/{_part(identity)}/cancel"))

    def rollback(self, identity: str) -> dict[str, Any]:
        return _document(self._call("POST", f"/v1/migrations/{_part(identity)}/rollback"))

    def resolve(self, identity: str, run_on: str, reason: str, **proof: bool) -> dict[str, Any]:
        body = {"run_on": run_on, "reason": reason, **proof}
        return _document(self._call("POST", f"/v1/migrations/{_part(identity)}/resolve", body))

    def receipt(self, identity: str) -> dict[str, Any]:
        return _document(self._call("GET", f"/v1/migrations/{_part(identity)}/receipt"))

    def find_migration(self, prefix: str) -> dict[str, Any]:
        """The migration whose id is, or alone begins with, `prefix`."""
        try:
            return self.migration(prefix)
        except NotFound:
            found = [m for m in self.migrations(10_000) if str(m["id"]).startswith(prefix)]
            if len(found) == 1:
                return found[0]
            if not found:
                raise
        raise Invalid(
            f"cannot tell which migration {prefix!r} is: {len(found)} ids begin so",
            "give more of the id; 'porter migration ls' lists them",
        )

    def events(self, identity: str, after: str | None = None) -> Iterator[Event]:
        """The migration's events after the one named, as they come, until the stream ends.

        Raises Unreachable when the connection breaks; call again with the last event's id.
        """
        path = f"/v1/migrations/{_part(identity)}/events"
        return parse_events(self._transport.frames(path, after))

    # -- people

    def listing(self, kind: str) -> list[dict[str, Any]]:
        """All `users` or `tokens`."""
        return self._pages(f"/v1/{kind}")

    def change(self, method: str, *path: str, body: Any = None) -> dict[str, Any]:
        return _document(self._call(method, "/v1/" + "/".join(map(_part, path)), body))

    # -- audit

    def audit(self, query: dict[str, str]) -> list[dict[str, Any]]:
        return _items(self._call("GET", f"/v1/audit?{urlencode(query)}"))

    def audit_head(self) -> dict[str, Any]:
        return _document(self._call("GET", "/v1/audit/head"))

    def audit_export(self) -> tuple[str, Iterator[str]]:
        """Number and hash of the trail's last entry, and its lines as they come."""
        lines = self._lines("/v1/audit/export", "Audit-Head")
        return next(lines), lines

    # -- for modules that know their own paths

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return _document(self._call(method, path, body, timeout=_PRICES_S))

    def pages(
        self, path: str, most: int | None = None, query: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        return self._pages(path, most, query)

    def text(self, path: str, method: str = "GET") -> str:
        return self._transport.send(method, path).text

    # -- plumbing

    def _lines(self, path: str, header: str) -> Iterator[str]:
        """A header of the answer, then its lines."""
        with self._transport.streaming(path) as answer:
            yield answer.headers.get(header, "")
            yield from answer.iter_lines()

    def _pages(
        self, path: str, most: int | None = None, query: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        asked = f"{path}?{urlencode(query)}" if query else path
        return self._transport.pages(asked, most)

    def _call(self, method: str, path: str, *args: Any, **more: Any) -> Any:
        return self._transport.call(method, path, *args, **more)


def _read_token(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None  # the API says whether it wants one; then the message names this file
    except OSError as error:
        raise Denied(
            f"cannot read the API token in {path}: {error.strerror}",
            "run as its owner, or name another with --token-file",
        ) from error
