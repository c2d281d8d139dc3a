"""The stand-in for Cloud Storage refuses what Google would, through Google's unmodified client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Bucket, Client
from google.oauth2.service_account import Credentials

from porter.lab.clouds.gcp import GcpCloud
from porter.store.base import StoreConfig
from porter.store.gcs import open_blobs

pytestmark = pytest.mark.integration
BIG = b"0123456789abcdef" * (1 << 16)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    cloud = GcpCloud()
    cloud.start(tmp_path, "127.0.0.1")
    place = cloud.storage()
    with Client(
        "p", AnonymousCredentials(), client_options={"api_endpoint": place["endpoint"]}
    ) as c:
        yield c.bucket(place["bucket"])
    cloud.stop()


def test_bytes_come_back(bucket: Bucket) -> None:
    for name, data in (("a/b c.bin", b"\x00\xff" * 99), ("empty", b""), ("big", BIG)):
        bucket.blob(name).upload_from_string(data, checksum="crc32c")
        assert bucket.blob(name).download_as_bytes() == data
    assert {one.name for one in bucket.list_blobs()} == {"a/b c.bin", "empty", "big"}


@pytest.mark.parametrize("chunked", [False, True])
def test_generations_are_compared(bucket: Bucket, chunked: bool) -> None:
    def put(data: bytes, generation: int) -> Any:
        blob = bucket.blob("g", chunk_size=256 << 10 if chunked else None)
        blob.upload_from_string(data, if_generation_match=generation)
        return blob

    first = put(BIG, 0)
    with pytest.raises(exceptions.PreconditionFailed):
        put(b"second", 0)
    put(b"third", first.generation)
    with pytest.raises(exceptions.PreconditionFailed):
        put(b"fourth", first.generation)
    assert bucket.blob("g").download_as_bytes() == b"third"
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("g").delete(if_generation_match=first.generation)
    assert bucket.blob("g").exists()


def test_damage_on_the_way_is_refused(bucket: Bucket) -> None:
    blob = bucket.blob("d")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(exceptions.BadRequest):
        blob.upload_from_string(b"something else", checksum=None)
    url = f"{bucket.client._connection.API_BASE_URL}/upload/storage/v1/b/{bucket.name}/o"
    answer = requests.post(
        url,
        params={"uploadType": "media", "name": "d"},
        data=b"something else",
        headers={"X-Goog-Hash": "crc32c=AAAAAA=="},
        timeout=10,
    )
    assert answer.status_code == 400
    assert not bucket.blob("d").exists()


def test_signed_urls_expire(bucket: Bucket) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = {"client_email": "a@b.c", "token_uri": "x", "private_key": key.decode()}
    signer = Credentials.from_service_account_info(info)
    endpoint = bucket.client._connection.API_BASE_URL

    def signed(method: str, seconds: int) -> str:
        url: str = bucket.blob("s").generate_signed_url(
            timedelta(seconds=seconds),
            method=method,
            version="v4",
            credentials=signer,
            api_access_endpoint=endpoint,
        )
        return url

    assert requests.put(signed("PUT", 60), data=b"x", timeout=10).ok
    assert requests.get(signed("GET", 60), timeout=10).content == b"x"
    assert requests.get(signed("GET", -1), timeout=10).status_code == 400


def test_porters_own_store_works_on_it(tmp_path: Path) -> None:
    cloud = GcpCloud()
    cloud.start(tmp_path, "127.0.0.1")
    place = cloud.storage()
    blobs = open_blobs(StoreConfig("lab", f"{place['url']}/deep", place))
    blobs.put("a/b", BIG)
    assert blobs.get("a/b") == BIG
    assert [(one.key, one.size) for one in blobs.list("a/")] == [("a/b", len(BIG))]
    blobs.remove("a/b")
    assert not list(blobs.list(""))
    cloud.stop()
