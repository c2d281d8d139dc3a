"""What exists in the stand-in: ARM resources, and operations on them that take a while."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

Json = dict[str, Any]
PAGE = 2
"""Resources per page of a list, so that every list of three has a `nextLink`."""


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "0+00:00")


@dataclass
class Request:
    """One call, taken to pieces. `kind` is the resource type, `name` the last resource's name;
    `verb` what is POSTed to it, or the collection that is listed."""

    method: str
    target: str
    headers: Any
    body: Any = None

    def __post_init__(self) -> None:
        url = urlsplit(self.target)
        self.path = unquote(url.path)
        self.query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.base, _, rest = self.path.rpartition("/providers/")
        namespace, *pieces = rest.split("/")
        pairs = len(pieces) // 2 * 2
        self.types = [namespace, *pieces[0:pairs:2]]
        self.names = pieces[1:pairs:2]
        self.verb = pieces[-1] if len(pieces) % 2 else ""
        self.kind = "/".join([*self.types, *([self.verb] if not self.names else [])])

    @property
    def id(self) -> str:
        """Of the resource, in the caller's case, without `verb`."""
        return self.path.removesuffix(f"/{self.verb}") if self.verb else self.path

    @property
    def group(self) -> str:
        _, _, rest = self.base.partition("/resourceGroups/")
        return rest.split("/")[0]


@dataclass
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An error that ARM answers with."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(f"{code}: {message}")
        self.answer = Answer(status, {"error": {"code": code, "message": message}})
        self.answer.headers.update({k.replace("_", "-"): v for k, v in headers.items()})


def absent(id: str) -> Refusal:
    kind = "/".join(id.split("/providers/")[-1].split("/")[:2])
    group = id.split("/resourceGroups/")[-1].split("/")[0]
    message = (
        f"The Resource '{kind}/{id.rsplit('/', 1)[-1]}' under resource group '{group}' was not "
        "found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return Refusal(404, "ResourceNotFound", message)


@dataclass
class Operation:
    id: str
    target: str
    left: int
    finish: Callable[[], None]
    error: Json | None = None
    result: Any = None
    done: bool = False
    started: str = field(default_factory=now)

    def tick(self) -> None:
        """One look at it: it is done after `left` looks that found it under way."""
        if self.done:
            return
        if self.left:
            self.left -= 1
        else:
            self.done = True
            self.finish()


class World:
    """State behind one lock; ids compare without case, as in ARM."""

    def __init__(self, subscription: str, location: str) -> None:
        self.subscription, self.location = subscription, location
        self.base_url = ""
        self.lock = threading.RLock()
        self.resources: dict[str, Json] = {}
        self.operations: dict[str, Operation] = {}
        self.user_data: dict[str, str] = {}
        self.power: dict[str, str] = {}
        self.made: Counter[str] = Counter()
        self.next_host = 4
        self.slow = 1
        """Looks at an operation that find it under way, before one finds it done."""
        self.pause = 1
        """Seconds that Compute asks to wait, by Retry-After."""

    def get(self, id: str) -> Json | None:
        """The resource, after what is under way on it has come one look nearer to its end."""
        for one in [one for one in self.operations.values() if one.target == id.lower()]:
            one.tick()
        return self.resources.get(id.lower())

    def known(self, id: str) -> Json:
        found = self.get(id)
        if found is None:
            raise absent(id)
        return found

    def of(self, kind: str, base: str) -> Iterator[Json]:
        """All resources of a type below a subscription or group, by name."""
        prefix = f"{base}/".lower()
        for id in sorted(self.resources):
            one = self.resources[id]
            if id.startswith(prefix) and one["type"].lower() == kind.lower():
                yield one

    def put(self, id: str, resource: Json) -> Json:
        self.resources[id.lower()] = resource
        return resource

    def drop(self, id: str) -> None:
        self.resources.pop(id.lower(), None)

    def etag(self) -> str:
        return f'W/"{uuid.uuid4()}"'

    def begin(
        self,
        target: str,
        finish: Callable[[], None] = lambda: None,
        *,
        slow: int | None = None,
        error: Json | None = None,
        result: Any = None,
    ) -> Operation:
        left = self.slow if slow is None else slow
        made = Operation(str(uuid.uuid4()), target.lower(), left, finish, error, result)
        self.operations[made.id] = made
        return made

    def preempt(self, target: str) -> None:
        """End what is under way on a resource: something stronger has come."""
        message = "The operation has been preempted by a more recent operation."
        for one in self.operations.values():
            if one.target == target.lower() and not one.done:
                one.done, one.error = True, {"code": "OperationPreempted", "message": message}

    def tracked(self, operation: Operation, request: Request, *, location: bool) -> dict[str, str]:
        """The headers of an operation that goes on: as Compute and Network write them."""
        namespace = request.types[0]
        place = f"{self.base_url}/subscriptions/{self.subscription}/providers/{namespace}"
        place += f"/locations/{self.location}"
        version = f"api-version={request.query.get('api-version', '')}"
        compute = namespace.lower() == "microsoft.compute"
        kind = "DiskOperations" if "disks" in request.types else "operations"
        secret = f"p={uuid.uuid5(uuid.NAMESPACE_URL, self.subscription)}&" if compute else ""
        headers = {
            "Azure-AsyncNotification": "Enabled",
            "Azure-AsyncOperation": f"{place}/{kind}/{operation.id}?{secret}{version}",
        }
        if location and compute:
            monitor = f"{place}/{kind}/{operation.id}?{secret}monitor=true&{version}"
            headers["Location"] = monitor
        elif location:
            headers["Location"] = f"{place}/operationResults/{operation.id}?{version}"
        if compute:
            headers["Retry-After"] = str(self.pause)
        return headers

    def listed(self, request: Request, found: list[Json]) -> Answer:
        """One page, with a link to the next."""
        start = int(request.query.get("$skiptoken", 0))
        body: Json = {"value": found[start : start + PAGE]}
        if start + PAGE < len(found):
            version = request.query.get("api-version", "")
            rest = "".join(f"&{k}={v}" for k, v in request.query.items() if k == "$expand")
            link = f"{self.base_url}{request.path}?api-version={version}{rest}"
            body["nextLink"] = f"{link}&$skiptoken={start + PAGE}"
        return Answer(200, body)
