"""What a stand-in for a cloud offers to the lab."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from porter.domain.site import SiteKind
from porter.providers.base import SiteConfig


@dataclass(frozen=True)
class Machine:
    """A machine that the cloud believes to have."""

    id: str
    name: str
    running: bool
    """False: it is to be powered off but still there."""
    user_data: str = field(repr=False)
    """What it gets at its first boot, decoded."""


class StandIn(Protocol):
    """One cloud. Its services are processes or threads of whoever called `start`, and end with it.

    Every stand-in says in its module what it really checks, and what it does not.
    """

    kind: SiteKind

    def start(self, directory: Path, address: str) -> None:
        """Serve on free ports of `address` only; returns when everything answers. State and logs
        lie in `directory`. Raises Permanent with the reason and the end of the log."""
        ...

    def stop(self) -> None:
        """End everything that was started. Harmless to repeat."""
        ...

    def site(self) -> SiteConfig:
        """How an unmodified SDK reaches it: ready for `open_site`."""
        ...

    def machines(self) -> list[Machine]:
        """What ought to run now: terminated ones are absent."""
        ...

    def booted(self, machine: str, address: str) -> None:
        """The lab has booted it; it is reached at this address."""
        ...
