"""Servers of a stand-in: started together, watched until they answer, ended with the starter."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from porter.domain.errors import Permanent

KEEPER = Path(__file__).with_name("keeper.py")
DEFAULT_ROOT = "/var/cache/porter/openstack"
PATIENCE = 120.0
"""Seconds until a server must answer; the machine may be busy with other things."""


def root() -> Path:
    """The virtual environment of the services. Raises Permanent if it is not installed."""
    path = Path(os.environ.get("PORTER_OPENSTACK", DEFAULT_ROOT))
    if not (path / ".stamp").exists():
        raise Permanent(
            "cannot start OpenStack's services: they are not installed",
            "run porter/lab/clouds/setup/openstack.sh",
        )
    return path


def free_ports(address: str, count: int) -> list[int]:
    """As many different ports as wanted that nobody listens on at the moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((address, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Processes:
    """Servers whose logs lie in `directory`. They end when `stop` is called or this process ends,
    even if it is killed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pids: dict[str, int] = {}
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", str(KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(
        self, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> None:
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        wish = {
            "argv": [str(word) for word in argv],
            "log": str(self._log(name)),
            "cwd": str(self._directory),
            "env": {"PATH": os.environ.get("PATH", ""), "PYTHONUNBUFFERED": "1", **(env or {})},
        }
        self._keeper.stdin.write(json.dumps(wish) + "\n")
        self._keeper.stdin.flush()
        answer = self._keeper.stdout.readline()
        if not answer:
            raise Permanent(f"cannot start {name}: the keeper of the servers ended")
        self._pids[name] = int(answer)

    def run(self, name: str, argv: Sequence[str | Path]) -> None:
        """Run a program to its end. Raises Permanent with the end of its log."""
        with self._log(name).open("ab") as log:
            done = subprocess.run(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                timeout=PATIENCE,
                check=False,
            )
        if done.returncode != 0:
            raise self.failure(name, f"it ended with {done.returncode}")

    def wait(self, name: str, url: str) -> None:
        """Until the server answers with less than 500. Raises Permanent if it ended, or never
        does."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if httpx.get(url, timeout=30, trust_env=False).status_code < 500:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            if not self._alive(name):
                raise self.failure(name, "it ended")
            if time.monotonic() > until:
                raise self.failure(name, f"it did not answer within {PATIENCE:.0f} s")
            time.sleep(0.1)

    def stop(self) -> None:
        """End them all. Harmless to repeat."""
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            self._keeper.stdin.close()
        self._keeper.wait(30)
        if self._keeper.stdout is not None:
            self._keeper.stdout.close()
        self._pids.clear()

    def failure(self, name: str, why: str) -> Permanent:
        path = self._log(name)
        tail = path.read_text(errors="replace").splitlines()[-15:] if path.exists() else []
        return Permanent(f"cannot start {name}: {why}: " + "\n".join(tail))

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def _alive(self, name: str) -> bool:
        try:
            stat = Path(f"/proc/{self._pids[name]}/stat").read_text()
        except FileNotFoundError:
            return False
        return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
