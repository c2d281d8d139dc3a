"""One site's way to Google: credentials, clients, retries, and errors told as Porter's.

The generated client's `insert(...).result()` is never used: it polls Google's public endpoint
whatever `api_endpoint` says, and it blocks. Operations are named in tokens and asked for by their
names, so that any process can go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

from porter.providers.gcp.errors import from_exception, from_http
from porter.providers.gcp.settings import GcpSettings

T = TypeVar("T")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT = 15.0
"""Seconds for one attempt."""
PATIENCE = 20.0
"""Seconds after which no further attempt begins."""


class Session:
    """Opens clients when first needed. Safe for threads as Google's clients are."""

    def __init__(self, settings: GcpSettings) -> None:
        self.settings = settings
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    @cached_property
    def credentials(self) -> Any:
        if self.settings.anonymous:
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials()
        if self.settings.key:
            from google.oauth2 import service_account

            return service_account.Credentials.from_service_account_info(
                self.settings.key, scopes=[SCOPE]
            )
        import google.auth

        return google.auth.default(scopes=[SCOPE])[0]

    def call(self, what: str, client: str, method: str, request: Any) -> Any:
        """One call of google-cloud-compute. `what` completes "cannot …" in errors.

        Every request is a read or carries a request id, so it may be repeated.
        """
        return self._guarded(
            what,
            lambda: getattr(self._client(client), method)(
                request=request, retry=_retry(), timeout=TIMEOUT
            ),
        )

    def all(self, what: str, client: str, method: str, request: Any) -> list[Any]:
        """All items of all pages of a list."""
        return self._guarded(
            what,
            lambda: list(
                getattr(self._client(client), method)(
                    request=request, retry=_retry(), timeout=TIMEOUT
                )
            ),
        )

    def rest(
        self,
        what: str,
        method: str,
        url: str,
        params: dict[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """One call of a plain JSON API. Only reads are repeated; a POST's outcome is looked up."""
        from google.api_core.exceptions import from_http_response

        def once() -> Any:
            answer = self._http.request(method, url, params=params, json=body, timeout=TIMEOUT)
            if answer.status_code >= 400:
                raise from_http_response(answer)
            return answer.json()

        return self._guarded(what, _retry()(once) if method == "GET" else once)

    def pages(self, what: str, url: str, items: str, params: dict[str, str]) -> list[Any]:
        """All items of all pages of a plain JSON list."""
        found: list[Any] = []
        params = dict(params)
        while True:
            page = self.rest(what, "GET", url, params)
            found += page.get(items, [])
            if not page.get("nextPageToken"):
                return found
            params["pageToken"] = page["nextPageToken"]

    @cached_property
    def _http(self) -> Any:
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self.credentials)

    def _client(self, name: str) -> Any:
        with self._lock:
            if name not in self._clients:
                from google.api_core.client_options import ClientOptions
                from google.cloud import compute_v1

                self._clients[name] = getattr(compute_v1, name)(
                    credentials=self.credentials,
                    client_options=ClientOptions(api_endpoint=self.settings.endpoint),
                )
            return self._clients[name]

    def _guarded(self, what: str, call: Callable[[], T]) -> T:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        try:
            return call()
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise from_exception(what, error) from _cause(error)
        except ValueError as error:
            # An answer that is no JSON, as proxies between here and Google send it.
            raise from_http(what, 502, [], "the answer cannot be read") from error


def _cause(error: Exception) -> Exception | None:
    """Errors of google-auth may quote what a token service said: they are not passed on."""
    from google.auth.exceptions import GoogleAuthError

    return None if isinstance(error, GoogleAuthError) else error


def _retry() -> Any:
    import requests
    from google.api_core import exceptions as api
    from google.api_core.retry import Retry, if_exception_type

    again = if_exception_type(
        api.TooManyRequests,
        api.InternalServerError,
        api.BadGateway,
        api.ServiceUnavailable,
        api.GatewayTimeout,
        requests.exceptions.ConnectionError,
        requests.exceptions.Timeout,
    )
    return Retry(predicate=again, initial=0.2, maximum=4.0, multiplier=2.0, timeout=PATIENCE)
