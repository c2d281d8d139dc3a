"""Nova's servers as Porter's instances."""

from __future__ import annotations

from typing import Any

from porter.providers.base import (
    TAG_KEY,
    Instance,
    InstanceState,
)

POWERED_OFF, CRASHED = 4, 6  # Nova's power states
STATES = {
    "BUILD": InstanceState.STARTING,
    "REBUILD": InstanceState.STARTING,
    "SHUTOFF": InstanceState.STOPPED,
    "SUSPENDED": InstanceState.STOPPED,
    "PAUSED": InstanceState.STOPPED,
    "SHELVED": InstanceState.STOPPED,
    "SHELVED_OFFLOADED": InstanceState.STOPPED,
    "ERROR": InstanceState.FAILED,
    "DELETED": InstanceState.GONE,
    "SOFT_DELETED": InstanceState.GONE,
}
"""Anything else may run."""


def tag(name: str, value: str) -> str:
    return f"{name}={value}"


def state(server: Any) -> InstanceState:
    found = STATES.get(server.status, InstanceState.RUNNING)
    leaving = server.task_state in ("deleting", "soft-deleting", "powering-off")
    if leaving and found is not InstanceState.GONE:
        return InstanceState.STOPPING
    return found


def surely_off(server: Any) -> bool:
    if server.status == "ERROR":
        # Without a host it never ran; with one only Nova's word for its power counts.
        return not server.host_id or server.power_state in (POWERED_OFF, CRASHED)
    return state(server) is InstanceState.STOPPED and server.task_state is None


def view(server: Any) -> Instance:
    labels = dict(server.metadata or {})
    fault = (server.fault or {}).get("message", "") if server.status == "ERROR" else ""
    return Instance(
        id=server.id,
        key=labels.get(TAG_KEY, ""),
        name=server.name,
        state=state(server),
        instance_type=(server.flavor or {}).get("original_name") or "",
        zone=server.availability_zone or "",
        private_address=_address(server, "fixed"),
        public_address=_address(server, "floating"),
        tags=labels,
        launched_at=server.launched_at or server.created_at or "",
        problem=fault,
    )


def _address(server: Any, kind: str) -> str:
    for addresses in (server.addresses or {}).values():
        for one in addresses:
            if one.get("OS-EXT-IPS:type", "fixed") == kind and one.get("version") == 4:
                return str(one["addr"])
    return ""
