"""A store in Azure Blob Storage. Needs `Storage Blob Data Contributor` on the container, and
`Storage Blob Delegator` on the account where no account key is given."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
)
from azure.storage.blob import BlobServiceClient, generate_blob_sas

from porter.domain.errors import Denied, Invalid, NotFound, Transient
from porter.store.answers import check_method, meaning
from porter.store.base import MAX_BLOB, Blob, StoreConfig, Ticket, check_key
from porter.store.location import Location

_PERMISSION = {"GET": "r", "PUT": "cw", "DELETE": "d"}
_PUT = {"x-ms-blob-type": "BlockBlob"}
_SKEW = timedelta(minutes=5)
_DELEGATION = timedelta(hours=24)


class AzureBlobs:
    """`Blobs` and `Tickets` in a container. Every put carries its MD5, which the store checks."""

    def __init__(self, config: StoreConfig) -> None:
        self._place = Location.of(config.url)
        settings = config.settings
        self._account = settings.get("account", "")
        if not self._account:
            raise Invalid(f"cannot open the store {config.name}", "set the storage `account`")
        self._key = config.secrets.get("account_key")
        more: dict[str, Any] = {}
        if version := settings.get("api_version"):
            more["api_version"] = version
        if ca := settings.get("ca"):
            more["connection_verify"] = ca
        self._service = BlobServiceClient(
            settings.get("endpoint") or f"https://{self._account}.blob.core.windows.net",
            credential=self._named() if self._key else _credential(),
            max_single_put_size=MAX_BLOB + 1,
            # One request reads a whole blob, and the length of the answer is checked.
            max_single_get_size=MAX_BLOB + 1,
            retry_total=4,
            connection_timeout=10,
            read_timeout=60,
            **more,
        )
        self._container = self._service.get_container_client(self._place.container)
        self._delegation: tuple[datetime, Any] | None = None
        self._lock = threading.Lock()

    def _named(self) -> dict[str, str]:
        """The account beside its key: of an address that is none of Azure's it cannot be told."""
        return {"account_name": self._account, "account_key": str(self._key)}

    def put(self, key: str, data: bytes) -> None:
        with _errors(f"put {key}"):
            self._blob(key).upload_blob(data, overwrite=True, validate_content="md5")

    def get(self, key: str) -> bytes:
        with _errors(f"get {key}"):
            content: bytes = self._blob(key).download_blob().readall()
            return content

    def list(self, prefix: str) -> Iterator[Blob]:
        with _errors(f"list {prefix}"):
            for one in self._container.list_blobs(name_starts_with=self._place.prefix + prefix):
                yield Blob(self._place.bare(one.name), one.size)

    def remove(self, key: str) -> None:
        with contextlib.suppress(NotFound), _errors(f"remove {key}"):
            self._blob(key).delete_blob()

    def ticket(self, method: str, key: str, seconds: int) -> Ticket:
        permission = _PERMISSION[check_method(method)]
        blob = self._blob(key)
        now = datetime.now(UTC)
        end = now + timedelta(seconds=seconds)
        signer = {"account_key": self._key} if self._key else self._delegated(now, end)
        with _errors(f"sign for {key}"):
            query = generate_blob_sas(
                self._account,
                self._place.container,
                blob.blob_name,
                permission=permission,
                start=now - _SKEW,
                expiry=end,
                **signer,
            )
        return Ticket(method, f"{blob.url}?{query}", _PUT if method == "PUT" else {})

    def close(self) -> None:
        self._service.close()

    def _delegated(self, now: datetime, end: datetime) -> dict[str, Any]:
        """A key of Azure's own that signs for this identity; kept for a day."""
        with self._lock:
            if self._delegation is None or self._delegation[0] < end:
                until = max(end, now + _DELEGATION)
                with _errors("ask for a user delegation key"):
                    key = self._service.get_user_delegation_key(now - _SKEW, until)
                self._delegation = (until, key)
            return {"user_delegation_key": self._delegation[1]}

    def _blob(self, key: str) -> Any:
        return self._container.get_blob_client(self._place.full(check_key(key)))


def _credential() -> Any:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()


@contextlib.contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except ClientAuthenticationError as error:
        raise Denied(
            f"cannot {doing}: the store does not accept the credential",
            "check account_key, or the roles of this identity",
        ) from error
    except IncompleteReadError as error:
        raise Transient(f"cannot {doing}: the answer was cut off") from error
    except HttpResponseError as error:
        code = getattr(error, "error_code", None) or error.reason
        why = f"{code}: {(error.message or '').partition(chr(10))[0][:100]}"
        raise meaning(error.status_code or 500, doing, why) from error
    except AzureError as error:
        raise Transient(f"cannot {doing}: {type(error).__name__}") from error


def open_blobs(config: StoreConfig) -> AzureBlobs:
    """Settings: `account`, `endpoint`, `ca`, `api_version`. Secret: `account_key`, or none for
    the SDK's own chain (managed identity, workload identity, environment)."""
    return AzureBlobs(config)
