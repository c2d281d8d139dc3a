"""CRIU itself: is it there, does it work, what went wrong, what has it left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from porter.checkpoint.beneath import unmount
from porter.domain.errors import Permanent, Transient, Unsupported

_TIMEOUT_S = 20.0
_GONE_S = 5.0
_POLL_S = 0.01
_TCP = 6
_TCP_ESTABLISHED = 1


def version() -> tuple[int, ...]:
    """CRIU's version, (4, 2, 1) for instance; (0,) if it is missing or does not run."""
    output = _run("--version")
    found = re.search(r"Version:\s*([0-9.]+)", output[1])
    return tuple(int(part) for part in found[1].strip(".").split(".")) if found else (0,)


@cache
def problem() -> str:
    """Why CRIU cannot be used here, in its own words; empty if `criu check` is content."""
    code, output = _run("check")
    if code == 0:
        return ""
    lines = _reasons(output.splitlines()) or output.strip().splitlines()[-1:]
    return "; ".join(lines) or "it ended without a word"


def _run(*arguments: str) -> tuple[int, str]:
    try:
        done = subprocess.run(
            ["criu", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return 127, f"cannot run criu: {error.strerror}"
    except subprocess.TimeoutExpired:
        return 124, f"criu {' '.join(arguments)} did not end in {_TIMEOUT_S:.0f} s"
    return done.returncode, done.stdout


# -- logs -----------------------------------------------------------------------------------

_ERROR = re.compile(r"Error \(([^)]*)\): (.*)")
_SUMMARIES = re.compile(
    r"RLIMIT_NOFILE|(Dumping|Pre-dumping|Restoring) FAILED|^Killed |exited, status="
)


def reason(log: Path) -> str:
    """Why a dump or restore failed, from its log: at most two of CRIU's errors, causes first.

    Empty if the log is missing or names none.
    """
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "; ".join(_reasons(lines))


def _reasons(lines: Iterable[str]) -> list[str]:
    """The first error and the one after it; what follows are its consequences."""
    found: list[str] = []
    for line in lines:
        match = _ERROR.search(line)
        if match is None or _SUMMARIES.search(match[2]):
            continue
        text = f"{match[2].strip().rstrip('.')} ({match[1]})"
        if text not in found:
            found.append(text)
    return found[:2]


# -- processes ------------------------------------------------------------------------------


def running(images: Path) -> list[int]:
    """Process ids of CRIU and OCI runtimes that work in this image directory.

    They are known by an open descriptor of the directory or by naming it in their arguments,
    under whatever path it is mounted.
    """
    try:
        wanted = images.stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if _is_criu(words) and _uses(entry, words, wanted):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return sorted(found)


def _is_criu(words: list[str]) -> bool:
    # A private CRIU is started by its own dynamic loader, so the name may come later.
    names = {os.path.basename(word) for word in words[:6]}
    return bool(names & {"criu", "runc", "crun", "criu-gate"})


def _uses(process: Path, words: list[str], wanted: os.stat_result) -> bool:
    places = [process / "cwd", *(process / "fd").iterdir()]
    places += [process / "root" / word.lstrip("/") for word in words if word.startswith("/")]
    for place in places:
        try:
            there = place.stat()
        except OSError:
            continue  # closed meanwhile, or an argument that is no path
        if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def stop(images: Path, grace: float = 0.0) -> None:
    """End every CRIU and runtime process that works in this directory, after `grace` seconds.

    Raises Transient if one does not die in 5 s (it may hang in the kernel).
    """
    deadline = time.monotonic() + grace
    while (pids := running(images)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _GONE_S
    while pids:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended by itself
        if time.monotonic() > deadline:
            raise Transient(
                f"cannot end CRIU in {images}: processes {pids} do not die", "look at the host"
            )
        time.sleep(_POLL_S)
        pids = running(images)


# -- leftovers ------------------------------------------------------------------------------


def clean(images: Path) -> None:
    """Detach what CRIU left mounted below `images`, then empty and remove the directory.

    If `images` is itself a mount point it stays, empty. Absent is fine. Raises Permanent rather
    than remove anything that is still mounted.
    """
    if not images.is_dir():
        return
    for place in mounts_below(images):
        unmount(place)
    left = mounts_below(images)
    if left:
        raise Permanent(f"cannot clean {images}: {left[0]} is still mounted", "unmount it")
    _remove_inside(images, images.stat().st_dev)
    if not os.path.ismount(images):
        images.rmdir()


def mounts_below(directory: Path) -> list[str]:
    """Mount points strictly below `directory`, the last mounted first."""
    prefix = os.path.realpath(directory) + "/"
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        place = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split(" ")[4])
        if place.startswith(prefix):
            found.append(place)
    return found[::-1]


def _remove_inside(directory: Path, device: int) -> None:
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            if entry.stat(follow_symlinks=False).st_dev != device:
                raise Permanent(f"cannot clean {entry.path}: it is a mount", "unmount it")
            _remove_inside(Path(entry.path), device)
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)


# -- images ---------------------------------------------------------------------------------


def entries(image: Path) -> Iterator[dict[str, Any]]:
    """The decoded records of one CRIU image, as dictionaries with protobuf's field names.

    Raises Unsupported if pycriu is missing, Permanent if the image cannot be read.
    """
    try:
        from pycriu import images as decoder  # slow to import, and rarely needed
    except ImportError as error:
        raise Unsupported(
            f"cannot read CRIU's images: pycriu is missing ({error})", "run make setup"
        ) from error
    try:
        with image.open("rb") as stream:
            decoded = decoder.load(stream, pretty=False)
    except FileNotFoundError as error:
        raise Permanent(f"cannot read {image}: it does not exist") from error
    except (decoder.MagicException, KeyError, ValueError, EOFError) as error:
        raise Permanent(f"cannot read {image}: it is no CRIU image ({error})") from error
    yield from decoded["entries"]


def tcp_connections(images: Path) -> int:
    """How many established TCP connections the checkpoint holds."""
    count = 0
    for entry in entries(images / "files.img"):
        socket = entry.get("isk")
        if socket and int(socket["proto"]) == _TCP and int(socket["state"]) == _TCP_ESTABLISHED:
            count += 1
    return count


def pages(images: Path) -> int:
    """Bytes of memory in the checkpoint: the sizes of its page images."""
    return sum(page.stat().st_size for page in images.glob("pages-*.img"))
