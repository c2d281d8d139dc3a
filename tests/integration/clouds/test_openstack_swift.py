"""Swift alone, as the stand-in for object stores: what it refuses, and that it ends."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from porter.lab.clouds.swift import Swift
from tests.integration.services import answers, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    made = Swift()
    try:
        made.start(tmp_path_factory.mktemp("swift"), "127.0.0.1")
        yield made
    finally:
        made.stop()


def client(swift: Swift, **other: str) -> Any:
    found = {**swift.s3(), **other}
    return boto3.client(
        "s3",
        endpoint_url=found["endpoint"],
        region_name=found["region"],
        aws_access_key_id=found["access"],
        aws_secret_access_key=found["secret"],
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )


def test_it_keeps_objects_and_refuses_what_is_wrong(swift: Swift) -> None:
    s3 = client(swift)
    s3.create_bucket(Bucket="layers")
    s3.put_object(Bucket="layers", Key="a", Body=b"one")
    other = base64.b64encode(hashlib.sha256(b"two").digest()).decode()
    for wrong in ({"IfNoneMatch": "*"}, {"ChecksumSHA256": other}):
        with pytest.raises(ClientError, match=r"PreconditionFailed|BadDigest"):
            s3.put_object(Bucket="layers", Key="a", Body=b"three", **wrong)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        client(swift, secret="0" * 32).list_buckets()
    assert s3.get_object(Bucket="layers", Key="a")["Body"].read() == b"one"


def test_the_native_interface_shows_the_same(swift: Swift) -> None:
    native = swift.native()
    keys = {"X-Auth-User": native["user"], "X-Auth-Key": native["key"]}
    signed = httpx.get(native["auth_url"], headers=keys, trust_env=False)
    assert signed.headers["X-Storage-Url"] == native["storage_url"]
    token = {"X-Auth-Token": signed.headers["X-Auth-Token"]}
    url = f"{native['storage_url']}/drawer"
    assert httpx.put(url, headers=token, trust_env=False).status_code == 201
    assert httpx.get(url, trust_env=False).status_code == 401
    assert "drawer" in {one["Name"] for one in client(swift).list_buckets()["Buckets"]}


def test_it_ends_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from porter.lab.clouds.swift import Swift\n"
        "swift = Swift()\n"
        "swift.start(pathlib.Path(sys.argv[1]), '127.0.0.1')\n"
        "print(swift.s3()['endpoint'].rpartition(':')[2], flush=True)\n"
        "time.sleep(600)\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        port = int(starter.stdout.readline())
        assert answers(port)
        starter.send_signal(signal.SIGKILL)
    wait_until("the servers to end", lambda: not answers(port), 20)
