"""Opens a store by its URL. Adapters, and with them SDKs, are imported when first needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from porter.domain.errors import Invalid, Unsupported
from porter.store.base import Blobs, StoreConfig, Tickets
from porter.store.directory import DirectoryBlobs


class Store(Blobs, Tickets, Protocol):
    """What every store that is opened here can do."""

    def close(self) -> None:
        """Give up its connections."""
        ...


ADAPTERS = {
    "s3": "porter.store.s3",
    "azure": "porter.store.azure",
    "gs": "porter.store.gcs",
    "swift": "porter.store.swift",
}
"""Each module has `open_blobs(config: StoreConfig) -> Store`."""


def open_blobs(config: StoreConfig) -> Store:
    """The store of a configuration. Does not talk to it yet. Raises Invalid for a URL or settings
    that cannot be right, Unsupported if the SDK is not installed."""
    scheme = urlsplit(config.url).scheme
    if scheme == "file":
        return _directory(config)
    if scheme not in ADAPTERS:
        known = ", ".join(f"{name}://" for name in ("file", *ADAPTERS))
        raise Invalid(f"cannot open the store {config.name}: {config.url!r}", f"begin with {known}")
    try:
        module = importlib.import_module(ADAPTERS[scheme])
    except ModuleNotFoundError as error:
        raise Unsupported(
            f"cannot open the store {config.name}: {error.name} is not installed",
            "install Porter with its pinned requirements",
        ) from error
    opened: Callable[[StoreConfig], Store] = module.open_blobs
    return opened(config)


def _directory(config: StoreConfig) -> Store:
    """Setting: `durable`, `no` for a store that carries tunnels only."""
    parts = urlsplit(config.url)
    if parts.netloc or not parts.path.startswith("/"):
        raise Invalid(f"cannot open the store {config.name}", "write file:///DIRECTORY")
    durable = config.settings.get("durable", "yes") != "no"
    return DirectoryBlobs(Path(unquote(parts.path)), durable)
