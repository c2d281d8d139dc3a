"""A lab with Porter on it: control plane on this machine, one agent on every host.

What the demo, the end-to-end tests and the benchmarks stand on. Everything a fleet makes lies in
the lab's own directory; `down` leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from porter.domain.errors import Permanent, Transient
from porter.lab.agents import AGENTS_PORT, PORTER
from porter.lab.lab import Lab

IMAGE = "localhost/porter-test:latest"


def wait_until(what: str, test: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true answer of `test`, asked every 50 ms. Raises Transient that names `what`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = test()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Transient(f"cannot go on: {what} did not happen within {seconds:g} s")
        time.sleep(0.05)


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Fleet:
    """One lab, its control plane and its agents. Not thread-safe."""

    def __init__(self, name: str, environment: dict[str, str] | None = None) -> None:
        self.lab = Lab(name)
        self.state = self.lab.directory / "control"
        self.environment = {**os.environ, **(environment or {})}
        self.port = 0

    # -- up and down ------------------------------------------------------------------------

    def up(
        self,
        hosts: Sequence[str] = ("onprem", "cloud"),
        link_mbit: int = 1000,
        images: Sequence[str] | None = None,
        port: int = 0,
        clouds: Sequence[str] = (),
    ) -> None:
        """Boot the lab, start the control plane and join every host. `images` names the hosts
        that get the test image; None is all of them. `port` is the API's; 0 takes a free one.
        `clouds` are stand-ins, see `Lab.start_clouds`; the control plane knows them as sites."""
        self.lab.up(list(hosts), link_mbit=link_mbit, images=False, clouds=clouds)
        for host in hosts if images is None else images:
            self.lab.load_image(host)
        self.start_control_plane(port)
        if clouds:
            self.porter("lab", "sites", "--name", self.lab.name)
        if hosts:
            self.join(*hosts)
            self.wait_alive(hosts)

    def start_control_plane(self, port: int = 0) -> None:
        """`porter up` in the lab's directory; returns when the API answers."""
        self.port = port or self.port or free_port()
        self.state.mkdir(parents=True, exist_ok=True)
        self.environment |= {
            "PORTER_STATE": str(self.state),
            "PORTER_API": f"http://127.0.0.1:{self.port}",
        }
        self.porter(
            "up",
            "--state",
            str(self.state),
            "--listen",
            f"127.0.0.1:{self.port}",
            "--agents",
            f"{self.lab.gateway}:{AGENTS_PORT}",
            "--detach",
        )
        wait_until("the API to answer", lambda: self.try_porter("host", "ls").returncode == 0)

    def join(self, *hosts: str) -> None:
        """Give the hosts agents, each with a fresh one-time token."""
        self.porter("lab", "join", "--name", self.lab.name, *hosts)

    def wait_alive(self, hosts: Sequence[str], seconds: float = 30.0) -> None:
        """Return when all of them have been heard of lately and have the workload network."""

        def all_alive() -> bool:
            alive = {row["name"] for row in self.json("host", "ls") if row["alive"]}
            return alive >= set(hosts)

        def networks() -> bool:
            asked = ["podman", "network", "exists", "porter"]
            return all(self.lab.exec(host, asked).returncode == 0 for host in hosts)

        wait_until(f"a heartbeat of {', '.join(hosts)}", all_alive, seconds)
        wait_until(f"the workload network on {', '.join(hosts)}", networks, seconds)

    def down(self) -> None:
        """End everything and remove every trace. Safe after a crash and when never up."""
        if self.state.exists():
            self.try_porter("down", "--state", str(self.state))
        self.lab.down()

    # -- the command line ---------------------------------------------------------------------

    def try_porter(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `porter WORDS` against this fleet and return whatever came of it."""
        return subprocess.run(
            [*PORTER, *words],
            env=self.environment,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def porter(self, *words: str, timeout: float = 120) -> str:
        """Run `porter WORDS`; its output. Permanent with its error if it exits otherwise than 0."""
        done = self.try_porter(*words, timeout=timeout)
        if done.returncode:
            raise Permanent(
                f"cannot run porter {' '.join(words)}: exit code {done.returncode}: "
                f"{done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def json(self, *words: str, timeout: float = 120) -> Any:
        """The parsed answer of `porter --json WORDS`."""
        return json.loads(self.porter("--json", *words, timeout=timeout))

    def migrate(self, workload: str, to: str, timeout: float = 180) -> dict[str, Any]:
        """Move and wait; the receipt, whatever its state."""
        done = self.try_porter("--json", "migrate", workload, "--to", to, timeout=timeout)
        if not done.stdout.strip():
            raise Permanent(f"cannot migrate {workload}: {done.stderr.strip()}")
        receipt: dict[str, Any] = json.loads(done.stdout)
        return receipt

    # -- workloads ----------------------------------------------------------------------------

    def podman(self, host: str, *words: str, timeout: float = 60) -> str:
        """Run podman on a host; its output. Permanent with its error if it fails."""
        done = self.lab.exec(host, ["podman", *words], timeout=timeout)
        if done.returncode:
            raise Permanent(f"cannot podman {' '.join(words[:3])} on {host}: {done.stderr.strip()}")
        return str(done.stdout).strip()

    def run(self, host: str, name: str, *words: str, options: Sequence[str] = ()) -> str:
        """`podman run` a labelled workload of the test image; returns its address once Porter
        knows it."""
        self.podman(
            host,
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "porter",
            "--label",
            "porter.enable=true",
            "--label",
            f"porter.name={name}",
            *options,
            IMAGE,
            *words,
        )

        def known() -> str:
            rows = {row["name"]: row for row in self.json("workload", "ls")}
            row = rows.get(name)
            return row["address"] if row and row["host"] == host else ""

        return str(wait_until(f"Porter to see {name} on {host}", known))

    def running(self, name: str, hosts: Sequence[str]) -> list[str]:
        """The hosts whose Podman shows the container running."""
        found = []
        for host in hosts:
            names = self.podman(host, "ps", "--format", "{{.Names}}").splitlines()
            if name in names:
                found.append(host)
        return found
