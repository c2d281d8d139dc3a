"""Runs the `podman` command: JSON answers, time limits, errors in one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

from porter.domain.errors import NotFound, Permanent, Transient

_ABSENT = ("no such container", "no such object", "no such volume", "no such image")
_ABSENT_IMAGE = ("image not known", "no container with name or id", "network not found")


def last_words(text: str) -> str:
    """The line of an engine's standard error that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    wrong = [line for line in lines if line.lower().startswith("error")]
    word = (wrong or lines)[-1]
    return word.removeprefix("Error:").strip()


class Podman:
    """One engine. Every call blocks; a call that outlasts its limit is ended and is Transient."""

    def __init__(self, binary: str = "podman") -> None:
        self.binary = binary

    def run(self, *args: str, limit: float = 60, doing: str = "") -> str:
        """Standard output of `podman ARGS`. NotFound if what it names is absent, else Permanent.

        The child has a session of its own: it is not hit by signals meant for the agent.
        """
        what = doing or f"run podman {args[0]}"
        try:
            child = subprocess.Popen(
                [self.binary, *args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Permanent(
                f"cannot {what}: there is no {self.binary} on this host", "install podman"
            ) from error
        try:
            out, err = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired as error:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            raise Transient(f"cannot {what}: podman did not end within {limit:.0f} s") from error
        if child.returncode != 0:
            reason = last_words(err)
            if any(word in err.lower() for word in (*_ABSENT, *_ABSENT_IMAGE)):
                raise NotFound(f"cannot {what}: {reason}")
            raise Permanent(f"cannot {what}: {reason}")
        return out

    def ask(self, *args: str, limit: float = 60) -> Any:
        """The JSON that `podman ARGS` prints."""
        out = self.run(*args, limit=limit)
        return json.loads(out) if out.strip() else None

    def container(self, name: str) -> dict[str, Any] | None:
        """`podman container inspect`; None if there is none of that name or id."""
        try:
            found = self.ask("container", "inspect", name)
        except NotFound:
            return None
        return dict(found[0]) if found else None

    def containers(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Inspect several; those that vanish meanwhile are left out."""
        if not ids:
            return []
        try:
            return list(self.ask("container", "inspect", *ids) or [])
        except NotFound:
            return [info for one in ids if (info := self.container(one)) is not None]

    def image(self, name: str) -> dict[str, Any] | None:
        """`podman image inspect`; None if the image is not here."""
        try:
            found = self.ask("image", "inspect", name)
        except NotFound:
            return None
        return dict(found[0]) if found else None

    def volume(self, name: str) -> dict[str, Any] | None:
        """`podman volume inspect`; None if there is none of that name."""
        try:
            found = self.ask("volume", "inspect", name)
        except NotFound:
            return None
        return dict(found[0]) if found else None
