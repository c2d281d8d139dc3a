"""The real Keystone, Placement, Glance, Neutron, Nova and Swift on this machine.

Real: everything that their APIs check and keep, on SQLite. Not real: the hypervisor is Nova's own
fake one, which boots nothing; no network agent runs, so a floating address leads where Neutron
says but no packet follows it; messages between Nova's parts stay in one process; there is no TLS.
Octavia (load balancers), Designate (DNS) and Cinder (volumes) are absent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.domain.site import SiteKind
from porter.lab.clouds.base import Machine
from porter.lab.clouds.openstack import tenants
from porter.lab.clouds.openstack.configs import ADMIN_PASSWORD, REGION
from porter.lab.clouds.openstack.services import Services
from porter.providers.base import SiteConfig

if TYPE_CHECKING:
    from porter.lab.clouds.swift import SwiftServers


class OpenStackStandIn:
    """One region with one project, `porter`, and its users: `porter`, and `watcher` who may only
    look."""

    kind = SiteKind.OPENSTACK

    def __init__(self) -> None:
        self._services: Services | None = None
        self._swift: SwiftServers | None = None
        self._admin: Any = None
        self._tenant: tenants.Tenant | None = None
        self._booted: dict[str, str] = {}

    def start(self, directory: Path, address: str) -> None:
        """Serve on free ports of `address`; takes about 20 s. Raises Permanent."""
        from porter.lab.clouds.swift import SwiftServers  # which needs this package's modules

        directory.mkdir(parents=True, exist_ok=True)
        services = Services(directory, address)
        self._services = services
        swift = SwiftServers(directory / "swift", address, services.processes)
        self._swift = swift
        account = f"{swift.url}/v1/AUTH_%(tenant_id)s"
        services.launch({"object-store": account})
        swift.launch("authtoken s3api s3token keystoneauth", _swift_filters(self.auth_url()))
        services.wait()
        swift.wait()
        self._admin = tenants.administrator(self.auth_url())
        self._tenant = tenants.make(self._admin)

    def stop(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        if self._services is not None:
            self._services.processes.stop()

    def auth_url(self) -> str:
        assert self._services is not None, "it was not started"
        return self._services.place.url("keystone") + "/v3"

    def site(self, user: str = "porter") -> SiteConfig:
        """Opened as `porter`, or as `watcher`, who lacks the role to change anything."""
        account = {"username": user, "password": tenants.PASSWORDS[user]}
        return SiteConfig(f"openstack:{REGION}", self.kind, REGION, self._settings(), account)

    def restricted(self, rules: Sequence[Mapping[str, str]]) -> SiteConfig:
        """Opened with an application credential of `porter` that allows these calls only."""
        user = tenants.connect(
            self.auth_url(), "porter", tenants.PASSWORDS["porter"], tenants.PROJECT
        )
        try:
            made = user.identity.create_application_credential(
                user.current_user_id,
                name=f"rules-{secrets.token_hex(6)}",
                access_rules=[dict(rule) for rule in rules],
            )
        finally:
            user.close()
        credential = {
            "application_credential_id": made.id,
            "application_credential_secret": made.secret,
        }
        return SiteConfig(f"openstack:{REGION}", self.kind, REGION, self._settings(), credential)

    def machines(self) -> list[Machine]:
        """Servers that Nova has, with their user data as Nova keeps it."""
        found = []
        for one in self.admin().compute.servers(all_projects=True):
            data = base64.b64decode(one.user_data or "").decode()
            if one.status in ("ACTIVE", "SHUTOFF"):
                found.append(Machine(one.id, one.name, one.status == "ACTIVE", data))
        return found

    def booted(self, machine: str, address: str) -> None:
        """Its port gets the address, as if Neutron had given it from the start."""
        if self._booted.get(machine) != address:
            assert self._tenant is not None
            tenants.readdress(self.admin(), self._tenant.network, machine, address)
            self._booted[machine] = address

    def admin(self) -> Any:
        """The SDK's connection of the cloud's administrator."""
        assert self._admin is not None, "it was not started"
        return self._admin

    def new_address(self) -> str:
        """A fresh floating address of the project, leading nowhere."""
        assert self._tenant is not None
        made = self.admin().network.create_ip(
            floating_network_id=self._tenant.outside, project_id=self._tenant.project
        )
        return str(made.floating_ip_address)

    def metadata(self, server: str) -> tuple[str, dict[str, str]]:
        """Nova's metadata service, and the headers by which Neutron's proxy tells it who asks."""
        assert self._services is not None
        assert self._tenant is not None
        place = self._services.place
        signature = hmac.new(place.metadata_secret.encode(), server.encode(), hashlib.sha256)
        headers = {
            "X-Instance-ID": server,
            "X-Tenant-ID": self._tenant.project,
            "X-Instance-ID-Signature": signature.hexdigest(),
            "X-Forwarded-For": place.address,
        }
        return place.url("metadata"), headers

    def swift(self) -> dict[str, str]:
        """Object storage of the project: Keystone's `auth_url`, `username`, `password`, `project`
        and `region`; for S3 `endpoint`, `access` and `secret`, made afresh."""
        assert self._swift is not None
        user = tenants.connect(
            self.auth_url(), "porter", tenants.PASSWORDS["porter"], tenants.PROJECT
        )
        try:
            path = f"/users/{user.current_user_id}/credentials/OS-EC2"
            answer = user.identity.post(path, json={"tenant_id": user.current_project_id})
            keys = answer.json()["credential"]
        finally:
            user.close()
        return {
            "auth_url": self.auth_url(),
            "username": "porter",
            "password": tenants.PASSWORDS["porter"],
            "project": tenants.PROJECT,
            "region": REGION,
            "endpoint": self._swift.url,
            "access": keys["access"],
            "secret": keys["secret"],
        }

    def _settings(self) -> dict[str, str]:
        return {
            "auth_url": self.auth_url(),
            "project": tenants.PROJECT,
            "image": tenants.IMAGE,
            "network": tenants.NETWORK,
            "floating_network": tenants.OUTSIDE,
        }


def _swift_filters(auth_url: str) -> dict[str, dict[str, str]]:
    account = {
        "auth_type": "password",
        "auth_url": auth_url,
        "username": "admin",
        "password": ADMIN_PASSWORD,
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    return {
        "s3token": {
            "use": "egg:swift#s3token",
            "auth_uri": auth_url,
            "delay_auth_decision": "true",
            **account,
        },
        "authtoken": {
            "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
            "www_authenticate_uri": auth_url,
            "delay_auth_decision": "true",
            "service_token_roles_required": "true",
            "service_type": "object-store",
            **account,
        },
        "keystoneauth": {"use": "egg:swift#keystoneauth", "operator_roles": "admin, member"},
    }
