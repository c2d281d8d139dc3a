"""Sites as the engine and the API see them: names in, opened providers out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from porter.db.base import HostRecord, InstanceRecord, SiteRecord
from porter.domain.errors import NotFound, PorterError
from porter.domain.site import Site, SiteKind
from porter.domain.units import moment
from porter.migrate.opened import Opened
from porter.providers.base import Destination, Provider, SiteConfig

log = logging.getLogger(__name__)

ONPREM = "onprem"
"""Is always there: hosts that people joined by hand."""


class SiteBook(Protocol):
    def get(self, name: str) -> SiteRecord: ...

    def all(self) -> list[SiteRecord]: ...


class Places:
    """Opens sites and keeps them open. Thread-safe."""

    def __init__(
        self,
        book: SiteBook,
        unseal: Callable[[str, str], Mapping[str, str]],
        opener: Callable[[SiteConfig], Provider],
    ) -> None:
        self._book = book
        self._unseal = unseal
        self._opener = opener
        self._opened = Opened[Provider]()

    def all(self) -> list[Site]:
        """Every site that was added; and on-prem, which always is."""
        found = [_site(record) for record in self._book.all()]
        if all(site.name != ONPREM for site in found):
            found.insert(0, Site(ONPREM, SiteKind.ONPREM))
        return found

    def get(self, name: str) -> Site:
        """Raises NotFound."""
        record = self._record(name)
        return Site(ONPREM, SiteKind.ONPREM) if record is None else _site(record)

    def open(self, name: str) -> Provider:
        """The site's provider; opened once for as long as its settings stay. Raises NotFound."""
        record = self._record(name)
        how = record and (record.kind, record.region, record.settings, record.sealed)
        return self._opened.get(name, how, lambda: self._opener(self._config(name, record)))

    def _config(self, name: str, record: SiteRecord | None) -> SiteConfig:
        if record is None:
            return SiteConfig(name, SiteKind.ONPREM, "")
        secrets = self._unseal(record.name, record.sealed)
        kind = SiteKind(record.kind)
        return SiteConfig(record.name, kind, record.region, record.settings, secrets)

    def _record(self, name: str) -> SiteRecord | None:
        try:
            return self._book.get(name)
        except NotFound:
            if name == ONPREM:
                return None
            raise


def _site(record: SiteRecord) -> Site:
    return Site(record.name, SiteKind(record.kind), record.region, record.settings)


def ended_at(place: Provider, machine: InstanceRecord) -> float | None:
    """When a machine that is gone ended, by its place's own word; None if it does not tell."""
    if place.lifetimes is None or not machine.instance:
        return None
    try:
        return moment(place.lifetimes.ended(machine.key, machine.instance))
    except PorterError as error:
        log.warning("cannot find out when %s ended: %s", machine.host_name, error)
        return None


def destination(
    host: HostRecord, machine: InstanceRecord | None, site: str, public: bool
) -> Destination:
    """Where an endpoint of a site should lead so that it reaches a host. `public`: whoever asks is
    anywhere; else it stands in a network of ours (load balancers refuse public addresses)."""
    address = "" if host.facts is None else host.facts.underlay
    if machine is None:
        return Destination(address)
    if public and machine.public_address:
        address = machine.public_address
    return Destination(address, machine.instance if machine.site == site else "")
