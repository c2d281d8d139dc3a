"""What exists in the stand-in's project, and the operations that change it.

Time is counted in requests, so that tests do not depend on clocks: each request moves every
operation on by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from porter.lab.clouds.gcp.faults import ApiError

ROOT = "https://www.googleapis.com/compute/v1/projects"
Json = dict[str, Any]


@dataclass
class Operation:
    """`slow` requests after its start it is done; `begin` acts when it starts, `end` when it is
    done, `undo` if it then fails."""

    wire: Json
    begin: Callable[[], None]
    end: Callable[[], None]
    undo: Callable[[], None]
    left: int
    hidden: int
    error: str = ""


@dataclass
class World:
    """All maps are by zone and name, but addresses by their address. Guarded by the server."""

    project: str
    region: str
    slow: int = 3
    """Requests that an operation takes."""
    hidden: int = 0
    """Requests until an operation starts; what it makes cannot be seen before."""
    page: int = 2
    """Items per page."""
    lag: int = 0
    """Requests until a list tells what has changed."""
    drain: int = 2
    """Requests for which a detached endpoint drains."""
    now: int = 0
    lacking: set[str] = field(default_factory=set)
    untestable: set[str] = field(default_factory=set)
    """Permissions that cannot be asked for."""
    instances: dict[tuple[str, str], Json] = field(default_factory=dict)
    disks: dict[tuple[str, str], Json] = field(default_factory=dict)
    addresses: dict[str, Json] = field(default_factory=dict)
    groups: dict[tuple[str, str], Json] = field(default_factory=dict)
    ends: dict[tuple[str, str], list[Json]] = field(default_factory=dict)
    """Endpoints of each group, each with `since` and, once detached, `until`."""
    services: list[Json] = field(default_factory=list)
    """Global backend services."""
    operations: dict[str, Operation] = field(default_factory=dict)
    by_request: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    """Names of all machines ever begun, in order."""
    born: dict[str, int] = field(default_factory=dict)
    ghosts: list[tuple[int, str, Json]] = field(default_factory=list)
    counter: int = 1000

    @property
    def zones(self) -> list[str]:
        return [f"{self.region}-{letter}" for letter in "bcd"]

    def number(self) -> int:
        self.counter += 1
        return self.counter

    def link(self, path: str) -> str:
        return f"{ROOT}/{self.project}/{path}"

    def tick(self) -> None:
        """One request has come."""
        self.now += 1
        for one in self.operations.values():
            if one.wire["status"] == "PENDING" and one.hidden < self.now:
                one.wire["status"] = "RUNNING"
                one.begin()
            elif one.wire["status"] == "RUNNING":
                one.left -= 1
                if one.left <= 0:
                    self._finish(one)
        for ends in self.ends.values():
            ends[:] = [one for one in ends if one.get("until", self.now + 1) > self.now]

    def _finish(self, one: Operation) -> None:
        one.wire.update(status="DONE", progress=100, endTime=stamp())
        if not one.error:
            one.end()
            return
        one.undo()
        code, message = one.error, f"The request failed with {one.error}."
        one.wire["error"] = {"errors": [{"code": code, "message": message}]}
        one.wire["httpErrorStatusCode"] = 403 if "QUOTA" in code else 503
        one.wire["httpErrorMessage"] = "FORBIDDEN" if "QUOTA" in code else "SERVICE UNAVAILABLE"

    def begin(
        self,
        kind: str,
        zone: str,
        target: str,
        error: str,
        end: Callable[[], None],
        begin: Callable[[], None] = lambda: None,
        undo: Callable[[], None] = lambda: None,
    ) -> Json:
        """A new operation, as the answer to whoever asked for it."""
        number = self.number()
        name = f"operation-{number}-{kind.lower()}"
        wire = {
            "kind": "compute#operation",
            "id": str(number),
            "name": name,
            "operationType": kind,
            "status": "PENDING",
            "progress": 0,
            "insertTime": stamp(),
            "startTime": stamp(),
            "user": "porter@example.test",
            "zone": self.link(f"zones/{zone}"),
            "targetLink": self.link(target),
            "selfLink": self.link(f"zones/{zone}/operations/{name}"),
        }
        self.operations[name] = Operation(
            wire, begin, end, undo, self.slow, self.now + self.hidden, error
        )
        return wire

    # -- lists ------------------------------------------------------------------------------

    def appeared(self, resource: Json) -> None:
        self.born[resource["selfLink"]] = self.now

    def vanished(self, kind: str, resource: Json) -> None:
        self.ghosts.append((self.now, kind, resource))

    def listed(self, kind: str, resources: list[Json], query: Json, zone: str = "") -> Json:
        """One page, late by `lag`. Raises ApiError for a filter that is not understood."""
        old = self.now - self.lag
        seen = [one for one in resources if self.born.get(one.get("selfLink", ""), old) <= old]
        seen += [
            one
            for when, ghost, one in self.ghosts
            if ghost == kind and when > old and (not zone or one["zone"].endswith(f"/{zone}"))
        ]
        seen = [one for one in seen if matches(one, query.get("filter", ""))]
        start, size = (
            int(query.get("pageToken", 0)),
            min(self.page, int(query.get("maxResults", 500))),
        )
        page: Json = {
            "kind": f"compute#{kind}List",
            "id": kind,
            "items": seen[start : start + size],
        }
        if start + size < len(seen):
            page["nextPageToken"] = str(start + size)
        return page


def matches(resource: Json, wanted: str) -> bool:
    """Google's filter language, as far as `KEY = "VALUE"` and `KEY eq "REGEX"`; anything else is
    refused."""
    if not wanted:
        return True
    found = re.fullmatch(r'([a-zA-Z]+)(?:\.([a-z0-9_-]+))? (=|eq) "([^"]*)"', wanted)
    if not found:
        raise ApiError(400, "invalid", f"Invalid value for field 'filter': '{wanted}'.")
    value = resource.get(found[1])
    if found[2]:
        value = (value or {}).get(found[2])
    if found[3] == "eq":
        return re.fullmatch(found[4], value or "") is not None
    return bool(value == found[4])


def stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
