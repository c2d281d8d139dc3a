"""What a step of a GitHub workflow tells the steps after it. Elsewhere nothing is written."""

from __future__ import annotations

import os
import sys


def outputs(**values: str) -> None:
    """Outputs of the step. A value is one line: what would begin another one becomes a space."""
    lines = (f"{name}={' '.join(value.split())}\n" for name, value in values.items())
    _append("GITHUB_OUTPUT", "".join(lines))


def summary(markdown: str) -> None:
    """A part of the job's summary."""
    _append("GITHUB_STEP_SUMMARY", markdown + "\n")


def problem(message: str) -> None:
    """An error that is shown at the top of the run. On stderr: stdout has the document."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        text = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        print(f"::error title=Porter::{text}", file=sys.stderr)


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
