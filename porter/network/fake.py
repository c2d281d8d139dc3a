"""Networks in memory, with the promises of the real ones. For tests of everything above."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from porter.domain.container import Link
from porter.domain.errors import Permanent, Unsupported
from porter.network.base import Held
from porter.network.packets import flow_of
from porter.protocol.joining import Network

MAX_FLOWS = 4096


@dataclass
class FakeHeld:
    """What was caught for one address."""

    network: FakeNetwork
    address: str
    packets: list[bytes] = field(default_factory=list)

    def stop(self) -> list[bytes]:
        """End catching. Again: the same list."""
        if self in self.network.holding:
            self.network.holding.remove(self)
        newest: dict[object, bytes] = {}
        for packet in self.packets:
            flow = flow_of(packet)
            newest.pop(flow, None)
            newest[flow] = packet
        return list(newest.values())[:MAX_FLOWS]


@dataclass
class FakeNetwork:
    """`HostNetwork` of one pretended host. Its fields are what a kernel would hold."""

    underlay: str = "192.0.2.1"
    neighbours: set[str] = field(default_factory=set)
    """Underlay addresses that can be reached directly; empty means all."""
    planned: dict[str, str] = field(default_factory=dict)
    yielded: dict[str, str] = field(default_factory=dict)
    claimed: dict[str, str] = field(default_factory=dict)
    """Address and MAC of the workloads that are here."""
    down: set[str] = field(default_factory=set)
    """Links that are cut."""
    delivered: list[bytes] = field(default_factory=list)
    locked: set[str] = field(default_factory=set)
    """Namespaces in which a CRIU has left its filter."""
    holding: list[FakeHeld] = field(default_factory=list)

    def apply(self, network: Network) -> None:
        plan = {
            one.prefix: self._reachable(one.via, one.prefix)
            for one in network.routes
            if one.prefix.removesuffix("/32") not in self.claimed
        }
        self.planned = plan
        for address, via in list(self.yielded.items()):
            if f"{address}/32" in plan or _longest(plan, address) == via:
                del self.yielded[address]

    def _reachable(self, via: str, prefix: str) -> str:
        if self.neighbours and via not in self.neighbours:
            raise Unsupported(f"cannot route {prefix} through {via}: it is not a neighbour")
        return via

    def cut(self, link: Link) -> None:
        self.down.add(link.device)

    def join(self, link: Link) -> None:
        self.down.discard(link.device)

    def claim(self, address: str, mac: str) -> None:
        self.yielded.pop(address, None)
        self.planned.pop(f"{address}/32", None)
        self.claimed[address] = mac

    def yield_to(self, address: str, via: str) -> None:
        self.yielded[address] = self._reachable(via, address)
        self.claimed.pop(address, None)

    def owned(self) -> set[str]:
        """The addresses that this host has claimed and not given away."""
        return set(self.claimed)

    def disown(self, address: str) -> None:
        """No longer answer for an address whose workload is gone for good."""
        self.claimed.pop(address, None)

    def answers(self, address: str) -> bool:
        """Whether this host answers ARP for the address."""
        return address in self.claimed

    def via(self, address: str) -> str:
        """The host to which packets for the address go on; "" if they stay here."""
        if address in self.claimed:
            return ""
        return self.yielded.get(address) or _longest(self.planned, address)

    def hold(self, address: str) -> Held:
        held = FakeHeld(self, address)
        self.holding.append(held)
        return held

    def arrive(self, packet: bytes) -> None:
        """A packet comes in from outside, as tests pretend."""
        flow = flow_of(packet)
        if flow is None:
            raise Permanent("cannot take the packet: it is no IPv4 packet")
        for held in self.holding:
            if ipaddress.IPv4Address(held.address).packed == flow[2]:
                held.packets.append(packet)

    def replay(self, packets: Sequence[bytes]) -> None:
        self.delivered.extend(packets)

    def unlock(self, netns: str) -> None:
        self.locked.discard(netns)


def _longest(plan: dict[str, str], address: str) -> str:
    wanted = ipaddress.ip_address(address)
    networks = [(ipaddress.ip_network(prefix), via) for prefix, via in plan.items()]
    matches = [(network.prefixlen, via) for network, via in networks if wanted in network]
    return max(matches, default=(0, ""))[1]
