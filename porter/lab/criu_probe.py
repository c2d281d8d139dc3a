"""Check that a CRIU really works on this kernel, by moving one small process aside and back.

``criu check`` looks at kernel features one by one; it says "looks good" of versions that then
cannot dump any process with a socket. So the probe does the real thing: it dumps a process that
listens on a loopback TCP port as an unprivileged user, restores it and connects. Standard library
only, because set-up runs it before there is a virtual environment:
``python3 criu_probe.py /path/to/criu``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_TIMEOUT_S = 20.0

_LISTENER = """
import os, socket, sys
s = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[1] + ".new", "w") as f:
    f.write(str(s.getsockname()[1]))
directory = os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)
os.fchown(directory, 65534, 65534)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
os.rename("port.new", "port", src_dir_fd=directory, dst_dir_fd=directory)
os.close(directory)
while True:
    s.accept()[0].close()
"""


def probe(criu: str) -> str | None:
    """Return None if this ``criu`` can dump and restore a listening process, else the reason.

    Blocks for about a second. Needs root. Leaves nothing behind.
    """
    try:
        check = _run([criu, "check"])
    except OSError as error:
        return f"cannot run {criu}: {error.strerror}"
    if check.returncode != 0:
        return f"criu check failed: {_last_line(check.stdout)}"
    with tempfile.TemporaryDirectory(prefix="porter-probe-") as directory:
        return _dump_and_restore(criu, Path(directory))


def _dump_and_restore(criu: str, directory: Path) -> str | None:
    port_file = directory / "port"
    images = directory / "images"
    images.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", _LISTENER, str(port_file)],
        cwd="/",
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _wait_for_port(port_file)
        dump = _run([criu, "dump", "-t", str(process.pid), "-D", str(images), "-o", "dump.log"])
        if dump.returncode != 0:
            return f"dump failed: {_cause(images / 'dump.log')}"
    finally:
        process.kill()
        process.wait()
    return _restore(criu, images, process.pid, port)


def _restore(criu: str, images: Path, pid: int, port: int) -> str | None:
    # Not detached: CRIU then stays the parent and reaps the process, whatever pid 1 does.
    restorer = subprocess.Popen(
        [criu, "restore", "-D", str(images), "-o", "restore.log"],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline and restorer.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return None
            time.sleep(0.02)
        return f"restore failed: {_cause(images / 'restore.log')}"
    finally:
        if restorer.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            try:
                restorer.wait(5)
            except subprocess.TimeoutExpired:
                restorer.kill()
                restorer.wait()


def _wait_for_port(port_file: Path) -> int:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        if port_file.exists():
            return int(port_file.read_text())
        time.sleep(0.01)
    raise TimeoutError("cannot start the probe's listener: no port after 20 s; try again")


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_TIMEOUT_S,
        check=False,
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"


def _cause(log: Path) -> str:
    # Not being allowed to raise its own file limit is something CRIU reports and survives.
    if log.exists():
        for line in log.read_text(errors="replace").splitlines():
            if "Error" in line and "RLIMIT" not in line:
                return line.strip()
    return "no error in its log"


def main() -> int:
    """Probe the CRIU named on the command line; exit 0 if it works, else 1 with the reason."""
    criu = sys.argv[1] if len(sys.argv) > 1 else "criu"
    try:
        reason = probe(criu)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
