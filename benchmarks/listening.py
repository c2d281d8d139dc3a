"""Many streams of events in one process: what each of them heard, and when.

A stream that breaks, or cannot be had, is opened again at the next address with the number of the
last event that it heard, after the time that the server asked for, as browsers do.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence
from urllib.parse import urlsplit

RETRY = b"\nretry: "
AWAY_S = 1.0
"""How long a stream that broke stays away, where the server does not say."""


class Frames:
    """Numbers of the events in a chunked answer, as its bytes come in."""

    def __init__(self) -> None:
        self.status = 0
        self.retry_s = AWAY_S
        self._raw = b""
        self._text = b""

    def feed(self, data: bytes) -> list[int]:
        self._raw += data
        if not self.status:
            head, found, rest = self._raw.partition(b"\r\n\r\n")
            if not found:
                return []
            self.status, self._raw = int(head.split(b" ", 2)[1]), rest
        while (end := self._raw.find(b"\r\n")) >= 0:
            size = int(self._raw[:end], 16)
            if len(self._raw) < end + size + 4:
                break
            self._text += self._raw[end + 2 : end + 2 + size]
            self._raw = self._raw[end + size + 4 :]
        *whole, self._text = self._text.split(b"\n\n")
        for frame in whole:
            if RETRY in frame:
                self.retry_s = int(frame.partition(RETRY)[2].split()[0]) / 1000
        return [int(frame[4 : frame.index(b"\n")]) for frame in whole if frame.startswith(b"id: ")]


class Stream(asyncio.Protocol):
    """One stream, over as many connections as it takes."""

    def __init__(self, urls: Sequence[str], first: int, token: str, after: int) -> None:
        self._urls = urls
        self._next = first
        self._token = token
        self._after = after
        self.heard = array("q")
        self.at = array("d")
        self.connections = 0
        self.refused: list[int] = []
        self.open = asyncio.Event()
        self._closed = asyncio.Event()
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._head = b""

    async def run(self) -> None:
        """Listen until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                where = urlsplit(self._urls[self._next % len(self._urls)])
                self._head = self._request(where.netloc)
                self._closed.clear()
                self._frames = Frames()
                try:
                    await loop.create_connection(lambda: self, where.hostname, where.port)
                    await self._closed.wait()
                except OSError:
                    pass  # nobody is there: the next one, then
                self._next += 1
                await asyncio.sleep(self._frames.retry_s)
        finally:
            if self._transport is not None:
                self._transport.abort()

    def _request(self, host: str) -> bytes:
        last = self.heard[-1] if self.heard else self._after
        lines = (
            "GET /v1/events HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {self._token}",
            "Accept: text/event-stream",
            f"Last-Event-ID: {last}",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        was = self._frames.status
        for number in self._frames.feed(data):
            self.heard.append(number)
            self.at.append(time.time())
        status = self._frames.status
        if status and not was:
            if status != 200:
                self.refused.append(status)
            else:
                self.connections += 1
                self.open.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self._closed.set()
