"""Nova's metadata service, asked from the machine. Needs neither the SDK nor credentials."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

from porter.domain.errors import NotFound
from porter.providers.base import Notice
from porter.providers.openstack.settings import METADATA

SECONDS = 2
PATH = "/openstack/latest/meta_data.json"


class OpenStackMetadata:
    def __init__(self, url: str = METADATA, headers: Mapping[str, str] | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = dict(headers or {})
        # It is on the link: no proxy of the environment may come between.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def instance(self) -> str:
        request = urllib.request.Request(self._url + PATH, headers=self._headers)
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                found = str(json.loads(answer.read(1 << 20))["uuid"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise NotFound("cannot tell the instance: this is no machine of OpenStack") from error
        return found

    def notices(self) -> Sequence[Notice]:
        """None ever: OpenStack does not announce to a machine what it is about to do to it."""
        return ()
