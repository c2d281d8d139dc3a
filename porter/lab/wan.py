"""The lab's wide area network: a bridge in a namespace of its own, one limited link per host.

Nothing in it routes anywhere: hosts reach each other, the clients in the WAN namespace, and this
machine's one address in the lab, where the control plane listens.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from porter.domain.errors import Permanent
from porter.lab import syscalls
from porter.lab.run import ip, run
from porter.lab.state import WORKLOADS, HostState, LabState

_NETNS_DIR = Path("/run/netns")
_BRIDGE = "wan0"
# States of a bridge port: a disabled one drops everything, with the cable still plugged in.
_DISABLED, _FORWARDING = 0, 3
# tbf keeps no finer clock than its bucket: 2 ms of traffic lets one TCP stream fill the link.
_BURST_S, _MIN_BURST = 0.002, 65536
_QUEUE_S = 0.02


def netns(lab: str) -> str:
    """Name of a lab's WAN namespace, as `ip netns` shows it."""
    return f"porter-{lab}-wan"


def netns_path(lab: str) -> Path:
    """File that holds a lab's WAN namespace."""
    return _NETNS_DIR / netns(lab)


def is_up(state: LabState) -> bool:
    """Whether the namespace, its bridge and this machine's link into it are there."""
    path = netns_path(state.name)
    if not os.path.ismount(path) or not Path("/sys/class/net", state.uplink).exists():
        return False
    test = ["ip", "-n", netns(state.name), "link", "show", _BRIDGE]
    return subprocess.run(test, capture_output=True, check=False).returncode == 0


def create(state: LabState) -> None:
    """Make the WAN. What is left of an earlier one is removed first."""
    remove(state.name)
    remove_uplink(state)
    path = netns_path(state.name)
    _NETNS_DIR.mkdir(exist_ok=True)
    path.touch()
    # Not "ip netns add": that turns the directory into a mount and leaves it so.
    run(["unshare", f"--net={path}", "true"], "make the lab's network namespace")
    space, uplink = netns(state.name), state.uplink
    what = "make the lab's network"
    ip(
        [
            "link set lo up",
            # An address of its own: else it takes a port's, and changes it as hosts come and go.
            f"link add {_BRIDGE} address {state.hardware_address(254)} type bridge"
            " stp_state 0 forward_delay 0 mcast_snooping 0",
            *_quietly_up(_BRIDGE),
            f"addr add {state.client}/24 dev {_BRIDGE}",
            f"route add {WORKLOADS} dev {_BRIDGE} src {state.client}",
        ],
        what,
        netns=space,
    )
    ip(
        [
            f"link add {uplink} address {state.hardware_address(1)} type veth"
            f" peer name root0 netns {space}",
            *_quietly_up(uplink),
            f"addr add {state.gateway}/24 dev {uplink}",
        ],
        what,
    )
    ip([f"link set root0 master {_BRIDGE}", *_quietly_up("root0")], what, netns=space)


def _quietly_up(interface: str) -> list[str]:
    """No IPv6 address of its own: the lab speaks IPv4, and nothing else should be on the wire."""
    return [f"link set {interface} addrgenmode none", f"link set {interface} up"]


def port(host: HostState) -> str:
    """Name of the WAN's end of a host's link."""
    return f"host{host.number}"


def plug(state: LabState, host: HostState, pid: int) -> None:
    """Join the host whose first process is `pid` to the WAN, with the lab's link limit."""
    what = f"plug host {host.name} into the network"
    space, wan_end = netns(state.name), port(host)
    unplug(state, host)
    ip(
        [
            f"link add {wan_end} type veth peer name eth0 address {state.mac(host)} netns {pid}",
            f"link set {wan_end} master {_BRIDGE}",
            *_quietly_up(wan_end),
        ],
        what,
        netns=space,
    )
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    lines = [
        "link set lo up",
        *_quietly_up("eth0"),
        f"addr add {state.address(host)}/24 dev eth0",
    ]
    run([*inside, "ip", "-batch", "-"], what, stdin="\n".join(lines) + "\n")
    if state.link_mbit:
        limit = _tbf(state.link_mbit)
        run([*inside, "tc", "qdisc", "replace", "dev", "eth0", "root", *limit], what)
        run(["tc", "-n", space, "qdisc", "replace", "dev", wan_end, "root", *limit], what)
    if host.partitioned:
        set_partition(state, host, True)


def _tbf(mbit: int) -> list[str]:
    burst = max(_MIN_BURST, int(mbit * 1e6 / 8 * _BURST_S))
    queue = max(4 * burst, int(mbit * 1e6 / 8 * _QUEUE_S))
    return ["tbf", "rate", f"{mbit}mbit", "burst", str(burst), "limit", str(queue)]


def unplug(state: LabState, host: HostState) -> None:
    """Cut the host's cable. Does nothing if there is none."""
    with contextlib.suppress(Permanent):
        run(["ip", "-n", netns(state.name), "link", "del", port(host)], "unplug the host")


def set_partition(state: LabState, host: HostState, cut: bool) -> None:
    """Drop everything to and from the host, silently, or let it through again."""
    state_number = _DISABLED if cut else _FORWARDING
    what = f"{'partition' if cut else 'heal'} host {host.name}"
    argv = ["bridge", "-n", netns(state.name), "link", "set", "dev", port(host)]
    run([*argv, "state", str(state_number)], what)


def pids(lab: str) -> set[int]:
    """Processes that run in the lab's WAN namespace."""
    try:
        wanted = netns_path(lab).stat().st_ino
    except FileNotFoundError:
        return set()
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino == wanted:
                    found.add(int(entry))
    return found


def remove(lab: str) -> None:
    """Remove the WAN namespace, found by the lab's name. Its interfaces go with it."""
    path = netns_path(lab)
    with contextlib.suppress(Permanent):
        # The kernel destroys a namespace some time after its last user; links we can end now.
        run(["ip", "-n", netns(lab), "link", "del", "root0"], "unplug this machine")
    while os.path.ismount(path):
        syscalls.unmount(str(path))
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _NETNS_DIR.rmdir()


def remove_uplink(state: LabState) -> None:
    """Remove this machine's link into the lab, should it have outlived the WAN."""
    if Path("/sys/class/net", state.uplink).exists():
        with contextlib.suppress(Permanent):
            run(["ip", "link", "del", state.uplink], "unplug this machine")
