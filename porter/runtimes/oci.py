"""runc, addressed directly behind the engine: freezing and dumping need no word of Podman's.

Podman takes a lock for every question about a container; runc and the cgroup do not. So what must
work during a handover works even while Podman is busy with a restore.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from porter.domain.errors import NotFound, Permanent, Transient
from porter.runtimes.cgroup import Cgroup
from porter.runtimes.guard import Guard
from porter.runtimes.leftovers import clear_leftovers
from porter.runtimes.podman_cli import last_words
from porter.runtimes.processes import end, engine_processes, wait_for_orphans
from porter.runtimes.repair import end_repair

_ORPHAN_LIMIT = 120.0


def criu_reason(*logs: Path) -> str:
    """CRIU's own words for a failure: the first errors of the first log that has any."""
    for log in logs:
        try:
            lines = log.read_text(errors="replace").splitlines()
        except OSError:
            continue
        errors = [line.split("): ", 1)[-1].strip() for line in lines if "Error (" in line]
        if errors:
            return "; ".join(dict.fromkeys(errors[:3]))
    return ""


class Runc:
    """One runc with its state directory."""

    def __init__(self, binary: str = "runc", root: Path = Path("/run/runc")) -> None:
        self.binary = binary
        self.root = root

    def _run(self, *args: str, limit: float | None = 60) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self.binary, *args],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=limit,
                start_new_session=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise Permanent(
                f"cannot run {self.binary}: it is not on this host", "install runc"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise Transient(
                f"cannot run {self.binary} {args[0]}: it did not end within {limit} s"
            ) from error

    def state(self, container: str) -> dict[str, Any] | None:
        """`runc state`: pid, status, bundle; None if runc does not know the container."""
        done = self._run("state", container)
        if done.returncode != 0:
            return None
        return dict(json.loads(done.stdout))

    def pid(self, container: str) -> int:
        """The first process by runc's own file (no process is started for it); 0 if unknown."""
        try:
            state = json.loads((self.root / container / "state.json").read_text())
        except (OSError, ValueError):
            return 0
        return int(state.get("init_process_pid") or 0)

    def cgroup(self, container: str) -> Cgroup | None:
        """None if the container has no living first process."""
        pid = self.pid(container)
        return Cgroup.of(pid) if pid > 0 else None

    def freeze(self, container: str) -> None:
        """Stop all tasks; returns when they are stopped. NotFound if it does not run."""
        group = self.cgroup(container)
        if group is None:
            raise NotFound(f"cannot freeze {container[:12]}: it is not running")
        # Writing the state ourselves is what `runc pause` does, without two processes more.
        group.set_frozen(True)

    def thaw(self, container: str) -> None:
        """Let the tasks run; what is absent or not frozen stays as it is.

        A dump that outlived the agent is waited for: CRIU must not lose tasks in mid-air.
        """
        if not wait_for_orphans(container, "checkpoint", _ORPHAN_LIMIT):
            end(engine_processes_of_dump(container))
        group = self.cgroup(container)
        if group is None:
            return
        end_repair(group.pids())
        group.set_frozen(False)

    def checkpoint(self, container: str, images: Path, work: Path) -> None:
        """Dump a frozen container; it stays frozen. Raises Permanent with CRIU's reason."""
        group = self.cgroup(container)
        if group is None:
            raise NotFound(f"cannot dump {container[:12]}: it is not running")
        wait_for_orphans(container, "checkpoint", _ORPHAN_LIMIT)
        images.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        command = (
            self.binary,
            "checkpoint",
            "--leave-running",
            "--tcp-established",
            "--file-locks",
            f"--image-path={images}",
            f"--work-path={work}",
            container,
        )
        failure = _run_guarded(command, group, work / "dump.log")
        if not group.frozen():
            # Neither CRIU's end nor its failure may let the tasks run.
            group.set_frozen(True)
            if not failure:
                raise Permanent(f"cannot dump {container[:12]}: it ran on during the dump")
        if failure:
            clear_leftovers(container, (images, work))
            raise Permanent(
                f"cannot dump {container[:12]}: {failure}", f"the log is {work / 'dump.log'}"
            )

    def forget(self, container: str) -> None:
        """Remove runc's record of a container whose tasks have ended."""
        self._run("delete", "--force", container)


def _run_guarded(command: Sequence[str], group: Cgroup, log: Path) -> str:
    """Run runc's dump of the tasks in `group`; why it failed, "" if it did not."""

    def make_safe() -> None:
        group.close_freezer()
        end_repair(group.pids())

    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as runc:
        guard = Guard(runc.pid, make_safe)
        try:
            _, words = runc.communicate()
        finally:
            guard.end()
    if runc.returncode == 0:
        return ""
    if guard.killed_by:
        return f"CRIU was ended by signal {guard.killed_by} ({signal.strsignal(guard.killed_by)})"
    return criu_reason(log) or last_words(words)


def engine_processes_of_dump(container: str) -> list[Any]:
    """runc and CRIU processes of a dump; conmon and the other helpers are not among them."""
    found = []
    for process in engine_processes(container):
        words = process.cmdline()
        if "checkpoint" in words or ("criu" in " ".join(words[:5]) and "swrk" in words):
            found.append(process)
    return found
