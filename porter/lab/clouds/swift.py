"""Swift's own servers, unmodified: object storage with native and S3 interfaces.

Real: authentication, signatures, checksums, conditions, multipart, segments, temporary URLs and
their expiry, listings. Not checked: replication (one copy), lifecycle rules (refused), TLS. The
proxy's cache lives in its memory, in place of memcached.
"""

from __future__ import annotations

import configparser
import getpass
import secrets
from collections.abc import Mapping
from pathlib import Path

from porter.lab.clouds.openstack.processes import Processes, free_ports, root

REGION = "us-east-1"
ACCOUNT = "AUTH_testing"
USER = "testing:tester"
STORAGE = ("account", "container", "object")
HEAD = "catch_errors gatekeeper healthcheck cache listing_formats bulk tempurl"
TAIL = "copy slo dlo versioned_writes symlink proxy-server"
PLAIN_FILTERS = (
    *("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "tempurl"),
    *("copy", "slo", "dlo", "symlink"),
)


class Swift:
    """One Swift with accounts of its own (tempauth), without any other OpenStack service."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(16)
        self._servers: SwiftServers | None = None

    def start(self, directory: Path, address: str) -> None:
        """Serve on free ports of `address`; returns when all answer. Raises Permanent."""
        self._servers = SwiftServers(directory, address)
        entry = f".admin {self._servers.url}/v1/{ACCOUNT}"
        filters = {
            "tempauth": {
                "use": "egg:swift#tempauth",
                "user_" + USER.replace(":", "_"): f"{self._secret} {entry}",
            }
        }
        self._servers.start("s3api tempauth", filters)

    def stop(self) -> None:
        if self._servers is not None:
            self._servers.stop()

    def s3(self) -> dict[str, str]:
        """What an S3 client needs: `endpoint`, `region`, `access`, `secret`. Path style."""
        return {
            "endpoint": self._url(),
            "region": REGION,
            "access": USER,
            "secret": self._secret,
        }

    def native(self) -> dict[str, str]:
        """What a Swift client needs: version 1 authentication (`auth_url`, `user`, `key`) and the
        account's `storage_url`."""
        return {
            "auth_url": f"{self._url()}/auth/v1.0",
            "user": USER,
            "key": self._secret,
            "storage_url": f"{self._url()}/v1/{ACCOUNT}",
        }

    def _url(self) -> str:
        assert self._servers is not None, "it was not started"
        return self._servers.url


class SwiftServers:
    """The four servers, with whatever authentication the caller puts before them."""

    def __init__(self, directory: Path, address: str, processes: Processes | None = None) -> None:
        self._root = root()
        self._directory = directory
        self._address = address
        self._ports = dict(zip((*STORAGE, "proxy"), free_ports(address, 4), strict=True))
        directory.mkdir(parents=True, exist_ok=True)
        self._processes = processes or Processes(directory)
        self.url = f"http://{address}:{self._ports['proxy']}"

    def start(self, auth: str, filters: Mapping[str, Mapping[str, str]]) -> None:
        """Start with the middleware named in `auth`. Raises Permanent."""
        self.launch(auth, filters)
        self.wait()

    def launch(self, auth: str, filters: Mapping[str, Mapping[str, str]]) -> None:
        """Start without waiting for an answer."""
        self._configure(auth, filters)
        etc = self._directory / "etc"
        rings = Path(__file__).with_name("openstack") / "rings.py"
        ports = [str(self._ports[name]) for name in STORAGE]
        python = self._root / "bin/python"
        self._processes.run("rings", [python, rings, etc, self._address, *ports])
        for name in (*STORAGE, "proxy"):
            program = self._root / f"bin/swift-{name}-server"
            self._processes.start(
                f"swift-{name}",
                [program, etc / f"{name}-server.conf", "--verbose"],
                {"PYTHONPATH": str(rings.parent)},
            )

    def wait(self) -> None:
        for name in STORAGE:
            url = f"http://{self._address}:{self._ports[name]}/recon/version"
            self._processes.wait(f"swift-{name}", url)
        self._processes.wait("swift-proxy", f"{self.url}/healthcheck")

    def stop(self) -> None:
        self._processes.stop()

    def _configure(self, auth: str, filters: Mapping[str, Mapping[str, str]]) -> None:
        etc = self._directory / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        (self._directory / "devices/sdv").mkdir(parents=True, exist_ok=True)
        ends = {"swift_hash_path_prefix": "porter", "swift_hash_path_suffix": "lab"}
        policy = {"name": "one", "default": "yes"}
        _write(etc / "swift.conf", {"swift-hash": ends, "storage-policy:0": policy})
        for name in STORAGE:
            sections = {
                "DEFAULT": self._common(name),
                "pipeline:main": {"pipeline": f"recon {name}-server"},
                f"app:{name}-server": {"use": f"egg:swift#{name}"},
                "filter:recon": {
                    "use": "egg:swift#recon",
                    "recon_cache_path": str(self._directory),
                },
            }
            _write(etc / f"{name}-server.conf", sections)
        sections = {
            "DEFAULT": self._common("proxy"),
            "pipeline:main": {"pipeline": f"{HEAD} {auth} {TAIL}"},
            "app:proxy-server": {
                "use": "egg:swift#proxy",
                "account_autocreate": "true",
                "allow_account_management": "true",
            },
            "filter:cache": {"paste.filter_factory": "local_cache:filter_factory"},
            "filter:s3api": {"use": "egg:swift#s3api", "location": REGION},
            "filter:versioned_writes": {
                "use": "egg:swift#versioned_writes",
                "allow_object_versioning": "true",
            },
            **{f"filter:{name}": {"use": f"egg:swift#{name}"} for name in PLAIN_FILTERS},
            **{f"filter:{name}": dict(options) for name, options in filters.items()},
        }
        _write(etc / "proxy-server.conf", sections)

    def _common(self, name: str) -> dict[str, str]:
        return {
            "bind_ip": self._address,
            "bind_port": str(self._ports[name]),
            "workers": "0",
            "user": getpass.getuser(),
            "swift_dir": str(self._directory / "etc"),
            "devices": str(self._directory / "devices"),
            "mount_check": "false",
            "disable_fallocate": "true",
            "fallocate_reserve": "0",
            "log_level": "WARNING",
            "log_address": str(self._directory / "no-syslog"),
        }


def _write(path: Path, sections: Mapping[str, Mapping[str, str]]) -> None:
    parser = configparser.RawConfigParser(default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_dict(sections)
    with path.open("w") as file:
        parser.write(file)
