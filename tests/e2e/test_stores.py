"""Two hosts that cannot reach each other: the workload moves through each kind of store."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from azure.storage.blob import BlobServiceClient
from botocore.config import Config
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import porter.lab.clouds.openstack  # noqa: F401 - Swift's module and this one import each other
from porter.lab.clouds.azure.blob import Azurite
from porter.lab.clouds.gcp.storage import Storage
from porter.lab.clouds.swift import Swift
from porter.lab.fleet import Fleet
from tests.e2e.conftest import FAMILY, only_on

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
Shelf = dict[str, Any]


def peer_ports(fleet: Fleet, verb: str) -> None:
    """Wall the hosts off from each other (`-I`) or take the wall away (`-D`)."""
    for host, other in (("onprem", "cloud"), ("cloud", "onprem")):
        rule = ["-d", fleet.lab.address(other), "-p", "tcp", "--dport", "7443"]
        reject = ["-j", "REJECT", "--reject-with", "icmp-admin-prohibited"]
        fleet.lab.exec(host, ["iptables", verb, "OUTPUT", *rule, *reject], check=True)


@pytest.fixture
def wall(fleet: Fleet) -> Iterator[None]:
    peer_ports(fleet, "-I")
    yield
    peer_ports(fleet, "-D")


@contextmanager
def directory(fleet: Fleet, folder: Path) -> Iterator[Shelf]:
    """Below the lab's own directory, which every host sees."""
    shelf = fleet.lab.directory / "shelf"
    yield {"url": f"file://{shelf}", "settings": {"durable": "no"}}


@contextmanager
def swift(fleet: Fleet, folder: Path) -> Iterator[Swift]:
    server = Swift()
    server.start(folder / "swift", fleet.lab.gateway)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def s3(fleet: Fleet, folder: Path) -> Iterator[Shelf]:
    """OpenStack Swift by its S3 protocol: it checks checksums and signatures."""
    with swift(fleet, folder) as server:
        found = server.s3()
        boto3.client(
            "s3",
            endpoint_url=found["endpoint"],
            region_name=found["region"],
            aws_access_key_id=found["access"],
            aws_secret_access_key=found["secret"],
            config=Config(s3={"addressing_style": "path"}),
        ).create_bucket(Bucket="porter")
        yield {
            "url": "s3://porter/p",
            "settings": {"endpoint": found["endpoint"], "region": found["region"]},
            "secrets": {"access_key": found["access"], "secret_key": found["secret"]},
        }


@contextmanager
def native(fleet: Fleet, folder: Path) -> Iterator[Shelf]:
    with swift(fleet, folder) as server:
        found = server.native()
        login = {"X-Auth-User": found["user"], "X-Auth-Key": found["key"]}
        token = httpx.get(found["auth_url"], headers=login).headers["X-Auth-Token"]
        httpx.put(f"{found['storage_url']}/porter", headers={"X-Auth-Token": token})
        yield {
            "url": "swift://porter/p",
            "settings": {
                "auth": "v1",
                "auth_url": found["auth_url"],
                "storage_url": found["storage_url"],
            },
            "secrets": {"username": found["user"], "password": found["key"]},
        }


@contextmanager
def azure(fleet: Fleet, folder: Path) -> Iterator[Shelf]:
    server = Azurite(Path(os.environ.get("PORTER_AZURE", "/var/cache/porter/azure")))
    (folder / "azurite").mkdir()
    found = server.start(folder / "azurite", fleet.lab.gateway)
    try:
        credential = {"account_name": found.account, "account_key": found.key}
        with BlobServiceClient(found.endpoint, credential=credential) as client:
            client.create_container("porter")
        yield {
            "url": "azure://porter/p",
            "settings": {"account": found.account, "endpoint": found.endpoint},
            "secrets": {"account_key": found.key},
        }
    finally:
        server.stop()


@contextmanager
def gcs(fleet: Fleet, folder: Path) -> Iterator[Shelf]:
    (folder / "gcs").mkdir()
    server = Storage(folder / "gcs", fleet.lab.gateway)
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "porter@example.test",
        "token_uri": "http://127.0.0.1:9/none",
        "private_key": key.decode(),
    }
    try:
        yield {
            "url": f"gs://{server.bucket()}/p",
            "settings": {"endpoint": server.url, "project": "p", "anonymous": "yes"},
            "secrets": {"service_account": json.dumps(account)},
        }
    finally:
        server.stop()


KINDS: dict[str, Callable[[Fleet, Path], Any]] = {
    "directory": directory,
    "s3": s3,
    "swift": native,
    "azure": azure,
    "gcs": gcs,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_family_moves_through_a_store(
    fleet: Fleet, name: str, tmp_path: Path, wall: None, kind: str
) -> None:
    family = ("python3", "-u", "-c", FAMILY)
    fleet.run("onprem", name, *family, options=("-v", f"{name}:/data"))
    refused = fleet.try_porter("migrate", name, "--to", "cloud", "--dry-run")
    assert refused.returncode == 2
    assert "does not reach" in refused.stdout
    with ExitStack() as stack:
        shelf = stack.enter_context(KINDS[kind](fleet, tmp_path))
        words = [word for k, v in shelf["settings"].items() for word in ("--set", f"{k}={v}")]
        secrets = []
        for key, value in shelf.get("secrets", {}).items():
            (tmp_path / key).write_text(value)
            secrets += ["--secret", f"{key}={tmp_path / key}"]
        fleet.porter("store", "add", "shelf", shelf["url"], *words, *secrets)
        stack.callback(fleet.try_porter, "store", "rm", "shelf")
        fleet.porter("store", "verify", "shelf")
        ways = (("onprem", "cloud"), ("cloud", "onprem"))
        for here, there in ways if kind == "directory" else ways[:1]:
            receipt = fleet.migrate(name, there)
            assert receipt["state"] == "succeeded", receipt["reason"]
            assert receipt["from"] == here
            assert receipt["verified"]
            assert receipt["reason"] == ""
            only_on(fleet, name, there)
