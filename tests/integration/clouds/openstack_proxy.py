"""A proxy that stands before Nova and lets requests fail in ways that clients must survive."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """What happens to the next matching request: `refuse` (503, never forwarded), `lose` (the
    connection breaks after the effect), `hang` (no answer after the effect)."""

    kind: str
    method: str
    path: str
    times: int = 1


@dataclass
class Proxy:
    """Stands before Nova. Counts what reached Nova."""

    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    forwarded: list[str] = field(default_factory=list)
    freed: threading.Event = field(default_factory=threading.Event)

    def fault(self, method: str, path: str) -> Fault | None:
        for one in self.faults:
            if one.times and one.method == method and re.search(one.path, path):
                one.times -= 1
                return one
        return None


@contextmanager
def before(nova: str) -> Iterator[Proxy]:
    """`nova` is its HOST:PORT."""
    state = Proxy()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            fault = state.fault(self.command, self.path)
            if fault and fault.kind == "refuse":
                self.send(503, b"{}")
                return
            upstream = http.client.HTTPConnection(nova, timeout=60)
            upstream.request(self.command, self.path, body, dict(self.headers))
            got = upstream.getresponse()
            content = got.read()
            upstream.close()
            state.forwarded.append(f"{self.command} {self.path.partition('?')[0]}")
            if fault:
                if fault.kind == "hang":
                    state.freed.wait(60)
                self.close_connection = True
                return
            self.send(got.status, content, got.getheader("Content-Type") or "application/json")

        do_GET = do_POST = do_DELETE = do_PUT = answer

        def send(self, status: int, content: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        state.freed.set()
        server.shutdown()
        thread.join()
        server.server_close()
