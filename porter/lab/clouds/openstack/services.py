"""Keystone, Placement, Glance, Neutron and Nova on SQLite: started side by side."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from porter.domain.errors import Permanent
from porter.lab.clouds.openstack import configs
from porter.lab.clouds.openstack.processes import Processes, free_ports, root

SERVE = Path(__file__).with_name("serve.py")
CATALOGUE = {
    "keystone": ("identity", "/v3"),
    "placement": ("placement", ""),
    "glance": ("image", ""),
    "neutron": ("network", ""),
    "nova": ("compute", "/v2.1"),
}
PHYSICAL_NETWORK = "outside"


class Services:
    """The services' processes and the catalogue that names them."""

    def __init__(self, directory: Path, address: str) -> None:
        venv = root()
        self._prepared = venv / "databases"
        if not (self._prepared / ".stamp").exists():
            raise Permanent(
                "cannot start OpenStack's services: their databases are not prepared",
                "run porter/lab/clouds/setup/openstack.sh",
            )
        self.directory = directory
        ports = free_ports(address, len(configs.SERVICES))
        self.place = configs.Place(
            directory,
            venv,
            address,
            dict(zip(configs.SERVICES, ports, strict=True)),
            secrets.token_hex(16),
        )
        self.processes = Processes(directory)

    def launch(self, further: dict[str, str]) -> None:
        """Start all, without waiting. `further` has the types and URLs of other services."""
        for name in ("locks", "images"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for path in self._prepared.glob("*.sqlite"):
            shutil.copy(path, self.directory)
        configs.write(self.place)
        endpoints = {
            kind: self.place.url(service) + path for service, (kind, path) in CATALOGUE.items()
        }
        self._write_catalogue({**endpoints, **further})
        self._write_cells()
        self._write_agent()
        for service in CATALOGUE:
            ports = [self.place.ports[service]]
            if service == "nova":
                ports += [self.place.ports[name] for name in ("metadata", "keystone", "placement")]
            where = [str(self.directory), self.place.address, *map(str, ports)]
            self.processes.start(service, [self.place.venv / "bin/python", SERVE, service, *where])

    def wait(self) -> None:
        for service in CATALOGUE:
            self.processes.wait(service, self.place.url(service))

    def _write_catalogue(self, endpoints: dict[str, str]) -> None:
        with closing(sqlite3.connect(self.directory / "keystone.sqlite")) as database, database:
            database.execute(
                "INSERT INTO region (id, description, extra) VALUES (?, '', '{}')",
                (configs.REGION,),
            )
            for kind, url in endpoints.items():
                service = uuid.uuid4().hex
                database.execute(
                    "INSERT INTO service (id, type, enabled, extra) VALUES (?, ?, 1, ?)",
                    (service, kind, json.dumps({"name": kind})),
                )
                for interface in ("public", "internal", "admin"):
                    database.execute(
                        "INSERT INTO endpoint (id, interface, service_id, url, extra, enabled,"
                        " region_id) VALUES (?, ?, ?, ?, '{}', 1, ?)",
                        (uuid.uuid4().hex, interface, service, url, configs.REGION),
                    )

    def _write_cells(self) -> None:
        """Nova keeps the place of its cells' databases in a database."""
        with closing(sqlite3.connect(self.directory / "nova_api.sqlite")) as database, database:
            for cell, file in (("cell0", "nova_cell0"), ("cell1", "nova")):
                database.execute(
                    "UPDATE cell_mappings SET database_connection = ? WHERE name = ?",
                    (self.place.database(file), cell),
                )

    def _write_agent(self) -> None:
        """The one thing made up beside the hypervisor: a network agent, so that ports are bound."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        configuration = {"bridge_mappings": {PHYSICAL_NETWORK: "br-ex"}, "tunnel_types": []}
        row = {
            "id": str(uuid.uuid4()),
            "agent_type": "Open vSwitch agent",
            "binary": "neutron-openvswitch-agent",
            "topic": "N/A",
            "host": configs.HYPERVISOR,
            "admin_state_up": 1,
            "created_at": now,
            "started_at": now,
            "heartbeat_timestamp": now,
            "configurations": json.dumps(configuration),
            "load": 0,
        }
        names = ", ".join(row)
        with closing(sqlite3.connect(self.directory / "neutron.sqlite")) as database, database:
            database.execute(
                f"INSERT INTO agents ({names}) VALUES ({', '.join('?' * len(row))})",
                tuple(row.values()),
            )
