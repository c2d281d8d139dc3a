"""What Porter asks of a host's network. All calls block, are idempotent and survive the agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from porter.domain.container import Link
from porter.protocol.joining import Network


class Held(Protocol):
    """Packets for one address caught while nobody can take them."""

    def stop(self) -> list[bytes]:
        """End catching; the newest IP packet of every flow, oldest first (at most 4096)."""
        ...


class HostNetwork(Protocol):
    """Workload addresses on one host."""

    def apply(self, network: Network) -> None:
        """Make the workload network and the routes to other hosts exactly as told."""
        ...

    def cut(self, link: Link) -> None:
        """Nothing reaches the container and nothing leaves it, until `join`."""
        ...

    def join(self, link: Link) -> None: ...

    def claim(self, address: str, mac: str) -> None:
        """This host answers for the address from now on; neighbours are told."""
        ...

    def yield_to(self, address: str, via: str) -> None:
        """This host sends the address's packets to the host at `via` and no longer answers."""
        ...

    def hold(self, address: str) -> Held:
        """Catch the address's packets on their way in, from now on."""
        ...

    def replay(self, packets: Sequence[bytes]) -> None:
        """Deliver caught packets to the container that now has the address: its peers need not
        wait for their retransmission timers."""
        ...

    def unlock(self, netns: str) -> None:
        """Remove what a dead CRIU left in the namespace: its packet filter. lo is brought up."""
        ...
