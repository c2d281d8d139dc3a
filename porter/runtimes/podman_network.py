"""The workload network in Podman's own words: the file that netavark's networks are kept in."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from porter.domain.errors import Conflict, NotFound, Permanent
from porter.runtimes.podman_cli import Podman

NETWORKS = Path("/etc/containers/networks")


def network_file(name: str, subnet: str, hosts: str, bridge: str, mtu: int) -> dict[str, Any]:
    """A bridge network with our bridge; new containers get addresses within `hosts`, which is a
    prefix or `first-last`."""
    whole = ipaddress.IPv4Network(subnet)
    gateway = whole.network_address + 1
    low, dash, high = hosts.partition("-")
    if dash:
        first, last = ipaddress.IPv4Address(low), ipaddress.IPv4Address(high)
    else:
        own = ipaddress.IPv4Network(hosts)
        first, last = own.network_address + 1, own.broadcast_address - 1
    if first == gateway:
        first += 1
    return {
        "name": name,
        "id": hashlib.sha256(f"porter {name}".encode()).hexdigest(),
        "driver": "bridge",
        "network_interface": bridge,
        "created": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "subnets": [
            {
                "subnet": str(whole),
                "gateway": str(gateway),
                "lease_range": {"start_ip": str(first), "end_ip": str(last)},
            }
        ],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "options": {"mtu": str(mtu)},
        "ipam_options": {"driver": "host-local"},
    }


def ensure_network(
    podman: Podman, name: str, subnet: str, hosts: str, bridge: str, mtu: int
) -> None:
    """Make the engine know the network; it gives new containers addresses within `hosts`.

    The file is written by us: Podman before 4.4 cannot name the bridge. Conflict if a network
    of that name with another subnet or bridge exists.
    """
    wanted = network_file(name, subnet, hosts, bridge, mtu)
    try:
        have = (podman.ask("network", "inspect", name) or [None])[0]
    except NotFound:
        have = None
    if have is not None:
        _must_match(name, have, subnet, bridge)
        if have.get("subnets") == wanted["subnets"]:
            return
    info = podman.ask("info", "--format", "json")
    if info["host"].get("networkBackend") != "netavark":
        raise Permanent(
            "cannot make the workload network: the engine does not use netavark",
            'set network_backend = "netavark" in containers.conf',
        )
    NETWORKS.mkdir(parents=True, exist_ok=True)
    fresh = NETWORKS / f"{name}.porter-new"
    fresh.write_text(json.dumps(wanted, indent=1))
    os.replace(fresh, NETWORKS / f"{name}.json")


def _must_match(name: str, have: dict[str, Any], subnet: str, bridge: str) -> None:
    subnets = [one.get("subnet") for one in have.get("subnets") or []]
    if have.get("network_interface") != bridge or subnets != [subnet]:
        raise Conflict(
            f"cannot use the engine's network {name}: it is not {subnet} on {bridge}",
            f"remove it: podman network rm {name}",
        )
