"""The control plane's network, corrected by what this host knows better.

The control plane learns of a handover a moment after the two hosts. Until it has, its routes may
still send a moved address to the old host; the hosts' own records are newer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace

from porter.agent.journal import Record
from porter.agent.ledger import SOURCE
from porter.domain.handover import Source, Target
from porter.protocol.joining import Network, Route


def corrected(network: Network, records: Sequence[Record]) -> Network:
    """`network` with the routes of addresses that are being handed over as the records say."""
    moved: dict[str, str | None] = {}
    for record in records:
        if record.spec is None or not record.spec.address:
            continue
        address = str(ipaddress.ip_interface(record.spec.address).ip)
        if record.role == SOURCE and record.state in (Source.HANDED_OVER, Source.GONE):
            moved[address] = record.peer_address
        elif record.role == SOURCE or record.state == Target.RUNNING:
            moved[address] = None  # it is here: no route leads elsewhere
    kept = [route for route in network.routes if _single(route.prefix) not in moved]
    away = [Route(f"{address}/32", via) for address, via in moved.items() if via]
    return replace(network, routes=(*kept, *away))


def _single(prefix: str) -> str | None:
    """The address, if the prefix holds just one."""
    parsed = ipaddress.ip_network(prefix, strict=False)
    return str(parsed.network_address) if parsed.num_addresses == 1 else None
