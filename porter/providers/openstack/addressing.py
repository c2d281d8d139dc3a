"""Floating IPs. One request of Neutron moves one from port to port."""

from __future__ import annotations

from typing import Any

from porter.domain.errors import NotFound
from porter.providers.base import Pending
from porter.providers.openstack.session import Session
from porter.providers.openstack.settings import Settings

LIST = "network GET /v2.0/floatingips"
MOVE = "network PUT /v2.0/floatingips/{floatingip_id}"
PORTS = "network GET /v2.0/ports"


class OpenStackAddressing:
    def __init__(self, session: Session, settings: Settings) -> None:
        self._session = session
        self._settings = settings

    def where(self, address: str) -> str:
        floating = self._floating(address)
        if not floating.port_id:
            return ""
        with self._session.doing(f"find where {address} leads", PORTS) as cloud:
            ports = list(cloud.network.ports(id=floating.port_id))
        return str(ports[0].device_id or "") if ports else ""

    def assign(self, address: str, instance: str, token: str = "") -> Pending | None:
        """Done once Neutron has it so; its routers follow within a second or two."""
        floating, port = self._floating(address), self._port(instance)
        if floating.port_id != port.id:
            with self._session.doing(f"move {address} to {instance}", MOVE) as cloud:
                cloud.network.update_ip(floating, port_id=port.id)
        return None

    def _floating(self, address: str) -> Any:
        with self._session.doing(f"find the floating IP {address}", LIST) as cloud:
            found = list(cloud.network.ips(floating_ip_address=address))
        if not found:
            raise NotFound(f"cannot find the floating IP {address} in the project")
        return found[0]

    def _port(self, instance: str) -> Any:
        """On the site's network if it has one there, else its first."""
        with self._session.doing(f"find the ports of {instance}", PORTS) as cloud:
            found = list(cloud.network.ports(device_id=instance))
        usable = [one for one in found if any(":" not in ip["ip_address"] for ip in one.fixed_ips)]
        if not usable:
            raise NotFound(f"cannot find a port with an IPv4 address on the server {instance}")
        network = self._session.network() if len(usable) > 1 else ""
        return next((one for one in usable if one.network_id == network), usable[0])
