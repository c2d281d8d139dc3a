"""Paste filter that gives Swift's proxy a cache in its own memory, in place of memcached.

Run by the services' Python: it must not import Porter. The proxy is one process, so all that it
remembers is remembered for all requests; nothing is forgotten before its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class LocalCache:
    def __init__(self) -> None:
        self._items: dict[str, tuple[Any, float]] = {}

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        value, until = self._items.get(key, (None, 0.0))
        return value if not until or until > time.time() else None

    def set(self, key: str, value: Any, time: float = 0, **_: Any) -> None:
        self._items[key] = (value, _until(time))

    def incr(self, key: str, delta: int = 1, time: float = 0) -> int:
        value = max(0, int(self.get(key) or 0) + delta)
        self._items[key] = (value, _until(time))
        return value

    def decr(self, key: str, delta: int = 1, time: float = 0) -> int:
        return self.incr(key, -delta, time)

    def delete(self, key: str, server_key: str = "") -> None:
        self._items.pop(key, None)


def _until(seconds: float) -> float:
    return time.time() + seconds if 0 < seconds <= 30 * 86400 else seconds


def filter_factory(global_conf: dict[str, str], **_: str) -> Callable[[Any], Any]:
    cache = LocalCache()

    def make(app: Any) -> Any:
        def serve(environ: dict[str, Any], start_response: Any) -> Any:
            environ["swift.cache"] = cache
            return app(environ, start_response)

        return serve

    return make
