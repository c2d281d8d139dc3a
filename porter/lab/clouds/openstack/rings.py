"""Program that writes Swift's rings: one device, one copy of everything.

Run by the services' Python: `rings.py DIRECTORY ADDRESS ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT`.
"""

from __future__ import annotations

import importlib
import sys

PART_POWER = 4


def main(directory: str, address: str, ports: list[str]) -> None:
    builders = importlib.import_module("swift.common.ring")
    for name, port in zip(("account", "container", "object"), ports, strict=True):
        builder = builders.RingBuilder(PART_POWER, 1, 0)
        builder.add_dev(
            {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": address, "port": int(port)}
            | {"replication_ip": address, "replication_port": int(port), "device": "sdv"}
            | {"meta": ""}
        )
        builder.rebalance()
        builder.get_ring().save(f"{directory}/{name}.ring.gz")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
