"""The host's routes, neighbours and interfaces, by netlink. Everything here is idempotent."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from porter.domain.errors import Permanent, Unsupported

PLANNED = 77
"""Protocol number of routes that the control plane told us; ip-route shows it."""
YIELDED = 78
"""Protocol number of routes to where a workload of ours has gone."""
CLAIMED = 79
"""Protocol number of routes to workloads that are here."""
_METRIC = {CLAIMED: 50, YIELDED: 100, PLANNED: 200}
_NOPREFIXROUTE = 0x200
_NTF_PROXY = 0x08
_SCOPE_LINK = 253
_SCOPE_NOWHERE = 255
_NUD_REACHABLE = 0x02
_NUD_PERMANENT = 0x80
_ABSENT = (errno.ENOENT, errno.ESRCH, errno.ENODEV)


@dataclass(frozen=True)
class Port:
    """An interface of this host. `network` is the subnet of the address it was found by."""

    index: int
    name: str
    mac: str
    address: str
    network: str


@contextmanager
def netlink(doing: str) -> Iterator[IPRoute]:
    """A socket to the kernel; what it refuses becomes Permanent."""
    with IPRoute() as route:
        try:
            yield route
        except NetlinkError as error:
            raise Permanent(f"cannot {doing}: {error.args[1]}") from error


def _tolerate(error: NetlinkError, *codes: int) -> None:
    if error.code not in codes:
        raise error


def find_port(route: IPRoute, address: str) -> Port:
    """The interface that has this address. Unsupported if none has."""
    for one in route.get_addr(family=socket.AF_INET):
        if one.get_attr("IFA_LOCAL") == address:
            link = next(iter(route.get_links(one["index"])))
            network = ipaddress.ip_network(f"{address}/{one['prefixlen']}", strict=False)
            name, mac = link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_ADDRESS")
            return Port(one["index"], name, mac or "", address, str(network))
    raise Unsupported(
        f"cannot find the underlay: no interface of this host has the address {address}",
        "give the agent the address at which other hosts reach this one",
    )


def index_of(route: IPRoute, name: str) -> int:
    """0 if there is no such interface."""
    found = route.link_lookup(ifname=name)
    return int(found[0]) if found else 0


def mac_of(route: IPRoute, index: int) -> str:
    return str(next(iter(route.get_links(index))).get_attr("IFLA_ADDRESS"))


def ensure_bridge(route: IPRoute, name: str, mac: str, address: str, bits: int, mtu: int) -> int:
    """The bridge of the workload network, with one port of its own.

    The engine removes a bridge with its last container; the port keeps it, and its carrier.
    """
    index = index_of(route, name)
    if not index:
        route.link("add", ifname=name, kind="bridge", address=mac)
        index = index_of(route, name)
    anchor, far = f"{name}p", f"{name}q"
    if not index_of(route, anchor):
        route.link("add", ifname=anchor, kind="veth", peer=far)
    for end in (anchor, far):
        disable_ipv6(end)
    route.link("set", index=index_of(route, anchor), master=index, mtu=mtu, state="up")
    route.link("set", index=index_of(route, far), mtu=mtu, state="up")
    route.link("set", index=index, address=mac, mtu=mtu, state="up")
    try:
        # No route comes with the address: the host's own connections must have an address that
        # stays meaningful when the workload has moved, and the gateway's is the same everywhere.
        route.addr("add", index=index, address=address, prefixlen=bits, flags=_NOPREFIXROUTE)
    except NetlinkError as error:
        _tolerate(error, errno.EEXIST)
    return index


def disable_ipv6(name: str) -> None:
    """A helper interface needs no addresses. Kernels without IPv6 have no such switch."""
    switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if switch.exists():
        switch.write_text("1")


def connect_subnet(route: IPRoute, subnet: str, index: int, source: str) -> None:
    """The workload network lies behind the bridge unless a longer prefix says otherwise."""
    route.route("replace", dst=subnet, oif=index, prefsrc=source, scope=_SCOPE_LINK, proto=PLANNED)


def set_route(route: IPRoute, prefix: str, via: str, proto: int) -> None:
    """Send a prefix to the host at `via`. Unsupported if that host is not a direct neighbour."""
    try:
        route.route("replace", dst=prefix, gateway=via, proto=proto, priority=_METRIC[proto])
    except NetlinkError as error:
        _tolerate(error, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL)
        raise Unsupported(
            f"cannot route {prefix} through {via}: it is not a neighbour of this host",
            "put both hosts into one network",
        ) from error


def keep_here(route: IPRoute, address: str, index: int, source: str) -> None:
    """The address lies behind the bridge, whichever host its range belongs to."""
    route.route(
        "replace",
        dst=f"{address}/32",
        oif=index,
        prefsrc=source,
        scope=_SCOPE_LINK,
        proto=CLAIMED,
        priority=_METRIC[CLAIMED],
    )


def drop_route(route: IPRoute, prefix: str, proto: int) -> None:
    for known, _ in our_routes(route, proto):
        if known == prefix:
            try:
                # Of whatever scope: without this, only routes of global scope are found.
                scope = {"scope": _SCOPE_NOWHERE}
                route.route("del", dst=prefix, proto=proto, priority=_METRIC[proto], **scope)
            except NetlinkError as error:
                _tolerate(error, *_ABSENT)


def our_routes(route: IPRoute, proto: int) -> list[tuple[str, str]]:
    """(prefix, via) of every route of ours of one kind; via is "" for what is here.

    The route of the whole network to the bridge is not among them.
    """
    found = []
    for one in route.get_routes(family=socket.AF_INET, proto=proto):
        via = one.get_attr("RTA_GATEWAY")
        if one["proto"] == proto and (via or proto == CLAIMED):
            found.append((f"{one.get_attr('RTA_DST')}/{one['dst_len']}", str(via or "")))
    return found


def set_proxy(route: IPRoute, address: str, index: int) -> None:
    """Answer ARP for the address on this interface."""
    try:
        route.neigh("add", dst=address, ifindex=index, flags=_NTF_PROXY)
    except NetlinkError as error:
        _tolerate(error, errno.EEXIST)


def drop_proxy(route: IPRoute, address: str, index: int) -> None:
    try:
        route.neigh("del", dst=address, ifindex=index, flags=_NTF_PROXY)
    except NetlinkError as error:
        _tolerate(error, *_ABSENT)


def proxied(route: IPRoute, index: int) -> set[str]:
    """Addresses for which this interface answers."""
    found = set()
    for one in route.neigh("dump", family=socket.AF_INET, flags=_NTF_PROXY):
        if one["ifindex"] == index and one["flags"] & _NTF_PROXY:
            found.add(str(one.get_attr("NDA_DST")))
    return found


def pin_neighbour(route: IPRoute, address: str, mac: str, index: int) -> None:
    """Packets for the address go on the wire without asking: no error ever comes back for them."""
    route.neigh("replace", dst=address, lladdr=mac, ifindex=index, state=_NUD_PERMANENT)


def know_neighbour(route: IPRoute, address: str, mac: str, index: int) -> None:
    """The address is behind this MAC now; asked again when it grows old."""
    route.neigh("replace", dst=address, lladdr=mac, ifindex=index, state=_NUD_REACHABLE)


def forget_neighbour(route: IPRoute, address: str, index: int) -> None:
    try:
        route.neigh("del", dst=address, ifindex=index)
    except NetlinkError as error:
        _tolerate(error, *_ABSENT)


def set_link(route: IPRoute, name: str, up: bool) -> bool:
    """Whether there is such an interface."""
    index = index_of(route, name)
    if not index:
        return False
    try:
        route.link("set", index=index, state="up" if up else "down")
    except NetlinkError as error:
        _tolerate(error, *_ABSENT)
        return False
    return True


def sysctl(name: str, value: str) -> None:
    """Write one setting of /proc/sys, given with slashes, unless it has that value."""
    path = Path("/proc/sys") / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise Permanent(f"cannot set {name} to {value}: {error.strerror}", "run as root") from error
