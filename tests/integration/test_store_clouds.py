"""The contracts of stores on real ones: OpenStack Swift by both of its protocols, Microsoft's
Azurite, Google's protocol by gcp-storage-emulator behind a guard."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from azure.storage.blob import BlobServiceClient
from botocore.config import Config
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import porter.lab.clouds.openstack  # noqa: F401 - Swift's module and this one import each other
from porter.domain.errors import Denied, NotFound, Transient
from porter.lab.clouds.azure.blob import Azurite
from porter.lab.clouds.gcp.storage import Storage
from porter.lab.clouds.swift import Swift
from porter.store.base import StoreConfig
from porter.store.registry import Store, open_blobs
from porter.store.s3 import S3Blobs
from tests.contracts.store_contracts import (
    MARK,
    BlobsContract,
    FarContract,
    FarTicketsContract,
    TicketsContract,
    fresh,
)
from tests.unit.store.turning import TurningProxy

pytestmark = pytest.mark.integration


class FarBench:
    """A store behind an address; `at` is its configuration at another port of this machine."""

    def __init__(self, config: StoreConfig, port_of: str, *lacks: str) -> None:
        self.config = config
        self._setting = port_of
        self.lacks = frozenset(lacks)
        self._opened: list[Store | TurningProxy] = []

    def open(self) -> Store:
        return self._open(self.config)

    def _open(self, config: StoreConfig) -> Store:
        store = open_blobs(config)
        self._opened.append(store)
        return store

    def open_damaging(self) -> Store:
        url = urlsplit(self.config.settings[self._setting])
        assert url.port is not None
        proxy = TurningProxy(url.port, MARK)
        self._opened.append(proxy)
        there = url._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
        settings = {**self.config.settings, self._setting: there}
        config = StoreConfig(self.config.name, self.config.url, settings, self.config.secrets)
        return self._open(config)

    def close(self) -> None:
        for one in reversed(self._opened):
            one.close()


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    server = Swift()
    server.start(tmp_path_factory.mktemp("swift"), "127.0.0.1")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def s3(swift: Swift) -> Iterator[FarBench]:
    found = swift.s3()
    names = {"endpoint": found["endpoint"], "region": found["region"]}
    secrets = {"access_key": found["access"], "secret_key": found["secret"]}
    boto3.client(
        "s3",
        endpoint_url=found["endpoint"],
        region_name=found["region"],
        aws_access_key_id=found["access"],
        aws_secret_access_key=found["secret"],
        config=Config(s3={"addressing_style": "path"}),
    ).create_bucket(Bucket="porter-s3")
    bench = FarBench(StoreConfig("s3", "s3://porter-s3/some/prefix", names, secrets), "endpoint")
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def native(swift: Swift) -> Iterator[FarBench]:
    found = swift.native()
    names = {"auth": "v1", "auth_url": found["auth_url"], "storage_url": found["storage_url"]}
    secrets = {"username": found["user"], "password": found["key"]}
    login = {"X-Auth-User": found["user"], "X-Auth-Key": found["key"]}
    token = httpx.get(found["auth_url"], headers=login).headers["X-Auth-Token"]
    made = httpx.put(f"{found['storage_url']}/porter", headers={"X-Auth-Token": token})
    assert made.is_success
    bench = FarBench(StoreConfig("swift", "swift://porter/p", names, secrets), "storage_url")
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarBench]:
    server = Azurite(Path(os.environ.get("PORTER_AZURE", "/var/cache/porter/azure")))
    found = server.start(tmp_path_factory.mktemp("azurite"), "127.0.0.1")
    with BlobServiceClient(found.endpoint, credential=found.key) as client:
        client.create_container("porter")
    names = {"account": found.account, "endpoint": found.endpoint}
    secrets = {"account_key": found.key}
    bench = FarBench(StoreConfig("azure", "azure://porter/some/prefix", names, secrets), "endpoint")
    yield bench
    bench.close()
    server.stop()


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarBench]:
    server = Storage(tmp_path_factory.mktemp("gcs"), "127.0.0.1")
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
    names = {"endpoint": server.url, "project": "p", "anonymous": "yes"}
    config = StoreConfig(
        "gcs", f"gs://{server.bucket()}/prefix", names, {"service_account": json.dumps(account)}
    )
    bench = FarBench(config, "endpoint", "nested", "empty", "delete")
    yield bench
    bench.close()
    server.stop()


class TestS3(BlobsContract):
    pages = 1100

    @pytest.fixture
    def bench(self, s3: FarBench) -> FarBench:
        return s3


class TestS3ByTickets(TicketsContract):
    @pytest.fixture
    def signed(self, s3: FarBench) -> FarBench:
        return s3


class TestS3Damaged(FarContract, FarTicketsContract):
    @pytest.fixture
    def far(self, s3: FarBench) -> FarBench:
        return s3


def test_s3_compares_the_checksum_and_not_only_the_signature(s3: FarBench) -> None:
    """Over TLS the body is not signed: then the checksum alone protects it."""
    store, key = cast(S3Blobs, s3.open()), fresh()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    sent: list[str] = []

    def swap(request: Any, **_: Any) -> None:
        sent.append(request.headers["x-amz-checksum-sha256"])
        del request.headers["x-amz-checksum-sha256"]
        request.headers["x-amz-checksum-sha256"] = wrong

    store._client.meta.events.register_first("before-sign.s3.PutObject", swap)
    with pytest.raises(Transient):
        store.put(key, b"content")
    assert sent[0] == base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    with pytest.raises(NotFound):
        s3.open().get(key)


class TestSwift(BlobsContract):
    pages = 50

    @pytest.fixture
    def bench(self, native: FarBench) -> FarBench:
        return native


class TestSwiftByTickets(TicketsContract):
    @pytest.fixture
    def signed(self, native: FarBench) -> FarBench:
        return native


class TestSwiftDamaged(FarContract, FarTicketsContract):
    @pytest.fixture
    def far(self, native: FarBench) -> FarBench:
        return native


class TestAzure(BlobsContract):
    pages = 50

    @pytest.fixture
    def bench(self, azure: FarBench) -> FarBench:
        return azure


class TestAzureByTickets(TicketsContract):
    @pytest.fixture
    def signed(self, azure: FarBench) -> FarBench:
        return azure


class TestAzureDamaged(FarContract, FarTicketsContract):
    @pytest.fixture
    def far(self, azure: FarBench) -> FarBench:
        return azure


class TestCloudStorage(BlobsContract):
    pages = 50

    @pytest.fixture
    def bench(self, gcs: FarBench) -> FarBench:
        return gcs


class TestCloudStorageByTickets(TicketsContract):
    @pytest.fixture
    def signed(self, gcs: FarBench) -> FarBench:
        return gcs


class TestCloudStorageDamaged(FarContract):
    """By ticket, too, the MD5 is sent, but the stand-in does not compare it."""

    @pytest.fixture
    def far(self, gcs: FarBench) -> FarBench:
        return gcs


@pytest.mark.parametrize("name", ["s3", "native", "azure"])
def test_wrong_credentials_are_denied(name: str, request: pytest.FixtureRequest) -> None:
    config = request.getfixturevalue(name).config
    wrong = {key: value[::-1] for key, value in config.secrets.items()}
    with closing(open_blobs(StoreConfig("w", config.url, config.settings, wrong))) as open_wrong:
        with pytest.raises(Denied) as caught:
            open_wrong.get("a")
    assert all(secret not in str(caught.value) for secret in wrong.values())
