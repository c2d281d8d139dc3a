"""The workload network on a Linux host: a bridge, plain routes, proxy ARP.

Workload addresses come from one prefix that is the same on all hosts. Each host has a bridge of
that prefix with the same gateway address and MAC. Neighbours on the underlay find a workload
because its host, and no other, answers ARP for it; hosts find each other's by routes.
All state lies in the kernel: it outlives the agent, and an agent that starts again sees it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from itertools import pairwise

from porter.domain.container import Link
from porter.domain.errors import Permanent
from porter.network import kernel
from porter.network.base import Held
from porter.network.capture import Announcer, Capture, deliver
from porter.network.firewall import nft, rules
from porter.network.unlock import unlock
from porter.protocol.joining import Network, Route

BRIDGE = "porter0"
BRIDGE_MAC = "02:50:54:52:00:01"
"""The same on all hosts: a moved workload's idea of its gateway stays right."""
MTU = 1400
"""Below any underlay's, with room for a tunnel: a connection's segment size never changes."""

EnsureNetwork = Callable[[str, str, str], None]
"""Makes the container engine use the bridge: called with subnet, bridge and, between them, the
addresses it may give to new containers, as a prefix or as `first-last`."""


class LinuxNetwork:
    """`HostNetwork` by netlink and nftables. `underlay` is this host's own address."""

    def __init__(self, underlay: str, ensure_network: EnsureNetwork | None = None) -> None:
        self._underlay = underlay
        self._ensure_network = ensure_network
        self._announcer = Announcer()

    # -- the whole network -------------------------------------------------------------------

    def apply(self, network: Network) -> None:
        """Bridge, packet filter, switches and routes, exactly as told; see `HostNetwork`."""
        subnet = ipaddress.ip_network(network.subnet)
        gateway = str(subnet.network_address + 1)
        with kernel.netlink("set up the workload network") as route:
            port = kernel.find_port(route, self._underlay)
            bridge = kernel.ensure_bridge(route, BRIDGE, BRIDGE_MAC, gateway, subnet.prefixlen, MTU)
            self._switches(port.name)
            kernel.connect_subnet(route, network.subnet, bridge, self._underlay)
        if self._ensure_network is not None:
            self._ensure_network(network.subnet, free_range(network), BRIDGE)
        fabric = {port.network, *(one.via for one in network.routes)}
        nft(rules(network.subnet, fabric), "set up the workload network's packet filter")
        with kernel.netlink("set the routes to other hosts") as route:
            self._routes(route, network.routes)

    @staticmethod
    def _switches(underlay: str) -> None:
        kernel.sysctl("net/ipv4/ip_forward", "1")
        # A redirect would teach peers a way past the host that knows where a workload is; the
        # kernel sends one if either switch is on.
        kernel.sysctl("net/ipv4/conf/all/send_redirects", "0")
        for name in (underlay, BRIDGE):
            kernel.sysctl(f"net/ipv4/conf/{name}/forwarding", "1")
            kernel.sysctl(f"net/ipv4/conf/{name}/send_redirects", "0")
            kernel.sysctl(f"net/ipv4/conf/{name}/accept_redirects", "0")
            # Loose: during a move, ways there and back differ.
            kernel.sysctl(f"net/ipv4/conf/{name}/rp_filter", "2")
            kernel.sysctl(f"net/ipv4/neigh/{name}/proxy_delay", "0")
        # Workloads ask for each other as neighbours; the host answers for those elsewhere.
        kernel.sysctl(f"net/ipv4/conf/{BRIDGE}/proxy_arp", "1")
        kernel.sysctl(f"net/ipv4/conf/{underlay}/proxy_arp", "0")

    @staticmethod
    def _routes(route: kernel.IPRoute, wanted: Sequence[Route]) -> None:
        """Set what is told, remove what is stale. What this host has claimed since stays here."""
        ours = {prefix for prefix, _ in kernel.our_routes(route, kernel.CLAIMED)}
        plan = {one.prefix: one.via for one in wanted if one.prefix not in ours}
        for prefix, via in plan.items():
            kernel.set_route(route, prefix, via, kernel.PLANNED)
        for prefix, _ in kernel.our_routes(route, kernel.PLANNED):
            if prefix not in plan:
                kernel.drop_route(route, prefix, kernel.PLANNED)
        for prefix, via in kernel.our_routes(route, kernel.YIELDED):
            # The plan has caught up with the move, or knows of a later one.
            if prefix in plan or _planned_via(plan, prefix) == via:
                kernel.drop_route(route, prefix, kernel.YIELDED)

    # -- one workload ------------------------------------------------------------------------

    def cut(self, link: Link) -> None:
        """The host's end goes down, which outlives us. See `HostNetwork`.

        Its neighbour entry is pinned, so that peers get silence and not "unreachable".
        """
        with kernel.netlink(f"cut {link.address} off") as route:
            there = kernel.set_link(route, link.device, up=False)
            bridge = kernel.index_of(route, BRIDGE)
            if there and bridge and link.address:
                kernel.pin_neighbour(route, link.address, link.mac, bridge)

    def join(self, link: Link) -> None:
        """Undo `cut`."""
        with kernel.netlink(f"join {link.address} again") as route:
            if not kernel.set_link(route, link.device, up=True):
                raise Permanent(f"cannot join {link.address} again: {link.device} is gone")
            bridge = kernel.index_of(route, BRIDGE)
            if bridge and link.address:
                kernel.know_neighbour(route, link.address, link.mac, bridge)

    def claim(self, address: str, mac: str) -> None:
        """Answer for the address on the underlay; see `HostNetwork`."""
        with kernel.netlink(f"claim {address}") as route:
            port = kernel.find_port(route, self._underlay)
            bridge = kernel.index_of(route, BRIDGE)
            for proto in (kernel.YIELDED, kernel.PLANNED):
                kernel.drop_route(route, f"{address}/32", proto)
            if bridge:
                kernel.know_neighbour(route, address, mac, bridge)
                kernel.keep_here(route, address, bridge, self._underlay)
            kernel.set_proxy(route, address, port.index)
        places = [(port.name, port.mac), *([(BRIDGE, mac)] if bridge else [])]
        self._announcer.announce(address, places)

    def yield_to(self, address: str, via: str) -> None:
        """Send the address's packets on to `via`; see `HostNetwork`."""
        self._announcer.silence(address)
        with kernel.netlink(f"yield {address} to {via}") as route:
            port = kernel.find_port(route, self._underlay)
            bridge = kernel.index_of(route, BRIDGE)
            # The way first, then silence: between the two we may answer once too often, and
            # whoever believes it is still forwarded.
            kernel.set_route(route, f"{address}/32", via, kernel.YIELDED)
            kernel.drop_route(route, f"{address}/32", kernel.CLAIMED)
            kernel.drop_proxy(route, address, port.index)
            if bridge:
                kernel.forget_neighbour(route, address, bridge)
        if bridge:
            # Workloads here asked for it directly so far; from now on the way leads through us.
            self._announcer.announce(address, [(BRIDGE, BRIDGE_MAC)])

    def owned(self) -> set[str]:
        """The addresses that this host has claimed and not given away."""
        with kernel.netlink("list the claimed addresses") as route:
            claimed = kernel.our_routes(route, kernel.CLAIMED)
        return {prefix.removesuffix("/32") for prefix, _ in claimed}

    def disown(self, address: str) -> None:
        """No longer answer for an address whose workload is gone for good."""
        self._announcer.silence(address)
        with kernel.netlink(f"disown {address}") as route:
            port = kernel.find_port(route, self._underlay)
            kernel.drop_proxy(route, address, port.index)
            kernel.drop_route(route, f"{address}/32", kernel.CLAIMED)
            bridge = kernel.index_of(route, BRIDGE)
            if bridge:
                kernel.forget_neighbour(route, address, bridge)

    # -- packets -----------------------------------------------------------------------------

    def hold(self, address: str) -> Held:
        """Catch the address's packets from now on."""
        return Capture(address)

    def replay(self, packets: Sequence[bytes]) -> None:
        """Deliver them to whoever has their destination now."""
        deliver(packets, MTU)

    def unlock(self, netns: str) -> None:
        """Remove what a dead CRIU left in the namespace."""
        unlock(netns)


