"""`python -m porter.client migrate`: a move from a pipeline, with httpx as its only requirement.

The token comes from the environment (PORTER_API_TOKEN, or the file PORTER_API_TOKEN_FILE), never
from the command line. On stdout is one JSON document: the receipt, or what is known instead. Exit
codes are those of `porter`; docs/ci.md has the table. In a GitHub workflow the outputs and the
job's summary are written, too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from porter.client import github, summary
from porter.client.errors import StillUnderWay
from porter.client.exits import BAD_INPUT, FAILED, INTERRUPTED, OK, exit_code
from porter.client.porter import Porter
from porter.domain.errors import PorterError
from porter.domain.migration import Mode

API = "http://127.0.0.1:8460"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m porter.client")
    commands = parser.add_subparsers(required=True)
    move = commands.add_parser("migrate", help="Move a workload, and wait for the receipt.")
    move.add_argument("workload")
    move.add_argument("--to", required=True, metavar="HOST|SITE")
    move.add_argument("--mode", choices=[str(mode) for mode in Mode], default=str(Mode.AUTO))
    move.add_argument("--wait", type=seconds, metavar="SECONDS", help="then exit 3; it goes on")
    move.add_argument("--dry-run", action="store_true", help="only say whether it could move")
    move.add_argument("--receipt", type=Path, metavar="FILE", help="write the receipt there")
    move.add_argument("--api", default=os.environ.get("PORTER_API") or API, metavar="URL")
    return parser.parse_args(argv)


def seconds(text: str) -> float | None:
    if not text:
        return None
    found = float(text)
    if not 0 <= found < math.inf:
        raise ValueError
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    given = _arguments(argv)
    try:
        with Porter(given.api) as porter:
            return _check(porter, given) if given.dry_run else _move(porter, given)
    except PorterError as error:
        print(f"porter: {error}", file=sys.stderr)
        github.problem(str(error))
        if not isinstance(error, StillUnderWay):
            github.outputs(state="refused" if exit_code(error) == BAD_INPUT else "unknown")
            github.summary(summary.of_error(str(error)))
        return exit_code(error)
    except KeyboardInterrupt:
        print("porter: stopped watching; a move that has begun goes on", file=sys.stderr)
        return INTERRUPTED


def _check(porter: Porter, given: argparse.Namespace) -> int:
    found = porter.preflight(given.workload, given.to, given.mode)
    _print(asdict(found))
    github.outputs(state="ready" if found.ok else "blocked")
    github.summary(summary.of_preflight(found))
    return OK if found.ok else BAD_INPUT


def _move(porter: Porter, given: argparse.Namespace) -> int:
    begun = porter.migrate(given.workload, given.to, given.mode)
    print(f"porter: migration {begun.id} is under way", file=sys.stderr, flush=True)
    github.outputs(migration=begun.id)  # also for whoever stops watching
    try:
        ended = begun.wait(given.wait)
    except StillUnderWay:
        _tell(porter, begun.id, given.receipt)
        raise
    receipt = _tell(porter, begun.id, given.receipt)
    if not ended.succeeded:
        github.problem(receipt["reason"] or f"the migration is {ended.state}")
    return OK if ended.succeeded else FAILED


def _tell(porter: Porter, migration: str, file: Path | None) -> dict[str, Any]:
    """The receipt as far as it is known, to all that want it."""
    receipt = porter.receipt(migration)
    _print(receipt.raw)
    written = {}
    if file is not None:
        file.write_text(json.dumps(receipt.raw, indent=2, ensure_ascii=False) + "\n")
        written["receipt"] = str(file)
    pause = "" if receipt.downtime_ms is None else f"{receipt.downtime_ms:g}"
    github.outputs(state=receipt.state, downtime_ms=pause, **written)
    github.summary(summary.of_receipt(receipt))
    return receipt.raw


def _print(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str))


if __name__ == "__main__":
    sys.exit(main())
