"""Which rights a request takes: by ARM's rule from method and resource type, and for what a body
refers to, the `join` action of that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from porter.lab.clouds.azure.world import Request

_METHODS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_LINKED = {
    r"/networkinterfaces/[^/]+$": "Microsoft.Network/networkInterfaces/join/action",
    r"/subnets/[^/]+$": "Microsoft.Network/virtualNetworks/subnets/join/action",
    r"/publicipaddresses/[^/]+$": "Microsoft.Network/publicIPAddresses/join/action",
    r"/virtualnetworks/[^/]+$": "Microsoft.Network/virtualNetworks/joinLoadBalancer/action",
}


def asked(request: Request) -> str:
    """The action of the request itself; empty for operations: whoever began one may ask for it,
    also with rights on one resource group only."""
    kind = request.kind
    if re.search(r"/locations/.*operation", request.path, re.IGNORECASE):
        return ""
    if request.method == "POST":
        return f"{kind}/{request.verb}/action"
    return f"{kind}/{_METHODS[request.method]}"


def linked(request: Request) -> list[str]:
    """The actions on what the body refers to, and those of what is made on the side."""
    if request.method != "PUT":
        return []
    found = {
        action
        for id in _ids(request.body)
        for pattern, action in _LINKED.items()
        if re.search(pattern, id, re.IGNORECASE) and id.lower() != request.id.lower()
    }
    if request.kind.lower() == "microsoft.compute/virtualmachines":
        found.add("Microsoft.Compute/disks/write")
    return sorted(found)


def _ids(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("id"), str):
            yield value["id"]
        for one in value.values():
            yield from _ids(one)
    elif isinstance(value, list):
        for one in value:
            yield from _ids(one)
