"""Whether a request body is what Microsoft's own definitions allow.

Two of them, because each lacks something. The OpenAPI documents (fetched by `setup/azure.sh`) know
value ranges, required and read-only properties, but those of Compute and Network are of 2019 and
2016. The installed SDK's JSON types are of today and name every property there is, and the known
values of enumerations; they know nothing of ranges. DNS has one version only, so there the document
is taken as complete.
"""

from __future__ import annotations

import enum
import importlib
import json
import re
import typing
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from porter.lab.clouds.azure.world import Request

Json = dict[str, Any]
INCOMPLETE = ("VirtualMachineSizeTypes",)
"""Enumerations that say of themselves that there are more values: the list of sizes has them."""
MODELS = {  # resource type: document, its schema, the SDK's type
    "microsoft.compute/virtualmachines": ("compute", "VirtualMachine"),
    "microsoft.network/networkinterfaces": ("network", "NetworkInterface"),
    "microsoft.network/publicipaddresses": ("network", "PublicIPAddress"),
    "microsoft.network/loadbalancers": ("network", "LoadBalancer"),
    "microsoft.network/loadbalancers/backendaddresspools": ("network", "BackendAddressPool"),
    "microsoft.network/virtualnetworks": ("network", "VirtualNetwork"),
    "microsoft.network/virtualnetworks/subnets": ("network", "Subnet"),
    "microsoft.network/dnszones": ("dns", "Zone"),
    "microsoft.network/dnszones/a": ("dns", "RecordSet"),
}


class Checker:
    def __init__(self, schemas: Path) -> None:
        self._schemas = schemas
        self._documents: dict[str, Json] = {}
        self._types: dict[str, _Types] = {}

    def violations(self, request: Request) -> list[str]:
        """What is wrong with a PUT's body, a POST's or with the query; empty if nothing is."""
        found = [] if request.query.get("api-version") else ["there is no api-version"]
        if request.method == "POST" and request.body is not None:
            found.append("the POST should have no body")
        if request.method != "PUT":
            return found
        model = MODELS.get(request.kind.lower())
        if model is None:
            return [*found, f"no schema is known of {request.kind}"]
        return [*found, *self.of_body(*model, request.body)]

    def of_body(self, document: str, schema: str, body: Any) -> list[str]:
        found = self._by_document(document, schema, body)
        if document != "dns":
            found += self._by_types(document, schema, body)
        return found

    def _by_document(self, name: str, schema: str, body: Any) -> list[str]:
        import jsonschema

        document = self._document(name)
        root = {**document["components"]["schemas"][schema], "components": document["components"]}
        checker = jsonschema.Draft4Validator(root)
        return [
            f"{'/'.join(map(str, one.absolute_path))}: {one.message}"
            for one in checker.iter_errors(body)
        ]

    def _document(self, name: str) -> Json:
        if name not in self._documents:
            text = (self._schemas / f"{name}.json").read_text()
            found = _closed(json.loads(text), close=name == "dns")
            for base in re.findall(r'"allOf": \[\{"\$ref": "[^"]*/(\w+)"', json.dumps(found)):
                found["components"]["schemas"][base].pop("additionalProperties", None)
            self._documents[name] = found
        return self._documents[name]

    def _by_types(self, package: str, schema: str, body: Any) -> list[str]:
        types = self._types.setdefault(package, _Types(package))
        return [*types.wrong(types.named(schema), body, ""), *types.read_only(schema, body)]


def _closed(value: Any, *, close: bool) -> Any:
    """References as draft 4 understands them, no vendor's words, and nothing but what is listed
    where the document is complete."""
    if isinstance(value, list):
        return [_closed(one, close=close) for one in value]
    if not isinstance(value, dict):
        return value
    found: Json = {}
    open_ended = value.get("x-ms-enum", {}).get("modelAsString")  # later versions have more values
    for key, one in value.items():
        if key == "enum" and open_ended:
            continue
        if key == "$ref" and isinstance(one, str):
            found[key] = "#/components" + one.split("#/components")[-1]
        elif not key.startswith("x-") and key not in ("discriminator", "example"):
            found[key] = _closed(one, close=close)
    listed = isinstance(found.get("properties"), dict) and "allOf" not in found
    if close and listed and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


class _Types:
    """The JSON types of an installed azure-mgmt package, as a schema."""

    def __init__(self, package: str) -> None:
        self._types = importlib.import_module(f"azure.mgmt.{package}.types")
        self._models = importlib.import_module(f"azure.mgmt.{package}.models")

    @cached_property
    def _names(self) -> dict[str, Any]:
        return {**vars(typing), **vars(self._models), **vars(self._types)}

    def named(self, name: str) -> Any:
        return getattr(self._types, name)

    def read_only(self, name: str, body: Any) -> Iterator[str]:
        """Properties that only Azure may set: the SDK's models drop them when asked to."""
        model = getattr(self._models, name)
        kept = model(json.loads(json.dumps(body))).as_dict(exclude_readonly=True)
        yield from (f"{path}: is read-only" for path in _paths(body) - _paths(kept))

    def wrong(self, hint: Any, value: Any, path: str) -> Iterator[str]:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return
        if _is_record(hint):
            yield from self._record(hint, value, path)
        elif origin is list:
            if not isinstance(value, list):
                yield f"{path}: {value!r} is no list"
                return
            for number, one in enumerate(value):
                yield from self.wrong(arguments[0], one, f"{path}/{number}")
        elif origin is dict:
            if not isinstance(value, dict):
                yield f"{path}: {value!r} is no object"
                return
            for key, one in value.items():
                yield from self.wrong(arguments[1], one, f"{path}/{key}")
        elif arguments:
            yield from self._union(arguments, value, path)
        elif not _is(hint, value):
            yield f"{path}: {value!r} is no {getattr(hint, '__name__', hint)}"

    def _record(self, hint: Any, value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{path}: {value!r} is no object"
            return
        known = typing.get_type_hints(hint, globalns=self._names)
        for key, one in value.items():
            if key not in known:
                yield f"{path}/{key}: is not in {hint.__name__}"
            else:
                yield from self.wrong(known[key], one, f"{path}/{key}")

    def _union(self, hints: tuple[Any, ...], value: Any, path: str) -> Iterator[str]:
        known = [one for one in hints if isinstance(one, type) and issubclass(one, enum.Enum)]
        if known:
            if known[0].__name__ in INCOMPLETE and isinstance(value, str):
                return
            if value not in {one.value for kind in known for one in kind}:
                yield f"{path}: {value!r} is no {known[0].__name__}"
            return
        if all(list(self.wrong(one, value, path)) for one in hints):
            yield f"{path}: {value!r} is none of {hints}"


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__total__")


def _is(hint: Any, value: Any) -> bool:
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint)


def _paths(value: Any, path: str = "") -> set[str]:
    """All places in a body, as `properties/ipConfigurations/0/name`."""
    if isinstance(value, Mapping):
        inner = ((re.sub(r"/", "~", str(key)), one) for key, one in value.items())
    elif isinstance(value, list):
        inner = ((str(number), one) for number, one in enumerate(value))
    else:
        return {path}
    return {path} | {found for key, one in inner for found in _paths(one, f"{path}/{key}")}
