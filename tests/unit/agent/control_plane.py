"""A control plane in a thread: real HTTPS and certificates, commands from a list."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.unit.agent.ca import Authority


class FakeControlPlane:
    """`outages` answers fail with 503; then it behaves."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.commands: deque[dict[str, Any]] = deque()
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.progress: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.resumed: list[bool] = []
        self.network = {"version": 3, "subnet": "10.77.0.0/16", "range": "10.77.1.0/24"}
        self.problem: tuple[int, str] | None = None
        self.outages = 0
        self.changed = threading.Condition()
        handler = type("Handler", (_Handler,), {"control": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        me = authority.host("localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(me.certificate, me.key)
        context.load_verify_locations(authority.path)
        context.verify_mode = ssl.CERT_OPTIONAL
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_address[1]}"

    @property
    def token(self) -> str:
        der = self.authority.certificate.public_bytes(Encoding.DER)
        return f"s3cret.{hashlib.sha256(der).hexdigest()}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, condition: Any, timeout: float = 10.0) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout), "it never came"


class _Handler(BaseHTTPRequestHandler):
    control: ClassVar[FakeControlPlane]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/agent/v1/ca":
            self._answer(200, self.control.authority.pem, "application/x-pem-file")
            return
        control = self.control
        with control.changed:
            control.resumed.append("resume=1" in self.path)
            if "network=3" in self.path:
                control.changed.wait_for(lambda: control.commands, 0.3)
            orders: dict[str, Any] = {"commands": list(control.commands)}
            control.commands.clear()
            if "network=3" not in self.path:
                orders["network"] = {**control.network, "routes": []}
        self._json(200, orders)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        control = self.control
        with control.changed:
            if control.problem is not None:
                status, detail = control.problem
                self._json(status, {"detail": detail, "remedy": "make a new token"})
                return
            if control.outages > 0:
                control.outages -= 1
                self._json(503, {"detail": "cannot answer: the database is away"})
                return
            status, answer = self._take(self.path.removeprefix("/agent/v1/").split("/"), body)
            control.changed.notify_all()
        self._json(status, answer)

    def _take(self, words: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        control = self.control
        match words:
            case ["join"]:
                csr = x509.load_pem_x509_csr(body["csr_pem"].encode())
                certificate = control.authority.sign(csr, "h-new").decode()
                joined = {"host": "h-new", "certificate_pem": certificate}
                return 201, {**joined, "ca_pem": control.authority.pem.decode()}
            case ["heartbeat"]:
                control.heartbeats.append(body)
                return 200, {**control.network, "routes": []}
            case ["commands", command, "result"]:
                control.results.setdefault(command, []).append(body)
                return 204, None
            case ["commands", _, "progress"]:
                control.progress.append(body)
                return 204, None
        return 404, {"detail": "cannot find it"}

    def _json(self, status: int, body: Any) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self._answer(status, content, "application/json")

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass
