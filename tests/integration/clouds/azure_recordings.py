"""Sessions with the real Azure, as Microsoft's own tests recorded them."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from porter.lab.clouds.azure import cache
from porter.lab.clouds.azure.world import Answer, Request

ARM = "https://management.azure.com"
TOLD = ("Azure-AsyncOperation", "Location", "Retry-After")


@dataclass(frozen=True)
class Exchange:
    method: str
    target: str
    asked: Any
    status: int
    told: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


def session(name: str) -> list[Exchange]:
    """All exchanges with ARM of one recording, in order."""
    found = (cache() / "recordings" / name).read_text()
    if name.endswith(".json"):
        return [
            _exchange(
                one["RequestMethod"],
                one["RequestUri"],
                one["RequestBody"],
                one["StatusCode"],
                one["ResponseBody"],
                one["ResponseHeaders"],
            )
            for one in json.loads(found)["Entries"]
            if one["RequestUri"].startswith(ARM)
        ]
    return [
        _exchange(
            one["request"]["method"],
            one["request"]["uri"],
            _json(one["request"]["body"]),
            one["response"]["status"]["code"],
            _json(one["response"]["body"]["string"]),
            {k: v[0] for k, v in one["response"]["headers"].items()},
        )
        for one in yaml.safe_load(found)["interactions"]
        if one["request"]["uri"].startswith(ARM)
    ]


def _json(text: str | bytes | None) -> Any:
    if isinstance(text, str) and text.startswith("b'"):  # how one generation of them was written
        text = ast.literal_eval(text)
    return json.loads(text) if text else None


def _exchange(
    method: str, uri: str, asked: Any, status: int, told: Any, headers: dict[str, Any]
) -> Exchange:
    plain = {key.lower(): str(value) for key, value in headers.items()}
    kept = {one: plain[one.lower()] for one in TOLD if one.lower() in plain}
    return Exchange(method, uri.removeprefix(ARM), asked, status, told, kept)


class Replayer:
    """Answers with what Azure answered then, in order per method and path.

    Query strings are not compared: the SDKs of today ask for later versions of the API. `differing`
    collects bodies that are not what was sent then; `left` is what nobody asked for.
    """

    def __init__(self, exchanges: list[Exchange]) -> None:
        self.base = ""
        self.differing: list[tuple[str, Any, Any]] = []
        self.served: list[Exchange] = []
        self._queues: dict[tuple[str, str], deque[Exchange]] = defaultdict(deque)
        for one in exchanges:
            self._queues[one.method, self._key(one.target)].append(one)

    @staticmethod
    def _key(target: str) -> str:
        """Operations are asked at two addresses that differ in the query only."""
        monitor = "&monitor" if "monitor=true" in target else ""
        return re.sub(r"//+", "/", urlsplit(target).path).lower() + monitor

    @property
    def left(self) -> list[Exchange]:
        return [one for queue in self._queues.values() for one in queue]

    def answer(self, request: Request) -> Answer:
        queue = self._queues.get((request.method, self._key(request.target)))
        if not queue:
            message = f"{request.method} {request.target} was not recorded"
            return Answer(404, {"error": {"code": "NotRecorded", "message": message}})
        one = queue.popleft()
        self.served.append(one)
        if (request.body or None) != (one.asked or None):
            self.differing.append((f"{one.method} {one.path}", request.body, one.asked))
        headers = {key: value.replace(ARM, self.base) for key, value in one.headers.items()}
        return Answer(one.status, one.told, headers)
