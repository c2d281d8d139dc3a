"""Machines: Nova servers, found by tags. Nova has no idempotency token, so Porter looks first."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from porter.domain.errors import Invalid, Permanent, Transient, Unsupported
from porter.providers.base import (
    TAG_HOST,
    TAG_KEY,
    TAG_MANAGED,
    Instance,
    InstanceState,
    InstanceType,
    LaunchSpec,
    Pending,
    Stray,
)
from porter.providers.openstack import flavors, servers
from porter.providers.openstack.errors import of_fault
from porter.providers.openstack.session import ONCE, Session
from porter.providers.openstack.settings import Settings

MICROVERSION = "2.52"
"""Tags at creation, since Queens; keeps the forms of networks, key and user data."""
LONGEST_TAG = 60
LIST = "compute GET /v2.1/servers/detail"
CREATE = "compute POST /v2.1/servers"
ACT = "compute POST /v2.1/servers/{server_id}/action"
DELETE = "compute DELETE /v2.1/servers/{server_id}"
FLAVORS = "compute GET /v2.1/flavors/detail"
STARTING, STOPPING, REMOVING = 2.0, 2.0, 2.0


class OpenStackHosts:
    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings

    def types(self) -> Sequence[InstanceType]:
        return [flavors.view(one, self._settings.arch) for one in self._flavors().values()]

    def extra_specs(self) -> Mapping[str, Mapping[str, str]]:
        """Extra specs by flavour name: prices may be among them."""
        return {name: dict(one.extra_specs or {}) for name, one in self._flavors().items()}

    def launch(self, spec: LaunchSpec, token: str = "") -> Instance | Pending:
        """Two launches of one key at the same moment may both find nothing and make a server
        each; the next call sees both, keeps the elder and removes the younger."""
        found = self._servers(TAG_KEY, spec.key)
        if not found:
            if token:
                raise Permanent(f"cannot launch {spec.name}: its server {token} disappeared")
            return Pending(self._create(spec), STARTING)
        for twin in found[1:]:
            self._delete(twin)
        first = found[0]
        match servers.state(first):
            case InstanceState.RUNNING:
                return servers.view(first)
            case InstanceState.STARTING:
                return Pending(first.id, STARTING)
            case InstanceState.FAILED:
                raise of_fault(f"launch {spec.name}", servers.view(first).problem)
            case InstanceState.STOPPED:
                raise Permanent(
                    f"cannot launch {spec.name}: its server {first.id} was stopped",
                    "terminate it first",
                )
        raise Transient(f"cannot launch {spec.name}: its server {first.id} is being removed")

    def find(self, key: str) -> Instance | None:
        found = self._servers(TAG_KEY, key)
        return servers.view(found[0]) if found else None

    def managed(self, owner: str) -> Sequence[Instance]:
        return [servers.view(one) for one in self._servers(TAG_MANAGED, owner)]

    def power_off(self, key: str, token: str = "") -> Pending | None:
        """Pending for as long as Nova cannot reach the compute host: nobody knows then."""
        running = [one for one in self._servers(TAG_KEY, key) if not servers.surely_off(one)]
        for one in running:
            if one.task_state is None and servers.state(one) is not InstanceState.STOPPED:
                self._act(one, "os-stop")
        return Pending("", STOPPING) if running else None

    def terminate(self, key: str, token: str = "") -> Pending | None:
        """Nova made the server's port and disk, and removes them with it."""
        found = self._servers(TAG_KEY, key)
        for one in found:
            self._delete(one)
        return Pending("", REMOVING) if found else None

    def strays(self, owner: str) -> Sequence[Stray]:
        return [
            Stray("instance", one.id, one.key, f"{one.instance_type}, {one.state}")
            for one in self.managed(owner)
        ]

    def _servers(self, name: str, value: str) -> list[Any]:
        """All with this tag that are not gone, the eldest first."""
        wanted = servers.tag(name, value)
        with self._session.doing("list servers", LIST) as cloud:
            found = [one for one in cloud.compute.servers(tags=wanted) if wanted in one.tags]
        there = [one for one in found if servers.state(one) is not InstanceState.GONE]
        return sorted(there, key=lambda one: (one.created_at, one.id))

    def _flavors(self) -> dict[str, Any]:
        with self._session.doing("list flavours", FLAVORS) as cloud:
            found = {one.name: one for one in cloud.compute.flavors() if not one.is_disabled}
        wanted = self._settings.flavors or found
        return {name: one for name, one in found.items() if name in wanted}

    def _create(self, spec: LaunchSpec) -> str:
        body = self._body(spec)
        with self._session.doing(f"launch {spec.name}", CREATE) as cloud:
            answer = cloud.compute.post(
                "/servers", json={"server": body}, microversion=MICROVERSION, **ONCE
            )
            check(answer)
            return str(answer.json()["server"]["id"])

    def _body(self, spec: LaunchSpec) -> dict[str, Any]:
        settings = self._settings
        if spec.spot:
            raise Unsupported(
                f"cannot launch {spec.name}: OpenStack has no spot machines", "do not ask for spot"
            )
        flavor = self._flavors().get(spec.instance_type)
        if flavor is None:
            raise Invalid(f"cannot launch {spec.name}: there is no flavour {spec.instance_type}")
        if 0 < flavor.disk < spec.disk_gb:
            raise Invalid(
                f"cannot launch {spec.name}: flavour {flavor.name} has a disk of {flavor.disk} GB,"
                f" not {spec.disk_gb} GB",
                "choose another flavour",
            )
        own = {TAG_KEY: spec.key, TAG_MANAGED: spec.owner}
        tags = [servers.tag(name, value) for name, value in own.items()]
        if any(len(one) > LONGEST_TAG or set(one) & set("/,") for one in tags):
            raise Invalid(
                f"cannot launch {spec.name}: {spec.key} or {spec.owner} is no tag of Nova"
            )
        network, zone = self._session.network(), spec.zone or settings.zone
        body = {
            "name": spec.name,
            "flavorRef": flavor.id,
            "imageRef": self._session.image(),
            "user_data": base64.b64encode(spec.user_data.encode()).decode(),
            "metadata": {**spec.tags, **own, TAG_HOST: spec.name},
            "tags": tags,
            "networks": [{"uuid": network}] if network else "auto",
            "config_drive": settings.config_drive,
        }
        if zone:
            body["availability_zone"] = zone
        if settings.key_name:
            body["key_name"] = settings.key_name
        if settings.security_groups:
            body["security_groups"] = [{"name": name} for name in settings.security_groups]
        return body

    def _act(self, server: Any, action: str) -> None:
        """A conflict means that Nova is at something else with it: the caller asks again."""
        with self._session.doing(f"stop {server.name}", ACT) as cloud:
            answer = cloud.compute.post(f"/servers/{server.id}/action", json={action: None})
            self._accept(server, answer)

    def _delete(self, server: Any) -> None:
        if server.task_state in ("deleting", "soft-deleting"):
            return
        with self._session.doing(f"remove {server.name}", DELETE) as cloud:
            self._accept(server, cloud.compute.delete(f"/servers/{server.id}"))

    @staticmethod
    def _accept(server: Any, answer: Any) -> None:
        if answer.status_code == 404:
            return
        if answer.status_code != 409:
            check(answer)
        elif server.is_locked:
            raise Permanent(f"cannot change {server.name}: it is locked", "unlock it in Nova")


def check(answer: Any) -> None:
    """Raise what the SDK raises for this answer."""
    from openstack.exceptions import raise_from_response

    raise_from_response(answer)