def free_range(network: Network) -> str:
    """The part of the host's range from which new containers may get addresses.

    Workloads that were born here and now live elsewhere keep theirs. An engine forgets what it
    has given away when the host boots, and cannot be told single exceptions: it gets the longest
    stretch without any.
    """
    own = ipaddress.IPv4Network(network.range)
    places = (ipaddress.IPv4Network(one.prefix) for one in network.routes)
    taken = sorted(
        int(one.network_address) for one in places if one.prefixlen == 32 and one.subnet_of(own)
    )
    if not taken:
        return network.range
    first, last = int(own.network_address) + 1, int(own.broadcast_address) - 1
    edges = [first - 1, *taken, last + 1]
    gaps = [(low + 1, high - 1) for low, high in pairwise(edges)]
    low, high = max(gaps, key=lambda gap: gap[1] - gap[0])
    return f"{ipaddress.IPv4Address(low)}-{ipaddress.IPv4Address(high)}"


def _planned_via(plan: dict[str, str], prefix: str) -> str:
    """Where the plan sends a prefix, by its longest match; "" if nowhere."""
    wanted = ipaddress.ip_network(prefix)
    matches = [
        (network.prefixlen, via)
        for one, via in plan.items()
        if wanted.subnet_of(network := ipaddress.ip_network(one))  # type: ignore[arg-type]
    ]
    return max(matches, default=(0, ""))[1]
