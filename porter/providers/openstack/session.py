"""One connection to a project, opened on first use, and its answers as Porter's errors."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from porter.domain.errors import Invalid
from porter.providers.base import SiteConfig
from porter.providers.openstack.settings import Settings

CONNECT_RETRIES = 2
STATUS_RETRIES = 2
ONCE = {"connect_retries": 0, "status_code_retries": 0}
"""Options of a request that must not be repeated unseen: keystoneauth counts a time-out as a
failed connection, though the service may have acted."""
ID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")


class Session:
    def __init__(self, config: SiteConfig, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: Any = None
        self._ids: dict[tuple[str, str], str] = {}

    @property
    def cloud(self) -> Any:
        """The SDK's connection. Raises what the SDK raises: use it within `doing`."""
        with self._lock:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    @contextmanager
    def doing(self, what: str, right: str = "") -> Iterator[Any]:
        """The SDK's connection; its errors become Porter's. `what` completes "cannot …"; `right`
        is what is missing if that is not allowed."""
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import SDKException

        from porter.providers.openstack.errors import translate

        try:
            yield self.cloud
        except (SDKException, ClientException) as error:
            raise translate(error, what, right) from error

    def image(self) -> str:
        """Id of the site's image. Raises Invalid if there is no such, or more than one."""
        return self._id("image", self._settings.image, "image GET /v2/images")

    def network(self) -> str:
        """Id of the site's network; "" if it names none. Raises Invalid."""
        if not self._settings.network:
            return ""
        return self._id("network", self._settings.network, "network GET /v2.0/networks")

    def _id(self, kind: str, name: str, right: str) -> str:
        if not name:
            raise Invalid(
                f"cannot launch in {self._config.name}: it names no {kind}", f"set {kind}"
            )
        if ID.fullmatch(name):
            return name
        if (kind, name) not in self._ids:
            with self.doing(f"find the {kind} {name}", right) as cloud:
                service = getattr(cloud, kind)
                found = {one.id for one in getattr(service, f"{kind}s")(name=name)}
            if len(found) != 1:
                raise Invalid(
                    f"cannot find the {kind} {name}: there are {len(found)} of this name",
                    "give its id",
                )
            self._ids[kind, name] = found.pop()
        return self._ids[kind, name]

    def _connect(self) -> Any:
        import openstack
        from openstack.config import OpenStackConfig

        settings, secrets = self._settings, dict(self._config.secrets)
        options: dict[str, Any] = {
            "api_timeout": settings.timeout,
            "connect_retries": CONNECT_RETRIES,
            "status_code_retries": STATUS_RETRIES,
        }
        further = {
            "region_name": self._config.region,
            "interface": settings.interface,
            "cacert": settings.cacert,
            "compute_endpoint_override": settings.compute_endpoint,
            "network_endpoint_override": settings.network_endpoint,
        }
        options |= {key: value for key, value in further.items() if value}
        auth = {key: value for key, value in self._auth().items() if value}
        if secrets:
            options["auth_type"] = "v3password" if "password" in secrets else APPLICATION
            source = OpenStackConfig(load_yaml_config=False, load_envvars=False)
        else:
            # The SDK's own chain: clouds.yaml, then OS_* of the environment.
            source = OpenStackConfig()
            if settings.cloud:
                options["cloud"] = settings.cloud
        if auth:
            options["auth"] = auth
        return openstack.connection.Connection(
            config=source.get_one(**options), app_name="porter", use_direct_get=False
        )

    def _auth(self) -> dict[str, str]:
        settings, secrets = self._settings, self._config.secrets
        auth = {"auth_url": settings.auth_url}
        if "application_credential_id" in secrets:
            return {**auth, **secrets}  # it carries its project
        auth["project_name"] = settings.project
        if "password" in secrets:
            domains = {
                "user_domain_name": settings.user_domain,
                "project_domain_name": settings.project_domain,
            }
            return {**auth, **secrets, **domains}
        return auth


APPLICATION = "v3applicationcredential"
