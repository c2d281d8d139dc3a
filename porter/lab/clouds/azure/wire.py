"""ARM at the wire: HTTPS, bearer tokens, rights, body checks, operations, and faults on demand."""

from __future__ import annotations

import json
import re
import ssl
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from porter.lab.clouds.azure.actions import asked, linked
from porter.lab.clouds.azure.checks import Checker
from porter.lab.clouds.azure.compute import Compute
from porter.lab.clouds.azure.network import Network
from porter.lab.clouds.azure.world import Answer, Json, Refusal, Request, World

CUT = Answer(0)
"""In place of an answer: the connection ends without one."""


@dataclass
class Fault:
    """What goes wrong `times` times with requests whose `METHOD /path` matches `pattern`.

    `after` lets the request have its effect first: only its answer is lost or replaced.
    """

    pattern: str
    answer: Answer
    times: int = 1
    after: bool = False

    def hits(self, request: Request) -> bool:
        line = f"{request.method} {request.path}"
        if not self.times or not re.search(self.pattern, line, re.IGNORECASE):
            return False
        self.times -= 1
        return True


def failing(pattern: str, status: int, code: str, message: str = "", **headers: str) -> Fault:
    """A fault that answers with an ARM error; headers as `Retry_After="1"`."""
    return Fault(pattern, Refusal(status, code, message or code, **headers).answer)


@dataclass
class Arm:
    """The stand-in's brain: an answer for a request, and what is to be known of all of them."""

    world: World
    checker: Checker
    token: str
    permissions: list[Json] = field(default_factory=lambda: [{"actions": ["*"], "notActions": []}])
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    actions: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.compute = Compute(self.world)
        self.network = Network(self.world, self.compute.release)

    def answer(self, request: Request) -> Answer:
        with self.world.lock:
            self.requests.append(request)
            fault = next((one for one in self.faults if one.hits(request)), None)
            if fault is not None and not fault.after:
                return fault.answer
            try:
                found = self._served(request)
            except Refusal as refusal:
                found = refusal.answer
            return found if fault is None else fault.answer

    def _served(self, request: Request) -> Answer:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            message = "The access token is invalid."
            raise Refusal(401, "InvalidAuthenticationToken", message, WWW_Authenticate="Bearer")
        if not request.path.lower().startswith(f"/subscriptions/{self.world.subscription}"):
            message = "The subscription could not be found."
            raise Refusal(404, "SubscriptionNotFound", message)
        self._authorise(request)
        wrong = self.checker.violations(request)
        if wrong:
            self.violations += [f"{request.method} {request.path} {one}" for one in wrong]
            raise Refusal(400, "InvalidRequestContent", "; ".join(wrong))
        kind = request.kind.lower()
        if "operation" in request.path.lower().split("/locations/")[-1]:
            return self._operation(request)
        if kind == "microsoft.authorization/permissions":
            return Answer(200, {"value": self.permissions})
        if kind.startswith("microsoft.compute/"):
            return self.compute.answer(request)
        if kind.startswith("microsoft.network/"):
            return self.network.answer(request)
        message = f"The resource type {request.kind} could not be found."
        raise Refusal(404, "InvalidResourceType", message)

    def _authorise(self, request: Request) -> None:
        action, others = asked(request), linked(request)
        self.actions |= {one for one in [action, *others] if one}
        who = "The client 'porter' with object id '00000000-0000-0000-0000-00000000000a'"
        if action and not self._granted(action):
            message = f"{who} does not have authorization to perform action '{action}' over scope "
            message += f"'{request.id}' or the scope is invalid."
            raise Refusal(403, "AuthorizationFailed", message)
        for one in others:
            if not self._granted(one):
                message = f"{who} has permission to perform action '{action}' on scope "
                message += f"'{request.id}'; however, it does not have permission to perform "
                message += f"action '{one}' on the linked scope(s)."
                raise Refusal(403, "LinkedAuthorizationFailed", message)

    def _granted(self, action: str) -> bool:
        def among(patterns: list[str]) -> bool:
            return any(fnmatchcase(action.lower(), one.lower()) for one in patterns)

        return any(
            among(one["actions"]) and not among(one["notActions"]) for one in self.permissions
        )

    def _operation(self, request: Request) -> Answer:
        found = self.world.operations.get(request.path.rsplit("/", 1)[-1])
        if found is None:
            raise Refusal(404, "OperationNotFound", "The operation was not found.")
        found.tick()
        compute = request.types[0].lower() == "microsoft.compute"
        waits = {"Retry-After": str(self.world.pause)} if compute and not found.done else {}
        if "monitor" in request.query or "/operationresults/" in request.path.lower():
            return Answer(200 if found.done else 202, found.result, waits)
        body: Json = {"startTime": found.started, "name": found.id} if compute else {}
        body["status"] = "InProgress"
        if found.done:
            body["status"] = "Failed" if found.error else "Succeeded"
        if found.done and found.error:
            body["error"] = found.error
        return Answer(200, body, waits)


class Server(ThreadingHTTPServer):
    """Serves an Arm over TLS on a free port of one address, in a thread of its own."""

    daemon_threads = True

    def __init__(self, arm: Callable[[Request], Answer], address: str, authority: Path) -> None:
        """Writes the certificate of the authority that vouches for the server to `authority`."""
        import trustme

        super().__init__((address, 0), _handler(arm))
        issuer = trustme.CA()
        issuer.cert_pem.write_to_path(str(authority))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert(address, "localhost").configure_cert(context)
        # The handshake happens in the connection's own thread: one caller cannot stop all others.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://{address}:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are no news; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


def _handler(arm: Callable[[Request], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _serve(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(text) if text else None
            answer = arm(Request(self.command, self.path, self.headers, body))
            if answer is CUT:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("x-ms-request-id", str(uuid.uuid4()))
            content = b"" if answer.body is None else json.dumps(answer.body).encode()
            if content:
                self.send_header("Content-Type", "application/json; charset=utf-8")
            if answer.status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

    return Handler
