"""A store in S3, or in what speaks its protocol. Needs `s3:PutObject`, `s3:GetObject`,
`s3:DeleteObject` on the prefix and `s3:ListBucket` on the bucket."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from porter.domain.errors import Denied, Transient
from porter.store.answers import check_method, meaning
from porter.store.base import Blob, StoreConfig, Ticket, check_key
from porter.store.location import Location

_CALLS = {"GET": "get_object", "PUT": "put_object", "DELETE": "delete_object"}


class S3Blobs:
    """`Blobs` and `Tickets` in a bucket. Every put carries its SHA-256, which the store checks."""

    def __init__(self, config: StoreConfig) -> None:
        self._place = Location.of(config.url)
        settings, secrets = config.settings, config.secrets
        session = boto3.Session(
            aws_access_key_id=secrets.get("access_key"),
            aws_secret_access_key=secrets.get("secret_key"),
            aws_session_token=secrets.get("session_token"),
            region_name=settings.get("region"),
            profile_name=settings.get("profile"),
        )
        endpoint = settings.get("endpoint")
        self._client = session.client(
            "s3",
            endpoint_url=endpoint,
            verify=settings.get("ca"),
            config=Config(
                # The default still signs URLs in the old way at some endpoints.
                signature_version="s3v4",
                retries={"mode": "standard", "max_attempts": 5},
                s3={"addressing_style": "path" if endpoint else "auto"},
                # SHA-256 is sent below; a second checksum only costs, and spoils signed URLs.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=16,
                connect_timeout=10,
                read_timeout=60,
            ),
        )

    def put(self, key: str, data: bytes) -> None:
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        with _errors(f"put {key}"):
            self._client.put_object(**self._named(key), Body=data, ChecksumSHA256=checksum)

    def get(self, key: str) -> bytes:
        with _errors(f"get {key}"):
            body: bytes = self._client.get_object(**self._named(key))["Body"].read()
            return body

    def list(self, prefix: str) -> Iterator[Blob]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._place.container, Prefix=self._place.prefix + prefix
        )
        with _errors(f"list {prefix}"):
            for page in pages:
                for one in page.get("Contents", ()):
                    yield Blob(self._place.bare(one["Key"]), one["Size"])

    def remove(self, key: str) -> None:
        with _errors(f"remove {key}"):
            self._client.delete_object(**self._named(key))

    def ticket(self, method: str, key: str, seconds: int) -> Ticket:
        with _errors(f"sign for {key}"):
            url = self._client.generate_presigned_url(
                _CALLS[check_method(method)], Params=self._named(key), ExpiresIn=seconds
            )
        return Ticket(method, url)

    def close(self) -> None:
        self._client.close()

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._place.container, "Key": self._place.full(check_key(key))}


@contextlib.contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        raise meaning(status, doing, answer.get("Error", {}).get("Code", "")) from error
    except NoCredentialsError as error:
        raise Denied(
            f"cannot {doing}: {error}", "give the store's access_key and secret_key"
        ) from error
    except BotoCoreError as error:
        raise Transient(f"cannot {doing}: {error}") from error


def open_blobs(config: StoreConfig) -> S3Blobs:
    """Settings: `region`, `endpoint`, `ca` (a bundle's path), `profile`. Secrets: `access_key`,
    `secret_key`, `session_token`, or none for the SDK's own chain."""
    return S3Blobs(config)
