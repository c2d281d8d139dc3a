"""Calls of AWS: credentials, clients, time-outs, errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import boto3
from botocore import session as sdk
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader

from porter import __version__
from porter.domain.errors import Denied, Invalid
from porter.providers.aws.errors import translate
from porter.providers.aws.settings import Settings
from porter.providers.base import SiteConfig

CONNECT_SECONDS = 5
READ_SECONDS = 20
ATTEMPTS = 3
_LOADER = Loader(include_default_search_paths=True)
"""Shared by all sessions: EC2's description alone takes a while to load, and much memory."""


class Session:
    """One account and region. Several threads may use it. Talks to nobody until called."""

    def __init__(self, config: SiteConfig, settings: Settings) -> None:
        self.region = config.region
        self._site = config.name
        self._secrets = config.secrets
        self._settings = settings
        self._lock = threading.Lock()
        self._opened: boto3.Session | None = None
        self._clients: dict[str, Any] = {}
        given = set(config.secrets)
        if given and not {"access_key_id", "secret_access_key"} <= given:
            raise Invalid(
                f"cannot open the site {config.name}: its credentials are not complete",
                "give access_key_id and secret_access_key, or none at all",
            )

    def call(self, service: str, operation: str, doing: str, **parameters: Any) -> dict[str, Any]:
        """One call; `operation` as boto3 names it. `doing` completes "cannot …" in errors."""
        try:
            answer: dict[str, Any] = getattr(self.client(service), operation)(**parameters)
        except (ClientError, BotoCoreError) as error:
            raise translate(error, doing, service) from error
        return answer

    def pages(
        self, service: str, operation: str, items: str, doing: str, **parameters: Any
    ) -> Iterator[dict[str, Any]]:
        """Every entry of the list `items`, over all pages."""
        try:
            for page in self.client(service).get_paginator(operation).paginate(**parameters):
                yield from page.get(items, ())
        except (ClientError, BotoCoreError) as error:
            raise translate(error, doing, service) from error

    def client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                if self._opened is None:
                    self._opened = self._open()
                self._clients[service] = self._opened.client(service, **self._options())
            return self._clients[service]

    def _options(self) -> dict[str, Any]:
        retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
        config = Config(
            retries=retries,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            user_agent_extra=f"porter/{__version__}",
        )
        return {"config": config, "endpoint_url": self._settings.endpoint_url or None}

    def _open(self) -> boto3.Session:
        base = _session(self._settings.profile)
        if self._secrets:
            base.set_credentials(
                self._secrets["access_key_id"],
                self._secrets["secret_access_key"],
                self._secrets.get("session_token"),
            )
        if self._settings.role_arn:
            role = _Role(base, self.region, self._settings, self._options())
            base = _session(self._settings.profile)
            base.register_component("credential_provider", CredentialResolver([role]))
        return boto3.Session(botocore_session=base, region_name=self.region)


def _session(profile: str) -> sdk.Session:
    made = sdk.Session(profile=profile or None)
    made.register_component("data_loader", _LOADER)
    return made


class _Role:
    """Credentials of a role, had with those of another session and renewed before they expire."""

    METHOD = CANONICAL_NAME = "porter-assume-role"

    def __init__(
        self, base: sdk.Session, region: str, settings: Settings, options: Mapping[str, Any]
    ) -> None:
        extra = {"RoleSessionName": "porter"}
        if settings.external_id:
            extra["ExternalId"] = settings.external_id
        credentials = base.get_credentials()
        if credentials is None:
            raise Denied(
                f"cannot assume {settings.role_arn}: there are no credentials to do it with",
                "give the site an access key or a profile, or run Porter where a role is attached",
            )
        self._fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(base.create_client, region_name=region, **options),
            source_credentials=credentials,
            role_arn=settings.role_arn,
            extra_args=extra,
        )

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(
            refresh_using=self._fetcher.fetch_credentials, method=self.METHOD
        )
