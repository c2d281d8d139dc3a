"""What the site's credentials allow, asked with requests that can have no effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from porter.domain.errors import Denied, PorterError
from porter.providers.base import Right
from porter.providers.openstack.errors import POLICY, status_of
from porter.providers.openstack.session import ONCE, Session

NOTHING = "00000000-0000-4000-8000-000000000000"
TOKEN = "identity POST /v3/auth/tokens"
CHANGING_ROLES = {"member", "manager", "admin"}
"""Roles that may change a project's things by the services' own policies."""


@dataclass(frozen=True)
class Probe:
    """One right, named like an access rule of an application credential."""

    service: str
    method: str
    path: str
    purpose: str
    body: Any = None

    @property
    def name(self) -> str:
        return f"{self.service} {self.method} {self.path}"


PROBES = (
    Probe("compute", "GET", "/v2.1/flavors/detail", "to know the types of machines"),
    Probe("compute", "GET", "/v2.1/servers/detail", "to find Porter's machines"),
    Probe(
        "compute",
        "POST",
        "/v2.1/servers",
        "to launch machines",
        {"server": {"name": "porter", "flavorRef": NOTHING, "imageRef": NOTHING}},
    ),
    Probe(
        "compute",
        "POST",
        "/v2.1/servers/{server_id}/action",
        "to power machines off",
        {"os-stop": None},
    ),
    Probe("compute", "DELETE", "/v2.1/servers/{server_id}", "to remove machines"),
    Probe("image", "GET", "/v2/images", "to find the image by its name"),
    Probe("network", "GET", "/v2.0/networks", "to find the network by its name"),
    Probe("network", "GET", "/v2.0/ports", "to know which machine an address leads to"),
    Probe("network", "GET", "/v2.0/floatingips", "to find floating addresses"),
    Probe(
        "network",
        "PUT",
        "/v2.0/floatingips/{floatingip_id}",
        "to move floating addresses",
        {"floatingip": {"port_id": None}},
    ),
)


class OpenStackRights:
    def __init__(self, session: Session) -> None:
        self._session = session

    def check(self) -> Sequence[Right]:
        """The services look for what a request names before they look at its sender's roles: where
        nothing is found, the roles of the services' own policies decide, else it is unknown.

        Raises Transient if Keystone cannot be reached.
        """
        purpose = "to sign in to the project"
        try:
            with self._session.doing("sign in", TOKEN) as cloud:
                access = cloud.session.auth.get_access(cloud.session)
        except Denied as error:
            unknown = [Right(one.name, None, one.purpose, "sign in first") for one in PROBES]
            return [Right(TOKEN, False, purpose, error.remedy), *unknown]
        roles = {name.lower() for name in access.role_names or ()}
        asked = [self._ask(one, bool(roles & CHANGING_ROLES)) for one in PROBES]
        return [Right(TOKEN, True, purpose), *asked]

    def _ask(self, probe: Probe, may_change: bool) -> Right:
        granted: bool | None = None
        try:
            with self._session.doing("ask for a right", probe.name) as cloud:
                status = self._send(cloud, probe)
        except PorterError as error:
            status = status_of(error)
        if status in (401, 403):
            granted = False
        elif probe.method == "GET":
            granted = True if status == 200 else None
        elif status == 400 and probe.method == "POST":
            granted = True  # it was let through to the checks of what it asks for
        elif status == 404:
            granted = True if may_change else None
        remedy = (
            f"put it into the access rules of the application credential ({POLICY}),"
            " or give the user the role member in the project"
        )
        return Right(probe.name, granted, probe.purpose, "" if granted else remedy)

    @staticmethod
    def _send(cloud: Any, probe: Probe) -> int:
        _version, _, rest = probe.path.lstrip("/").partition("/")
        path = "/" + rest.replace("{server_id}", NOTHING).replace("{floatingip_id}", NOTHING)
        service = getattr(cloud, probe.service)
        options = {"params": {"limit": 1}} if probe.method == "GET" else {}
        if probe.body is not None:
            options["json"] = probe.body
        return int(service.request(path, probe.method, **options, **ONCE).status_code)
