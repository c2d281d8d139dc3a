"""The stand-in's front: one origin for Compute Engine, Cloud DNS, rights and the metadata server.

Every request and every answer is checked against Google's discovery documents. What does not fit is
answered with 400 and noted in `violations`, which tests expect to be empty.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from porter.lab.clouds.gcp.compute import Compute
from porter.lab.clouds.gcp.discovery import Method, service
from porter.lab.clouds.gcp.dns import Dns
from porter.lab.clouds.gcp.faults import ApiError, Fault, Faults
from porter.lab.clouds.gcp.groups import Groups
from porter.lab.clouds.gcp.permissions import needed
from porter.lab.clouds.gcp.world import Json, World

APIS = {
    "/compute/v1/": "compute.v1",
    "/dns/v1/": "dns.v1",
    "/v1/projects/-/serviceAccounts/": "iam.v1",
    "/v1/projects/": "cloudresourcemanager.v1",
}
TEST = "testIamPermissions"


@dataclass(frozen=True)
class Call:
    """One request that a method was found for."""

    method: str
    path: Json
    query: Json
    body: Any


class Answer(NamedTuple):
    status: int
    body: Json
    cut: bool = False


class Google:
    """State, faults and records of the stand-in, without any socket."""

    def __init__(self, project: str, region: str) -> None:
        self.world = World(project, region)
        self.compute = Compute(self.world)
        self.groups = Groups(self.compute)
        self.dns = Dns(self.world)
        self.faults = Faults()
        self.calls: list[Call] = []
        self.permissions: set[str] = set()
        """All that were needed so far."""
        self.violations: list[str] = []
        self.after: Callable[[Call], None] | None = None
        """Told of every call that was carried out, before its answer is sent."""
        self.lock = threading.RLock()

    def answer(self, verb: str, target: str, raw: bytes) -> Answer:
        parts = urlsplit(target)
        path, query = unquote(parts.path), dict(parse_qsl(parts.query))
        with self.lock:
            self.world.tick()
            try:
                return self._route(verb, path, query, raw)
            except ApiError as error:
                return Answer(error.status, error.body())

    def _route(self, verb: str, path: str, query: Json, raw: bytes) -> Answer:
        api = next((name for prefix, name in APIS.items() if path.startswith(prefix)), "")
        found = service(api).match(verb, path) if api else None
        if found is None:
            raise self._violation(f"{verb} {path}: no method of Google's")
        method, parameters = found
        body = json.loads(raw) if raw else None
        wrong = [f"unknown parameter {one}" for one in method.service.unknown(method, set(query))]
        wrong += method.service.problems(method.request, body)
        if wrong:
            raise self._violation(f"{method.id}: {'; '.join(wrong)}")
        call = Call(method.id, parameters, query, body)
        self.calls.append(call)
        fault = self.faults.take(method.id)
        if fault is not None and fault.status:
            raise ApiError(fault.status, fault.reason, f"A fault on order: {fault.reason}")
        made = self._carry_out(method, parameters, query, body, fault)
        wrong = method.service.problems(method.response, made)
        if wrong:
            self.violations.append(f"answer of {method.id}: {'; '.join(wrong)}")
        if self.after is not None:
            self.after(call)
        return Answer(200, made, cut=fault is not None and fault.cut)

    def _carry_out(
        self, method: Method, path: Json, query: Json, body: Any, fault: Fault | None
    ) -> Json:
        project = path.get("project", self.world.project)
        if project != self.world.project:
            raise ApiError(404, "notFound", f"The project {project} was not found")
        try:
            wanted = needed(method.id, body)
        except KeyError:
            raise self._violation(f"{method.id}: the stand-in does not serve it") from None
        self.permissions.update(wanted)
        for one in wanted:
            if one in self.world.lacking:
                why = f"Required '{one}' permission for 'projects/{self.world.project}'"
                raise ApiError(403, "forbidden", why)
        if method.id.endswith(TEST):
            asked = body.get("permissions", [])
            if self.world.untestable & set(asked):
                raise ApiError(400, "badRequest", "Permission is not valid for this resource.")
            granted = [one for one in asked if one not in self.world.lacking]
            # Google leaves an empty list out.
            return {"permissions": granted} if granted else {}
        if method.id in self.dns.handlers:
            return dict(self.dns.handlers[method.id](path, query, body or {}))
        self.compute.error = fault.operation if fault is not None else ""
        return self.compute.mutate(method.id, path, query, body or {})

    def _violation(self, what: str) -> ApiError:
        self.violations.append(what)
        return ApiError(400, "invalid", what)


class Front(ThreadingHTTPServer):
    """Serves a `Google` on a free port of one address."""

    daemon_threads = True

    def __init__(self, google: Google, metadata: Any, address: str) -> None:
        self.google, self.metadata = google, metadata
        super().__init__((address, 0), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def close(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def log_message(self, format: str, *args: object) -> None:
        """`Google.calls` tells more."""

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/computeMetadata/"):
            status, text = self.server.metadata(
                self.path, self.headers.get("Metadata-Flavor", ""), self.client_address[0]
            )
            return self._send(status, text.encode(), {"Metadata-Flavor": "Google"})
        answer = self.server.google.answer(self.command, self.path, raw)
        if answer.cut:
            self.close_connection = True
            return None
        made = json.dumps(answer.body).encode()
        return self._send(answer.status, made, {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _serve
