"""The engine's facts, remembered until the host reboots or the engine is replaced."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from porter.runtimes.base import EngineFacts

RUN = Path("/run/porter")


def _mark(engine: str) -> str:
    """Changes with the engine's program."""
    program = shutil.which(engine) or engine
    return f"{program} {os.stat(program).st_mtime_ns}" if os.path.exists(program) else program


def recall(engine: str, directory: Path = RUN) -> EngineFacts | None:
    """What `remember` wrote for this very program since the boot; None if nothing."""
    try:
        kept = json.loads((directory / "engine.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if kept.pop("mark", None) != _mark(engine):
        return None
    return EngineFacts(**{**kept, "storage": Path(kept["storage"])})


def remember(facts: EngineFacts, engine: str, directory: Path = RUN) -> None:
    """Keep the facts for the next start of the agent."""
    directory.mkdir(parents=True, exist_ok=True)
    fresh = directory / f"engine.{os.getpid()}.new"
    kept = {**asdict(facts), "storage": str(facts.storage), "mark": _mark(engine)}
    fresh.write_text(json.dumps(kept))
    fresh.replace(directory / "engine.json")
