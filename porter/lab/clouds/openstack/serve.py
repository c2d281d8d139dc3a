"""Program that runs one of OpenStack's services: `serve.py SERVICE DIRECTORY ADDRESS PORT...`.

Run by the services' own Python: it must not import Porter. Nova's API, metadata API (second port),
conductor, scheduler and compute share one process, since messages between them stay in memory;
further ports are those that it waits for.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

MODULES = {
    "keystone": "keystone.wsgi.api",
    "placement": "placement.wsgi.api",
    "glance": "glance.wsgi.api",
    "neutron": "neutron.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
}
THREADS = 8


def _load(service: str, directory: Path) -> Any:
    home = directory / service
    file = home / f"{service}.conf"
    os.environ[f"OS_{service.upper()}_CONFIG_DIR"] = str(home)
    if service in ("keystone", "neutron"):
        os.environ[f"OS_{service.upper()}_CONFIG_FILES"] = str(file)
    takes_options = service in ("neutron", "nova")
    sys.argv = [service, *(("--config-file", str(file)) if takes_options else ())]
    return importlib.import_module(MODULES[service]).application


def _wait_for(address: str, ports: list[int]) -> None:
    """Until somebody listens on each; the starter ends us if nobody ever does."""
    for port in ports:
        while True:
            try:
                socket.create_connection((address, port), timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)


def _start_workers() -> None:
    """Conductor, scheduler and compute, and the compute host made known to the cell."""
    services = importlib.import_module("nova.service")
    topic = importlib.import_module("nova.compute.rpcapi").RPC_TOPIC
    for name, where in (("conductor", "conductor"), ("scheduler", "scheduler"), ("compute", topic)):
        services.Service.create(binary=f"nova-{name}", topic=where).start()
    context = importlib.import_module("nova.context").get_admin_context()
    importlib.import_module("nova.objects.host_mapping").discover_hosts(context)


def _serve_metadata(directory: Path, address: str, port: int) -> None:
    deploy = importlib.import_module("paste.deploy")
    application = deploy.loadapp(f"config:{directory}/nova/api-paste.ini", name="metadata")
    waitress = importlib.import_module("waitress")
    options = {"host": address, "port": port, "threads": 2}
    threading.Thread(
        target=waitress.serve, args=(application,), kwargs=options, daemon=True
    ).start()


def main(service: str, directory: Path, address: str, ports: list[int]) -> None:
    # With threads of the system, not with the patched ones.
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "true"
    importlib.import_module("locking").install()
    application = _load(service, directory)
    if service == "nova":
        _wait_for(address, ports[2:])  # compute registers its host only once, at its start
        _start_workers()
        _serve_metadata(directory, address, ports[1])
    importlib.import_module("waitress").serve(
        application,
        host=address,
        port=ports[0],
        threads=THREADS,
        ident="",
        clear_untrusted_proxy_headers=True,
        # Clients keep connections open, and many come and go: by default it stops at a hundred.
        connection_limit=4000,
        asyncore_use_poll=True,
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], [int(word) for word in sys.argv[4:]])
