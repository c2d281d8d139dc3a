"""Azurite: Microsoft's own emulator of the Blob store."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from porter.domain.errors import Permanent

_LISTENS = re.compile(r"(?:listening|listens) on http://[^:]+:(\d+)")


@dataclass(frozen=True)
class BlobStore:
    """How a Blob client reaches it. Plain HTTP, so no token credentials: shared key or SAS."""

    account: str
    key: str = field(repr=False)
    endpoint: str
    """`http://ADDRESS:PORT/ACCOUNT`."""

    @property
    def connection_string(self) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};"
            f"BlobEndpoint={self.endpoint};"
        )


class Azurite:
    """One process; it ends with `stop`, and its account's key is new with each start."""

    def __init__(self, cache: Path) -> None:
        self._main = cache / "azurite/node_modules/azurite/dist/src/blob/main.js"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, directory: Path, address: str) -> BlobStore:
        """Raises Permanent if it is not installed or does not come up."""
        if not self._main.exists():
            raise Permanent(
                "cannot start Azurite: it is not installed", "run porter/lab/clouds/setup/azure.sh"
            )
        account, key = "porter", base64.b64encode(secrets.token_bytes(48)).decode()
        log = directory / "azurite.log"
        place = directory / "azurite"
        command = ["node", str(self._main), "--blobHost", address, "--blobPort", "0"]
        # The SDK of today speaks a newer version of the protocol than this release knows.
        command += ["--location", str(place), "--skipApiVersionCheck", "--disableTelemetry"]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"},
            )
        port = self._port(log)
        return BlobStore(account, key, f"http://{address}:{port}/{account}")

    def _port(self, log: Path) -> int:
        assert self._process is not None
        until = time.monotonic() + 60
        while time.monotonic() < until:
            found = _LISTENS.search(log.read_text(errors="replace"))
            if found:
                return int(found.group(1))
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        self.stop()
        end = log.read_text(errors="replace")[-500:]
        raise Permanent(f"cannot start Azurite: {end or 'it said nothing for a minute'}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
