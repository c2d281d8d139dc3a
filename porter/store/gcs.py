"""A store in Google Cloud Storage. Needs `roles/storage.objectUser` on the bucket, and
`iam.serviceAccounts.signBlob` on itself where tickets are signed without a key file."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import google.auth
import google_crc32c
import requests
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.cloud.storage import Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account

from porter.domain.errors import Denied, NotFound, Transient
from porter.store.answers import check_method, meaning
from porter.store.base import Blob, StoreConfig, Ticket, check_key
from porter.store.location import Location

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_BINARY = "application/octet-stream"
# Puts replace by the same bytes, removals may repeat: all may be tried again.
_RETRY = DEFAULT_RETRY.with_timeout(60)


class CloudStorageBlobs:
    """`Blobs` and `Tickets` in a bucket. Every put carries its CRC32C, which the store checks."""

    def __init__(self, config: StoreConfig) -> None:
        self._place = Location.of(config.url)
        settings = config.settings
        self._endpoint = settings.get("endpoint")
        account = config.secrets.get("service_account")
        self._signer: Any = None
        if account:
            self._signer = service_account.Credentials.from_service_account_info(
                json.loads(account), scopes=_SCOPES
            )
        credentials = AnonymousCredentials() if settings.get("anonymous") == "yes" else self._signer
        project = settings.get("project")
        if credentials is None:
            with _errors("find Google's credentials"):
                credentials, found = google.auth.default(scopes=_SCOPES)
                project = project or found
        self._credentials = credentials
        options = {"api_endpoint": self._endpoint} if self._endpoint else None
        self._client = Client(project or "none", credentials, client_options=options)
        if ca := settings.get("ca"):
            self._client._http.verify = ca
        self._bucket = self._client.bucket(self._place.container)

    def put(self, key: str, data: bytes) -> None:
        crc = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        with _errors(f"put {key}"):
            blob = self._blob(key)
            # In the object's metadata the server compares it before anything is stored.
            blob.crc32c = crc
            blob.upload_from_string(data, _BINARY, checksum="crc32c", retry=_RETRY)

    def get(self, key: str) -> bytes:
        with _errors(f"get {key}"):
            # Raw: the bytes that were put, whatever the store thinks their encoding is.
            content: bytes = self._blob(key).download_as_bytes(raw_download=True, retry=_RETRY)
            return content

    def list(self, prefix: str) -> Iterator[Blob]:
        with _errors(f"list {prefix}"):
            for one in self._client.list_blobs(
                self._place.container, prefix=self._place.prefix + prefix, retry=_RETRY
            ):
                yield Blob(self._place.bare(one.name), one.size)

    def remove(self, key: str) -> None:
        with contextlib.suppress(NotFound), _errors(f"remove {key}"):
            self._blob(key).delete(retry=_RETRY)

    def ticket(self, method: str, key: str, seconds: int) -> Ticket:
        check_method(method)
        with _errors(f"sign for {key}"):
            url: str = self._blob(key).generate_signed_url(
                timedelta(seconds=seconds),
                method=method,
                version="v4",
                api_access_endpoint=self._endpoint,
                **self._signing(),
            )
        return Ticket(method, url)

    def close(self) -> None:
        self._client.close()

    def _signing(self) -> dict[str, Any]:
        if self._signer is not None:
            return {"credentials": self._signer}
        # On a machine of Google's the key stays there: its service signs for us.
        if not self._credentials.valid:
            self._credentials.refresh(Request())
        email = getattr(self._credentials, "service_account_email", None)
        if not email:
            raise Denied(
                "cannot sign: these credentials name no service account",
                "give the store a service_account key, or run Porter with a service account",
            )
        return {"service_account_email": email, "access_token": self._credentials.token}

    def _blob(self, key: str) -> Any:
        return self._bucket.blob(self._place.full(check_key(key)))


@contextlib.contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except GoogleAPICallError as error:
        raise meaning(error.code or 500, doing, str(error.message)[:200]) from error
    except GoogleAuthError as error:
        raise Denied(
            f"cannot {doing}: {type(error).__name__}", "check the service account's key"
        ) from error
    except (DataCorruption, RetryError, requests.RequestException) as error:
        raise Transient(f"cannot {doing}: {type(error).__name__}") from error


def open_blobs(config: StoreConfig) -> CloudStorageBlobs:
    """Settings: `project`, `endpoint`, `ca`, `anonymous` (`yes` asks without credentials).
    Secret: `service_account` (the JSON of its key), or none for the SDK's own chain."""
    return CloudStorageBlobs(config)
