"""Run the system's own tools, and say clearly when one fails."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from porter.domain.errors import Permanent


def run(argv: Sequence[str], what: str, *, stdin: str | None = None) -> str:
    """Run `argv` and return its standard output. Raises `Permanent` ("cannot <what>: …")."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError as error:
        raise Permanent(
            f"cannot {what}: there is no {argv[0]}", "run 'make setup' to install it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Permanent(f"cannot {what}: {argv[0]} did not end within 60 s") from error
    if done.returncode != 0:
        why = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()
        raise Permanent(f"cannot {what}: {' '.join(argv[:4])} … said: {why[-1]}")
    return done.stdout


def ip(commands: Sequence[str], what: str, *, netns: str = "") -> None:
    """Run lines of `ip` commands in one go, in the named network namespace if given."""
    argv = ["ip", *(["-n", netns] if netns else []), "-batch", "-"]
    run(argv, what, stdin="\n".join(commands) + "\n")
