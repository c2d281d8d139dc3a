"""What the lab's cloud holds when it is handed over: a project, networks, an image, flavours."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from porter.lab.clouds.openstack.configs import ADMIN_PASSWORD, REGION
from porter.lab.clouds.openstack.services import PHYSICAL_NETWORK

PROJECT, IMAGE, NETWORK, OUTSIDE = "porter", "debian", "inside", "outside"
PASSWORDS = {"porter": "porter-lab", "watcher": "watcher-lab"}
ROLES = {"porter": "member", "watcher": "reader"}
FLAVORS: dict[str, tuple[int, int, dict[str, str]]] = {
    "small": (2, 4096, {"porter:price_hour": "0.04", "porter:currency": "EUR"}),
    "large": (4, 16384, {"porter:price_hour": "0.16", "porter:currency": "EUR"}),
    "nowhere": (2, 4096, {"trait:HW_CPU_X86_AVX512F": "required"}),
}
"""Virtual CPUs, MiB, extra specs. No host of this cloud has what `nowhere` requires."""


def connect(auth_url: str, user: str, password: str, project: str) -> Any:
    import openstack

    return openstack.connect(
        load_envvars=False,
        load_yaml_config=False,
        auth_url=auth_url,
        username=user,
        password=password,
        project_name=project,
        user_domain_id="default",
        project_domain_id="default",
        region_name=REGION,
    )


def administrator(auth_url: str) -> Any:
    return connect(auth_url, "admin", ADMIN_PASSWORD, "admin")


@dataclass(frozen=True)
class Tenant:
    project: str
    network: str
    outside: str


def make(admin: Any) -> Tenant:
    """All of it, in an empty cloud."""
    identity = admin.identity
    # The services' account: what Nova asks of Neutron in a user's name is marked with its token.
    service = identity.find_role("service") or identity.create_role(name="service")
    identity.assign_project_role_to_user(admin.current_project_id, admin.current_user_id, service)
    project = identity.create_project(name=PROJECT, domain_id="default")
    for name, password in PASSWORDS.items():
        user = identity.create_user(
            name=name, password=password, domain_id="default", default_project_id=project.id
        )
        role = identity.find_role(ROLES[name], ignore_missing=False)
        identity.assign_project_role_to_user(project, user, role)
    admin.image.create_image(
        name=IMAGE, disk_format="raw", container_format="bare", visibility="public", data=b"-" * 512
    )
    for name, (cpus, ram, specs) in FLAVORS.items():
        flavor = admin.compute.create_flavor(name=name, vcpus=cpus, ram=ram, disk=20)
        admin.compute.create_flavor_extra_specs(flavor, specs)
    return _networks(admin, project.id)


def _networks(admin: Any, project: str) -> Tenant:
    network = admin.network
    inside = network.create_network(name=NETWORK, project_id=project)
    subnet = network.create_subnet(
        network_id=inside.id, ip_version=4, cidr="10.77.0.0/24", project_id=project
    )
    outside = network.create_network(
        name=OUTSIDE,
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network=PHYSICAL_NETWORK,
    )
    network.create_subnet(
        network_id=outside.id, ip_version=4, cidr="203.0.113.0/24", is_dhcp_enabled=False
    )
    router = network.create_router(
        name="edge", project_id=project, external_gateway_info={"network_id": outside.id}
    )
    network.add_interface_to_router(router, subnet_id=subnet.id)
    return Tenant(project, inside.id, outside.id)


def readdress(admin: Any, network: str, server: str, address: str) -> None:
    """Give the server's port another address; Nova sees it within a few seconds."""
    port = next(iter(admin.network.ports(device_id=server)))
    if any(one["ip_address"] == address for one in port.fixed_ips):
        return
    around = ipaddress.ip_network(f"{address}/24", strict=False)
    known = {one.cidr: one for one in admin.network.subnets(network_id=network)}
    subnet = known.get(str(around)) or admin.network.create_subnet(
        network_id=network,
        ip_version=4,
        cidr=str(around),
        gateway_ip=None,
        project_id=port.project_id,
    )
    fixed = [{"subnet_id": subnet.id, "ip_address": address}]
    admin.network.update_port(port, fixed_ips=fixed)
