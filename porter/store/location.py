"""A store's URL, taken apart."""

from __future__ import annotations

from dataclasses import dataclass

from porter.domain.errors import Invalid
from porter.store.base import check_key


@dataclass(frozen=True)
class Location:
    """A container (bucket) and what stands before every key in it: empty, or ends in `/`."""

    container: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> Location:
        """Read `SCHEME://CONTAINER/PREFIX`. Raises Invalid."""
        container, _, prefix = url.partition("://")[2].partition("/")
        prefix = prefix.strip("/")
        if not container:
            raise Invalid(f"cannot use the store {url!r}", "write SCHEME://CONTAINER/PREFIX")
        return cls(container, check_key(prefix) + "/" if prefix else "")

    def full(self, key: str) -> str:
        return self.prefix + key

    def bare(self, name: str) -> str:
        """A key again, from the name of what the store lists."""
        return name[len(self.prefix) :]
