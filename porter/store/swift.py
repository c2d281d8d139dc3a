"""A store in OpenStack Swift, by its own protocol. Needs the right to read and write in the
container, and for tickets to set its metadata (or `temp_url_key`)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx

from porter.domain.errors import Denied, Invalid, NotFound, Transient
from porter.store.answers import check_method, meaning, pieces
from porter.store.base import Blob, StoreConfig, Ticket, check_key
from porter.store.location import Location

_TRIES = 5
_KEY = "X-Container-Meta-Temp-URL-Key"
Session = tuple[str, str]
"""The storage URL of an account, and a token for it."""


class SwiftBlobs:
    """`Blobs` and `Tickets` in a container. Every put carries its MD5 as ETag, which the store
    checks."""

    def __init__(self, config: StoreConfig, login: Callable[[], Session]) -> None:
        self._place = Location.of(config.url)
        self._login = login
        self._session: Session | None = None
        self._temp_url_key = config.secrets.get("temp_url_key", "")
        self._lock = threading.Lock()
        ca = config.settings.get("ca")
        self._http = httpx.Client(
            verify=_context(ca), timeout=httpx.Timeout(60, connect=10), trust_env=ca is None
        )

    def put(self, key: str, data: bytes) -> None:
        checksum = hashlib.md5(data, usedforsecurity=False).hexdigest()
        headers = {
            "ETag": checksum,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(data)),
        }
        self._ask("PUT", f"put {key}", self._path(key), headers, data)

    def get(self, key: str) -> bytes:
        return self._ask("GET", f"get {key}", self._path(key)).content

    def list(self, prefix: str) -> Iterator[Blob]:
        query = {"format": "json", "prefix": self._place.prefix + prefix}
        while True:
            answer = self._ask("GET", f"list {prefix}", quote(self._place.container), params=query)
            found = answer.json()
            for one in found:
                yield Blob(self._place.bare(one["name"]), one["bytes"])
            if not found:
                return
            query["marker"] = found[-1]["name"]

    def remove(self, key: str) -> None:
        try:
            self._ask("DELETE", f"remove {key}", self._path(key))
        except NotFound:
            pass  # Absent is success.

    def ticket(self, method: str, key: str, seconds: int) -> Ticket:
        check_method(method)
        signing = self._signing_key().encode()
        base, _ = self._account()
        parts = urlsplit(f"{base}/{self._path(key)}")
        expires = int(time.time()) + seconds
        text = f"{method}\n{expires}\n{unquote(parts.path)}".encode()
        signature = hmac.new(signing, text, hashlib.sha256).hexdigest()
        query = f"temp_url_sig={signature}&temp_url_expires={expires}"
        return Ticket(method, urlunsplit(parts._replace(query=query)))

    def close(self) -> None:
        self._http.close()

    def _signing_key(self) -> str:
        """The container's own key; made when there is none."""
        with self._lock:
            if not self._temp_url_key:
                container = quote(self._place.container)
                found = self._ask("HEAD", "read the temp URL key", container).headers.get(_KEY)
                if not found:
                    found = secrets.token_hex(32)
                    self._ask("POST", "set the temp URL key", container, headers={_KEY: found})
                self._temp_url_key = found
            return self._temp_url_key

    def _account(self) -> Session:
        if self._session is None:
            self._session = self._login()
        return self._session

    def _path(self, key: str) -> str:
        return f"{quote(self._place.container)}/{quote(self._place.full(check_key(key)))}"

    def _ask(
        self,
        method: str,
        doing: str,
        path: str,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        **more: Any,
    ) -> httpx.Response:
        """All requests may be repeated. A token that ran out is replaced once."""
        problem: Exception | None = None
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(0.1 * 2**attempt)
            session = self._account()
            try:
                answer = self._http.request(
                    method,
                    f"{session[0]}/{path}",
                    headers={**(headers or {}), "X-Auth-Token": session[1]},
                    content=None if data is None else pieces(data),
                    **more,
                )
            except httpx.HTTPError as error:
                problem = Transient(f"cannot {doing}: {type(error).__name__}")
                continue
            if answer.is_success:
                return answer
            problem = meaning(answer.status_code, doing, answer.reason_phrase)
            if answer.status_code == 401 and attempt == 0:
                if self._session == session:
                    self._session = None
            elif not isinstance(problem, Transient):
                break
        assert problem is not None
        raise problem


def _context(ca: str | None) -> Any:
    import ssl

    return ssl.create_default_context(cafile=ca)


def open_blobs(config: StoreConfig) -> SwiftBlobs:
    """Settings: `auth_url`, `region`, `ca`, `storage_url` (in place of the catalogue's), and what
    Keystone needs of `project_name`, `project_domain_name`, `user_domain_name`; `auth` = `v1` for
    TempAuth and Ceph. Secrets: `username` and `password`, or `application_credential_id` and
    `application_credential_secret`; `temp_url_key` where the container's is not ours to read."""
    if not config.settings.get("auth_url"):
        raise Invalid(f"cannot open the store {config.name}", "set `auth_url`")
    login = _v1_login if config.settings.get("auth") == "v1" else _keystone_login
    return SwiftBlobs(config, lambda: login(config))


def _v1_login(config: StoreConfig) -> Session:
    headers = {
        "X-Auth-User": config.secrets.get("username", ""),
        "X-Auth-Key": config.secrets.get("password", ""),
    }
    try:
        answer = httpx.get(
            config.settings["auth_url"],
            headers=headers,
            verify=_context(config.settings.get("ca")),
            timeout=30,
        )
    except httpx.HTTPError as error:
        raise Transient(f"cannot log in: {type(error).__name__}") from error
    if not answer.is_success:
        raise meaning(answer.status_code, "log in", answer.reason_phrase)
    base = config.settings.get("storage_url") or answer.headers["X-Storage-Url"]
    return base.rstrip("/"), answer.headers["X-Auth-Token"]


_KEYSTONE = ("project_name", "project_id", "project_domain_name", "user_domain_name")


def _keystone_login(config: StoreConfig) -> Session:
    from keystoneauth1 import exceptions, loading
    from keystoneauth1.session import Session as Keystone

    kind = (
        "v3applicationcredential" if "application_credential_id" in config.secrets else "password"
    )
    given = {name: config.settings[name] for name in _KEYSTONE if name in config.settings}
    given |= {name: value for name, value in config.secrets.items() if name != "temp_url_key"}
    try:
        plugin: Any = loading.get_plugin_loader(kind).load_from_options(
            auth_url=config.settings["auth_url"], **given
        )
        session = Keystone(auth=plugin, verify=config.settings.get("ca") or True)
        endpoint = session.get_endpoint(
            service_type="object-store",
            interface=config.settings.get("interface", "public"),
            region_name=config.settings.get("region"),
        )
        token = session.get_token()
    except (exceptions.Unauthorized, exceptions.Forbidden) as error:
        raise Denied("cannot log in: Keystone refuses", "check the store's secrets") from error
    except exceptions.ClientException as error:
        raise Transient(f"cannot log in: {type(error).__name__}") from error
    if not endpoint or not token:
        raise NotFound("cannot log in: the catalogue has no object store", "check `region`")
    return (config.settings.get("storage_url") or endpoint).rstrip("/"), token
