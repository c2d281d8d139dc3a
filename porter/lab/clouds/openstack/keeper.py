"""Program that starts servers for a process and ends them with it, however that ends.

Reads one JSON object per line on standard input, `{"argv", "log", "cwd", "env"}`, starts it and
answers with its process id. At the end of input all are ended. Standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

GRACE = 3.0
"""Seconds that servers have to end before they are killed."""
PR_SET_PDEATHSIG = 1


def _start(wish: dict[str, Any], libc: ctypes.CDLL, me: int) -> subprocess.Popen[bytes]:
    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != me:
            os._exit(1)  # the keeper was killed before its death could be heard of

    with open(wish["log"], "ab") as log:
        return subprocess.Popen(
            wish["argv"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=wish["cwd"],
            env=wish["env"],
            preexec_fn=prepare,
        )


def main() -> None:
    libc, me = ctypes.CDLL(None), os.getpid()
    servers = []
    for line in sys.stdin:
        servers.append(_start(json.loads(line), libc, me))
        print(servers[-1].pid, flush=True)
    for one in servers:
        one.terminate()
    until = time.monotonic() + GRACE
    for one in servers:
        try:
            one.wait(max(0.05, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


if __name__ == "__main__":
    main()
