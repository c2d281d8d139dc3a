"""A lab's clouds from outside: start, stop and look at the process that runs them.

Everything lies in `clouds/` of the lab's directory: the log, each cloud's own files, and
`clouds.json` (mode 0600) with what an SDK needs to reach them, there while they answer.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import porter
from porter.domain.errors import Conflict, Invalid, Permanent
from porter.domain.site import SiteKind
from porter.providers.base import SiteConfig

GROUP = "_clouds"
"""Its control group below the lab's; no host can be called so."""
KINDS = ("aws", "gcp", "azure", "openstack")
_GRACE_S = 15.0


class CloudReport(TypedDict):
    """One cloud in a lab's status. Holds no secret."""

    kind: str
    site: str
    pid: int


def directory(lab: Path) -> Path:
    """Where the clouds of the lab in this directory keep their files."""
    return lab / "clouds"


def check_kinds(kinds: Sequence[str]) -> list[str]:
    """The same without doubles. Raises Invalid for one that has no stand-in."""
    for kind in kinds:
        if kind not in KINDS:
            raise Invalid(f"cannot run the cloud {kind!r} in a lab", f"take {', '.join(KINDS)}")
    return list(dict.fromkeys(kinds))


def running(lab: Path) -> int:
    """Pid of the process that runs the clouds; 0 if none does."""
    try:
        with (directory(lab) / "pid").open() as file:
            # Whoever runs them holds this lock: the pid cannot be that of something else.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return 0
    except FileNotFoundError:
        return 0
    except BlockingIOError:
        return int((directory(lab) / "pid").read_text() or 0)


def sites(lab: Path) -> dict[str, SiteConfig]:
    """How the SDKs reach the clouds that answer now, by kind."""
    try:
        found: dict[str, dict[str, Any]] = json.loads((lab / "clouds.json").read_text())
    except FileNotFoundError:
        return {}
    return {k: SiteConfig(**{**site, "kind": SiteKind(k)}) for k, site in found.items()}


def status(lab: Path) -> list[CloudReport]:
    """The clouds as `porter lab status` shows them."""
    pid = running(lab)
    return [{"kind": k, "site": site.name, "pid": pid} for k, site in sites(lab).items()]


def start(name: str, lab: Path, kinds: Sequence[str]) -> None:
    """Run these clouds; see `Lab.start_clouds`."""
    wanted = check_kinds(kinds)
    if running(lab):
        missing = set(wanted) - set(sites(lab))
        if missing:
            raise Conflict(
                f"cannot add {', '.join(sorted(missing))}: the lab {name} has other clouds already",
                "take the lab down first, and name all its clouds at once",
            )
        return
    directory(lab).mkdir(exist_ok=True)
    log = directory(lab) / "log"
    reader, writer = os.pipe()
    module = [sys.executable, "-m", "porter.lab.clouds.service"]
    with open(reader) as answer, log.open("a") as out:
        try:
            subprocess.run(
                ["setsid", "--fork", *module, name, ",".join(wanted), str(writer)],
                pass_fds=[writer],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                env={
                    **os.environ,
                    "PYTHONPATH": str(Path(porter.__file__).resolve().parent.parent),
                },
                check=True,
            )
        finally:
            os.close(writer)
        # It ends without a word if whoever would speak has died.
        if answer.read().strip() != "ready":
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise Permanent(f"cannot start the clouds of the lab {name}: {last}", f"see {log}")


def stop(lab: Path) -> None:
    """Ask the clouds to end and wait a while. What does not end dies with the lab's group."""
    pid = running(lab)
    deadline = time.monotonic() + _GRACE_S
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while running(lab) and time.monotonic() < deadline:
        time.sleep(0.05)
