"""A stand-in for Google Cloud.

What it really checks: that every path, parameter, request body and answer is one that Google's own
discovery documents allow; states, names, labels, uniqueness, request ids, paging, permissions and
the order of operations, by rules of its own. What it does not: credentials, quotas, images,
networks, or anything that happens inside a machine. Nothing boots unless the lab does it. Health
and draining of endpoints pass by counted requests.

Cloud Storage is gcp-storage-emulator behind a guard; see `storage.py`.
"""

from __future__ import annotations

from pathlib import Path

from porter.domain.errors import NotFound
from porter.domain.site import SiteKind
from porter.lab.clouds.base import Machine
from porter.lab.clouds.gcp.server import Front, Google
from porter.lab.clouds.gcp.storage import Storage
from porter.providers.base import SiteConfig

PROJECT = "porter-lab"
REGION = "europe-west1"
METADATA = "/computeMetadata/v1/instance/"


class GcpCloud:
    """One project's region. Threads of this process; state is in memory only."""

    kind = SiteKind.GCP

    def __init__(self, project: str = PROJECT, region: str = REGION) -> None:
        self.google = Google(project, region)
        self.google.dns.make("lab", "gcp.porter.test")
        self._front: Front | None = None
        self._storage: Storage | None = None
        self._notices: dict[str, dict[str, str]] = {}

    def start(self, directory: Path, address: str) -> None:
        self._directory, self._address = directory, address
        self._front = Front(self.google, self._metadata, address)

    def stop(self) -> None:
        if self._storage is not None:
            self._storage.stop()
        if self._front is not None:
            self._front.close()
        self._front = self._storage = None

    def site(self) -> SiteConfig:
        world, url = self.google.world, self._url()
        settings = {"project": world.project, "endpoint": url, "metadata_endpoint": url}
        settings["zone"] = world.zones[0]
        return SiteConfig(f"gcp:{world.region}", self.kind, world.region, settings)

    def storage(self) -> dict[str, str]:
        """A bucket that nobody else uses: its `url`, `bucket`, and the settings with which a store
        is opened on it (`endpoint`, `project`, `anonymous`). Starts the service when first asked.
        """
        if self._storage is None:
            self._url()
            self._storage = Storage(self._directory / "storage", self._address)
        bucket = self._storage.bucket()
        place = {"endpoint": self._storage.url, "project": self.google.world.project}
        return {**place, "anonymous": "yes", "bucket": bucket, "url": f"gs://{bucket}"}

    def reserve(self) -> str:
        """A fresh static address, leading nowhere."""
        with self.google.lock:
            return self.google.compute.reserve()

    def machines(self) -> list[Machine]:
        with self.google.lock:
            return [
                Machine(
                    id=f"{zone}/{name}",
                    name=one["labels"].get("porter-host", name),
                    running=one["status"] == "RUNNING",
                    user_data=user_data(one),
                )
                for (zone, name), one in self.google.world.instances.items()
                if one["status"] in ("RUNNING", "STOPPING", "TERMINATED")
            ]

    def booted(self, machine: str, address: str) -> None:
        self._instance(machine)["networkInterfaces"][0]["networkIP"] = address

    def announce(self, machine: str, path: str, value: str) -> None:
        """Let the metadata server tell this machine: `preempted` TRUE, or a `maintenance-event`."""
        self._instance(machine)
        self._notices.setdefault(machine, {})[path] = value

    def _url(self) -> str:
        assert self._front is not None, "it is not started"
        return self._front.url

    def _instance(self, machine: str) -> dict[str, list[dict[str, str]]]:
        zone, _, name = machine.partition("/")
        try:
            return self.google.world.instances[(zone, name)]
        except KeyError:
            raise NotFound(f"cannot find the machine {machine}") from None

    def _metadata(self, path: str, flavor: str, client: str) -> tuple[int, str]:
        """As a machine sees it; which one is told by the address it asks from."""
        if flavor != "Google" or not path.startswith(METADATA):
            return 403, "Forbidden"
        with self.google.lock:
            world = self.google.world
            for (zone, name), one in world.instances.items():
                if one["networkInterfaces"][0]["networkIP"] == client:
                    found = {
                        "name": name,
                        "zone": f"projects/1/zones/{zone}",
                        "preempted": "FALSE",
                        "maintenance-event": "NONE",
                        **self._notices.get(f"{zone}/{name}", {}),
                    }
                    value = found.get(path.removeprefix(METADATA))
                    return (200, value) if value is not None else (404, "Not Found")
        return 404, "Not Found"


def user_data(instance: dict[str, dict[str, list[dict[str, str]]]]) -> str:
    """What a machine gets at its first boot."""
    items = instance.get("metadata", {}).get("items", [])
    return next((one["value"] for one in items if one["key"] == "user-data"), "")
