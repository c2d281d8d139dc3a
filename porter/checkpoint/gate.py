"""The gate: restored tasks stand still until Porter says go, even if the agent dies meanwhile.

CRIU runs an action script at `post-restore`, when everything is restored and nothing has run yet,
and aborts cleanly if the script fails. Ours waits there for a verdict. The verdict is a file beside
the images, so it outlives any agent; a FIFO is only the bell that makes it heard at once.

    images/porter.gate/bell      FIFO, made by `Gate.prepare`; without it the script does nothing
    images/porter.gate/waiting   made by the script when tasks stand at the gate: its process id,
                                 and the directory as CRIU sees it
    images/porter.gate/verdict   "open" or "refuse"; the first one stays
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from porter.domain.errors import Conflict, Transient, Unsupported

GATE = "porter.gate"
"""Name of the gate's directory inside the directory of CRIU's images."""

SCRIPT = Path("/usr/local/lib/porter/criu-gate")
_OPEN = "open"
_REFUSE = "refuse"
_POLL_S = 0.002

_HOOK = """\
#!/bin/sh
# Porter's CRIU action script. It does nothing for restores that are not Porter's.
[ "$CRTOOLS_SCRIPT_ACTION" = post-restore ] || exit 0
gate=$CRTOOLS_IMAGE_DIR/porter.gate
[ -p "$gate/bell" ] || exit 0
PATH=/usr/sbin:/usr/bin:/sbin:/bin
# For reading and writing: it does not block, and a bell rung before we listen is kept.
exec 3<>"$gate/bell" || exit 1
echo "$$ $CRTOOLS_IMAGE_DIR" >"$gate/waiting" || exit 1
# The image directory is /proc/<CRIU>/fd/<n>: it vanishes with CRIU, and then so do we.
while [ -p "$gate/bell" ]; do
    verdict=
    [ -f "$gate/verdict" ] && read -r verdict <"$gate/verdict"
    case $verdict in
    open) exit 0 ;;
    refuse) exit 1 ;;
    esac
    timeout 2 head -c 1 <&3 >/dev/null
done
exit 1
"""


def install(etc: Path = Path("/etc/criu"), script: Path = SCRIPT) -> None:
    """Put the action script in place and name it in runc's CRIU configuration. Idempotent.

    Raises Unsupported if another action script is configured there: CRIU's order of several
    would decide whether Porter's gate holds.
    """
    config = etc / "runc.conf"
    lines = config.read_text().splitlines() if config.exists() else []
    kept = []
    for line in lines:
        words = line.split()
        if words[:1] != ["action-script"]:
            kept.append(line)
        elif words[1:] != [str(script)] and not _is_gate(Path(*words[1:])):
            raise Unsupported(
                f"cannot install the restore gate: {config} already has {line.strip()!r}",
                "remove that line, or call that script from a later hook",
            )
    _write(script, _HOOK, 0o755)
    _write(config, "\n".join([*kept, f"action-script {script}"]) + "\n", 0o644)


def _is_gate(script: Path) -> bool:
    """Whether this is an earlier gate of Porter's, perhaps with its state directory gone."""
    try:
        return _HOOK.splitlines()[1] in script.read_text()
    except OSError:
        return script.name == SCRIPT.name


def _write(path: Path, text: str, mode: int) -> None:
    """Replace a file in one step: a restore that starts meanwhile sees the old or the new one."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(path)


class Gate:
    """The gate of one restore. Any process may make another `Gate` of the same directory."""

    def __init__(self, images: Path) -> None:
        self._dir = images / GATE
        self._bell = self._dir / "bell"
        self._waiting = self._dir / "waiting"
        self._verdict = self._dir / "verdict"

    def prepare(self) -> None:
        """Close the gate before a restore begins; a verdict on an earlier one is forgotten.

        Raises Conflict if restored tasks stand at it now.
        """
        if self._someone_waits():
            raise Conflict("cannot prepare the gate: restored tasks stand at it; refuse them first")
        self._dir.mkdir(mode=0o700, exist_ok=True)
        self._waiting.unlink(missing_ok=True)
        self._verdict.unlink(missing_ok=True)
        if not self._bell.exists():
            os.mkfifo(self._bell, 0o600)

    def waiting(self, timeout: float) -> bool:
        """Whether restored tasks stand at the gate; blocks up to `timeout` seconds for them."""
        deadline = time.monotonic() + timeout
        while not self._someone_waits():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def open(self) -> None:
        """Let the tasks run, now or as soon as they come. Twice is harmless.

        Raises Conflict if they were refused before: the restore has been or will be aborted.
        """
        if self._decide(_OPEN) != _OPEN:
            raise Conflict("cannot open the gate: these tasks were refused; restore them anew")

    def refuse(self) -> None:
        """Abort the restore, now or as soon as it comes to the gate. Twice is harmless.

        Raises Conflict if the gate was opened before: the tasks may run.
        """
        if self._decide(_REFUSE) != _REFUSE:
            raise Conflict("cannot refuse: the gate was opened and the tasks may run; stop them")

    def verdict(self) -> str:
        """`open`, `refuse`, or empty as long as nothing is decided."""
        try:
            return self._verdict.read_text().strip()
        except FileNotFoundError:
            return ""

    def _decide(self, word: str) -> str:
        """Make `word` the verdict unless there is one; ring; return the verdict that holds."""
        fresh = self._dir / f".verdict.{os.getpid()}.{time.monotonic_ns()}"
        try:
            fresh.write_text(word + "\n")
        except FileNotFoundError as error:
            raise Transient(f"cannot {word} the gate: it was never prepared") from error
        try:
            os.link(fresh, self._verdict)  # unlike rename, it never replaces
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        self._ring()
        return self.verdict()

    def _ring(self) -> None:
        try:
            bell = os.open(self._bell, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):  # nobody listens; the file tells
                return
            raise
        try:
            os.write(bell, b"!")
        finally:
            os.close(bell)

    def _someone_waits(self) -> bool:
        """Whether the script named in the note holds our bell and its CRIU holds our directory:
        the note of a dead one, or a recycled process id, does not count."""
        try:
            pid, _, seen = self._waiting.read_text().strip().partition(" ")
            return _same(f"/proc/{int(pid)}/fd/3", self._bell) and _same(seen, self._dir.parent)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return False


def _same(one: str, other: Path) -> bool:
    first, second = os.stat(one), other.stat()
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
