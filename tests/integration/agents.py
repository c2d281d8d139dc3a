"""Simulated hosts that talk to a real control plane over TLS, each in a thread."""

from __future__ import annotations

import ssl
import threading
import time
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from porter.pki import Authority
from porter.protocol import codec
from porter.protocol.joining import Join, Joined
from porter.protocol.messages import Command, Progress
from tests.saga.simulation import SimHost, facts
from tests.unit.web.conftest import request_for


class LiveAgent:
    """Joins, beats, polls and answers as a real agent does, until stopped."""

    def __init__(
        self, name: str, url: str, ca: Authority, token: str, folder: Path, sims: dict[str, SimHost]
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._url, self._ca = f"{url}/agent/v1", ca
        with self._client(None) as client:
            words = Join(token, name, "lab", request_for(key, name), facts(name))
            answer = client.post("/join", json=codec.dump(words))
            assert answer.status_code == 201, answer.text
        joined = codec.load(Joined, answer.json())
        self._chain = folder / f"{name}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._chain.write_bytes(private + joined.certificate_pem.encode())
        self.sim = SimHost(joined.host, name, sims)
        self.problems: list[str] = []
        sims[joined.host] = self.sim
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"{name}-{work.__name__}", daemon=True)
            for work in (self._beat, self._serve)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _client(self, chain: Path | None) -> httpx.Client:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self._ca.pem)
        if chain is not None:
            context.load_cert_chain(chain)
        return httpx.Client(base_url=self._url, verify=context, trust_env=False, timeout=10)

    def _beat(self) -> None:
        with self._client(self._chain) as client:
            while not self._over.wait(0.5):
                try:
                    body = codec.dump(self.sim.heartbeat())
                    self._check(client.post("/heartbeat", json=body))
                except httpx.HTTPError:
                    continue  # the control plane is away for a moment

    def _serve(self) -> None:
        resume = 1
        with self._client(self._chain) as client:
            while not self._over.is_set():
                try:
                    version = self._network(client, resume)
                    resume = 0
                    assert version is not None
                except httpx.HTTPError:
                    resume = 1
                    time.sleep(0.05)

    def _network(self, client: httpx.Client, resume: int) -> int:
        where = f"/commands?wait=1&network={getattr(self, '_version', 0)}&resume={resume}"
        answer = client.get(where)
        answer.raise_for_status()
        orders = answer.json()
        if orders["network"] is not None:
            self._version = int(orders["network"]["version"])
        for raw in orders["commands"]:
            self._answer(client, codec.load(Command, raw))
        return getattr(self, "_version", 0)

    def _answer(self, client: httpx.Client, command: Command) -> None:
        result = self.sim.handle(command)
        if result is None:
            return
        where = f"/commands/{command.id}"
        client.post(f"{where}/progress", json=codec.dump(Progress(str(command.kind), 1, 1)))
        while not self._over.is_set():
            try:
                self._check(client.post(f"{where}/result", json=codec.dump(result)))
                return
            except httpx.HTTPError:
                time.sleep(0.05)

    def _check(self, answer: httpx.Response) -> None:
        if 400 <= answer.status_code < 500:
            self.problems.append(answer.text)
        answer.raise_for_status()
