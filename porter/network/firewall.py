"""Porter's own packet filter table: moved connections keep their source address."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from porter.domain.errors import Permanent

TABLE = "porter"


def rules(subnet: str, fabric: Iterable[str]) -> str:
    """The table, as one nftables transaction.

    The engine masquerades what workloads send out. A connection that moved in is new to this
    host's connection tracking: its packets would get this host's address and be lost. So traffic
    within the fabric, and packets from the middle of any TCP connection, get their own address
    first; the engine's rule then no longer applies. Untracking them instead would break ports
    that the engine publishes.
    """
    places = ", ".join(sorted({subnet, *fabric}))
    return f"""
add table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  set fabric {{
    type ipv4_addr
    flags interval
    auto-merge
    elements = {{ {places} }}
  }}
  chain keep {{
    type nat hook postrouting priority srcnat - 10; policy accept;
    ip saddr {subnet} ip daddr @fabric snat to ip saddr
    ip saddr {subnet} tcp flags & (fin|syn|rst|ack) != syn snat to ip saddr
  }}
}}
"""


def nft(script: str, doing: str) -> None:
    """Run one nftables transaction: all of it or nothing."""
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except FileNotFoundError as error:
        raise Permanent(f"cannot {doing}: there is no nft here", "install nftables") from error
    if done.returncode != 0:
        first = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise Permanent(f"cannot {doing}: {first}")
