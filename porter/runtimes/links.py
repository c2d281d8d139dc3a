"""Which interface of the host leads into a container."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from porter.domain.errors import Permanent


def _links(*enter: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [*enter, "ip", "-j", "link", "show"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if done.returncode != 0:
        raise Permanent(f"cannot list network interfaces: {done.stderr.strip()}")
    return list(json.loads(done.stdout or "[]"))


def host_device(netns: str, mac: str) -> str:
    """The host's end of the container's interface with this MAC; "" if there is none."""
    inside = [one for one in _links("nsenter", f"--net={netns}") if one.get("address") == mac]
    if not inside:
        return ""
    peer = inside[0].get("link_index")
    for one in _links():
        if one.get("ifindex") == peer:
            return str(one["ifname"])
    return ""


def raise_loopback(pid: int) -> None:
    """Podman restores a container without network with `lo` down."""
    subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link", "set", "lo", "up"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=True,
    )
