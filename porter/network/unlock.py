"""CRIU's packet filter, left behind in a network namespace by a CRIU that died."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from porter.domain.errors import Permanent

_CHAIN = "CRIU"


def unlock(netns: str) -> None:
    """Remove the filter, however CRIU made it, and bring `lo` up. A lost namespace is fine."""
    if not os.path.exists(netns):
        return
    for family, name in _tables(netns):
        _run(netns, ["nft", "delete", "table", family, name])
    for tool in ("iptables", "ip6tables"):
        if shutil.which(tool):
            _unlock_iptables(netns, tool)
    _run(netns, ["ip", "link", "set", "lo", "up"])


def _run(netns: str, argv: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            ["nsenter", f"--net={netns}", *argv],
            input=text,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except FileNotFoundError as error:
        raise Permanent("cannot enter a namespace: nsenter is missing here") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        raise Permanent(f"cannot remove CRIU's lock in {netns}: {argv[0]}: {reason}")
    return done.stdout


def _tables(netns: str) -> list[tuple[str, str]]:
    if not shutil.which("nft"):
        return []
    listed = json.loads(_run(netns, ["nft", "-j", "list", "tables"]) or "{}")
    tables = [one["table"] for one in listed.get("nftables", []) if "table" in one]
    return [(t["family"], t["name"]) for t in tables if t["name"].startswith(_CHAIN)]


def _unlock_iptables(netns: str, tool: str) -> None:
    saved = _run(netns, [f"{tool}-save", "-t", "filter"])
    if f":{_CHAIN} " not in saved:
        return
    jumps = [line for line in saved.splitlines() if line.endswith(f"-j {_CHAIN}")]
    undo = [
        "*filter",
        *(f"-D{line.removeprefix('-A')}" for line in jumps),
        f"-F {_CHAIN}",
        f"-X {_CHAIN}",
        "COMMIT",
        "",
    ]
    _run(netns, [f"{tool}-restore", "--noflush"], "\n".join(undo))
