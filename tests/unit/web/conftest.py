"""Both applications behind real listeners on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from porter import settings as settings_module
from porter.pki import Authority
from porter.protocol import codec
from porter.protocol.joining import Join, Joined
from porter.web.app import agents_app, public_app
from porter.web.pulse import Pulse
from porter.web.server import _listener
from porter.web.tls import server_context
from porter.wiring import ControlPlane, authority, control_plane
from tests.saga.simulation import facts
from tests.schema import upgrade

TOKEN = "the-api-token"


def bound() -> socket.socket:
    """A socket on a port of its own, which nobody else can take meanwhile."""
    own = socket.socket()
    own.bind(("127.0.0.1", 0))
    return own


class Recorder:
    """A queue that only remembers."""

    def __init__(self) -> None:
        self.enqueued: list[str] = []

    def enqueue(self, migration_id: str) -> None:
        self.enqueued.append(migration_id)

    def reap(self, key: str) -> None:
        self.enqueued.append(key)

    def deliver(self, webhook: str) -> None:
        self.enqueued.append(webhook)

    def carry(self, proposal: str) -> None:
        self.enqueued.append(proposal)


@dataclass
class Serving:
    control: ControlPlane
    authority: Authority
    url: str
    agents_url: str
    queue: Recorder

    def client(self, token: str | None = TOKEN) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=20)

    def join_token(self) -> str:
        with self.client() as api:
            return str(api.post("/v1/join-tokens", json={}).json()["token"])


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with served(tmp_path) as one:
        yield one


def answering(listener: Any) -> bool:
    """Whether an answer is still being given: a stream that has not heard of the end yet."""
    cycles = [one.cycle for one in list(listener.server_state.connections)]
    return any(cycle is not None and not cycle.response_complete for cycle in cycles)


@contextlib.contextmanager
def served(
    folder: Path, environment: Mapping[str, str] | None = None, own: socket.socket | None = None
) -> Iterator[Serving]:
    """A control plane with further settings, and with a REST listener of one's own."""
    sockets = [own or bound(), bound()]
    public, agents = (one.getsockname()[1] for one in sockets)
    settings = settings_module.load(
        {
            **(environment or {}),
            "PORTER_STATE": str(folder),
            "PORTER_LISTEN": f"127.0.0.1:{public}",
            "PORTER_AGENTS": f"127.0.0.1:{agents}",
        }
    )
    control = control_plane(settings)
    upgrade(control.database)
    queue = Recorder()
    object.__setattr__(control, "queue", queue)
    issuer = authority(settings)
    pulse = Pulse(control.desk.pulse)
    listeners = [
        _listener(public_app(control, issuer, pulse, TOKEN), settings.listen, None),
        _listener(
            agents_app(control, issuer, pulse), settings.agents, server_context(issuer, settings)
        ),
    ]

    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.gather(
            *(one.serve([own]) for one, own in zip(listeners, sockets, strict=True))
        )

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    while not all(listener.started for listener in listeners):
        assert thread.is_alive()
        threading.Event().wait(0.01)
    yield Serving(
        control, issuer, f"http://127.0.0.1:{public}", f"https://127.0.0.1:{agents}", queue
    )
    loops[0].call_soon_threadsafe(pulse.close)
    until = time.monotonic() + 5
    while any(map(answering, listeners)) and time.monotonic() < until:
        threading.Event().wait(0.01)
    for listener in listeners:
        listener.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    for one in sockets:
        one.close()
    control.close()


def request_for(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


class Agent:
    """A client that joins as real agents do, and holds a host certificate."""

    def __init__(self, serving: Serving, folder: Path, name: str = "onprem") -> None:
        self.serving, self.folder, self.name = serving, folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.joined: Joined | None = None
        self.http = self._client(None)

    def _client(self, chain: Path | None) -> httpx.Client:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.serving.authority.pem)
        if chain is not None:
            context.load_cert_chain(chain)
        base = f"{self.serving.agents_url}/agent/v1"
        return httpx.Client(base_url=base, verify=context, trust_env=False, timeout=20)

    def ask_to_join(self, token: str, **changes: object) -> httpx.Response:
        words = Join(token, self.name, "lab", request_for(self.key, self.name), facts(self.name))
        return self.http.post("/join", json=codec.dump(words) | changes)

    def join(self) -> Agent:
        answer = self.ask_to_join(self.serving.join_token())
        assert answer.status_code == 201, answer.text
        self.joined = codec.load(Joined, answer.json())
        chain = self.folder / f"{self.name}-{self.joined.host}.pem"
        private = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        chain.write_bytes(private + self.joined.certificate_pem.encode())
        self.http.close()
        self.http = self._client(chain)
        return self


@pytest.fixture
def new_agent(serving: Serving, tmp_path: Path) -> Iterator[object]:
    made: list[Agent] = []

    def new(name: str = "onprem") -> Agent:
        made.append(Agent(serving, tmp_path, name))
        return made[-1]

    yield new
    for agent in made:
        agent.http.close()
