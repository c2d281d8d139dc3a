"""Program that makes the services' databases, empty but for an administrator and Nova's cells.

Run once by the services' own Python, after their installation: `prepare.py DIRECTORY`. A start of
the lab's cloud copies the result, since the services' own schema tools take a minute.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
configs = importlib.import_module("configs")


def main(directory: Path) -> None:
    venv = Path(sys.prefix)
    ports = dict.fromkeys(configs.SERVICES, 9)
    place = configs.Place(directory, venv, "127.0.0.1", ports)
    (directory / "locks").mkdir(parents=True, exist_ok=True)
    configs.write(place)

    def run(*argv: str) -> None:
        service = argv[0].partition("-")[0]
        print("+", *argv, flush=True)
        program = str(venv / "bin" / argv[0])
        subprocess.run([program, "--config-file", str(place.file(service)), *argv[1:]], check=True)

    run("keystone-manage", "db_sync")
    run("keystone-manage", "bootstrap", "--bootstrap-password", configs.ADMIN_PASSWORD)
    run("placement-manage", "db", "sync")
    run("glance-manage", "db_sync")
    run("nova-manage", "api_db", "sync")
    # The URLs are templates: Nova fills them from its own configuration at each start.
    run(
        "nova-manage", "cell_v2", "map_cell0", "--database_connection", place.database("nova_cell0")
    )
    run("nova-manage", "db", "sync")
    run("nova-manage", "cell_v2", "create_cell", "--name", "cell1")
    _neutron(place.database("neutron"))


def _neutron(url: str) -> None:
    """From the models: the schema revisions themselves do not run on SQLite."""
    models = importlib.import_module("neutron.db.migration.models.head")
    models.get_metadata().create_all(importlib.import_module("sqlalchemy").create_engine(url))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
