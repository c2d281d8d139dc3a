"""Google's own discovery documents, as routes and as checks of every request and answer.

They come with google-api-python-client. They prove shapes (paths, parameters, bodies, types, enums,
no unknown field), not behaviour: Google's schemas mark next to nothing as required.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NUMBER = {"int64", "uint64"}


@dataclass(frozen=True)
class Method:
    """One method of an API."""

    id: str
    verb: str
    path: re.Pattern[str]
    query: frozenset[str]
    request: str
    response: str
    service: Service


class Service:
    """One API's methods and schemas."""

    def __init__(self, document: dict[str, Any]) -> None:
        import jsonschema

        self._document = document
        self._common = frozenset(document["parameters"])
        definitions = {name: _schema(one) for name, one in document["schemas"].items()}
        self._validators = {
            name: jsonschema.Draft7Validator(
                {"$ref": f"#/definitions/{name}", "definitions": definitions}
            )
            for name in definitions
        }
        self.methods = [self._method(one) for one in _walk(document["resources"])]

    def match(self, verb: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method of a path with the path's parameters; the most literal one."""
        fits = [
            (method, found.groupdict())
            for method in self.methods
            if method.verb == verb and (found := method.path.fullmatch(path))
        ]
        return min(fits, key=lambda fit: len(fit[1]), default=None)

    def unknown(self, method: Method, query: set[str]) -> list[str]:
        """Query parameters that the method has not."""
        return sorted(query - method.query - self._common)

    def problems(self, schema: str, value: Any) -> list[str]:
        """What is wrong with a body; nothing where there is no schema and no body."""
        if not schema:
            return [] if value is None else ["a body where none belongs"]
        return [
            f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
            for error in self._validators[schema].iter_errors(value)
        ]

    def _method(self, told: dict[str, Any]) -> Method:
        flat = "/" + self._document["servicePath"] + (told.get("flatPath") or told["path"])
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", re.sub(r"[.:]", r"\\\g<0>", flat))
        parameters = told.get("parameters", {}).items()
        return Method(
            id=told["id"],
            verb=told["httpMethod"],
            path=re.compile(pattern),
            query=frozenset(name for name, one in parameters if one["location"] == "query"),
            request=told.get("request", {}).get("$ref", ""),
            response=told.get("response", {}).get("$ref", ""),
            service=self,
        )


@cache
def service(name: str) -> Service:
    """`compute.v1`, `dns.v1` …: read and prepared once per process."""
    import googleapiclient.discovery_cache as found

    path = Path(found.__file__).parent / "documents" / f"{name}.json"
    return Service(json.loads(path.read_text()))


def _walk(resources: dict[str, Any]) -> list[dict[str, Any]]:
    methods: list[dict[str, Any]] = []
    for one in resources.values():
        methods += one.get("methods", {}).values()
        methods += _walk(one.get("resources", {}))
    return methods


def _schema(told: dict[str, Any]) -> dict[str, Any]:
    """A discovery schema as a JSON schema that allows no unknown property."""
    if "$ref" in told:
        return {"$ref": f"#/definitions/{told['$ref']}"}
    kind, made = told.get("type"), {}
    if kind == "object":
        rest = told.get("additionalProperties")
        made = {"type": "object", "additionalProperties": _schema(rest) if rest else False}
        made["properties"] = {
            name: _schema(one) for name, one in told.get("properties", {}).items()
        }
    elif kind == "array":
        made = {"type": "array", "items": _schema(told["items"])}
    elif kind and kind != "any":
        made = {"type": kind}
    if "enum" in told:
        made["enum"] = told["enum"]
    if kind == "string" and told.get("format") in NUMBER:
        made["pattern"] = "^-?[0-9]+$"
    return made
