"""Celery's transports as Porter uses them, and the embedded one made safe for several processes.

Kombu's filesystem transport lets a reader see a message before it is written whole, and moves
messages through the system's temporary directory. Here a message appears by one rename and is taken
by one rename in the same folder, so each is delivered whole and to one reader.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.transport.virtual import BrokerState
from kombu.utils.encoding import bytes_to_str, str_to_bytes
from kombu.utils.json import dumps, loads

POLL = 0.05
"""Seconds between looks into the folder."""
LONGEST_WAIT = 0.25
SCHEME = "filesystem"
ALIAS = "porter-files"
TRANSPORT_ALIASES[ALIAS] = "porter.queues:Transport"


class Channel(filesystem.Channel):
    def _folder(self) -> Path:
        return Path(self.data_folder_in)

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        folder = self._folder()
        fresh = folder / f".{name}"
        fresh.write_bytes(str_to_bytes(dumps(payload)))
        os.rename(fresh, folder / name)

    def _get(self, queue: str) -> Any:  # type: ignore[override]
        folder = self._folder()
        for name in self._names(queue):
            taken = folder / f".{name}.taken"
            try:
                os.rename(folder / name, taken)
            except FileNotFoundError:
                continue  # another worker was quicker
            payload = taken.read_bytes()
            taken.unlink()
            return loads(bytes_to_str(payload))
        raise Empty

    def _names(self, queue: str) -> list[str]:
        ending = f"{queue}.msg"
        return sorted(
            name
            for name in os.listdir(self._folder())
            if not name.startswith(".") and name.partition(".")[2] == ending
        )

    def _size(self, queue: str) -> int:
        return len(self._names(queue))

    def _purge(self, queue: str) -> int:
        names = self._names(queue)
        for name in names:
            (self._folder() / name).unlink(missing_ok=True)
        return len(names)

    @contextmanager
    def _bindings(self) -> Iterator[None]:
        """Bindings are read, changed and written back by one process at a time."""
        with (self._folder() / ".bindings.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        with self._bindings():
            super()._queue_bind(exchange, routing_key, pattern, queue)

    def get_table(self, exchange: str) -> Any:
        with self._bindings():
            return super().get_table(exchange)

    def _delete(self, queue: str, exchange: str, *args: Any, **kwargs: Any) -> None:
        with self._bindings():
            super()._delete(queue, exchange, *args, **kwargs)


class Transport(filesystem.Transport):
    Channel = Channel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        # Not shared in the process: another connection may be to another folder.
        self.state = BrokerState()

    def drain_events(self, connection: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """A worker that is told to end notices only between two calls."""
        timeout = kwargs.get("timeout")
        limit = LONGEST_WAIT if timeout is None else min(timeout, LONGEST_WAIT)
        return super().drain_events(connection, timeout=limit)


def broker(url: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """The broker URL for Celery and its transport options. Makes the embedded queue's folders."""
    scheme, _, rest = url.partition("://")
    if scheme != SCHEME:
        return url, {}
    root = Path(f"/{rest.lstrip('/')}") if rest.strip("/") else folder
    messages, control = root / "messages", root / "control"
    for part in (root, messages, control):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"{ALIAS}://localhost/", {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "control_folder": str(control),
        "polling_interval": POLL,
    }
