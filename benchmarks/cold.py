"""`make bench-cold`: Porter's cold path against Podman's own export, copy and import.

Both move the same Redis (about 1 GB resident, realistic JSON values) between the same two lab
hosts over the same limited link, alternately, within one run. What is compared is what a client
sees: the longest gap between two answers on one open connection. The peer gets its best flags:
no compression for speed (`--compress none`), no encryption on the wire, `sendfile`, its address
flipped the moment the restore returns. Its bytes are counted once more with `--compress zstd`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import peer
from porter.lab.fleet import Fleet, wait_until

HERE = Path(__file__).parent
LOAD = HERE.parent / "porter" / "lab" / "load.py"
PROBE = HERE / "probe.py"
NAME = "big"
HOSTS = ("onprem", "cloud")


@contextmanager
def client(fleet: Fleet, address: str, folder: Path) -> Iterator[dict[str, Any]]:
    """A client on one open connection while the body runs; its report is filled in at the end."""
    stop, ready = folder / "probe.stop", folder / "probe.ready"
    for file in (stop, ready):
        file.unlink(missing_ok=True)
    argv = [sys.executable, str(PROBE), address, "6379", str(ready), str(stop)]
    process = fleet.lab.popen(
        "wan", argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    report: dict[str, Any] = {}
    try:
        wait_until("the client's first answers", ready.exists)
        time.sleep(1)
        yield report
        time.sleep(1)
    finally:
        stop.touch()
        out, err = process.communicate(timeout=120)
    if process.returncode:
        raise SystemExit(f"the client's connection broke: {err.strip()}")
    report.update(json.loads(out))


def one_move(fleet: Fleet, how: str, address: str, here: str, there: str) -> dict[str, Any]:
    """One move by `porter` or `podman`; what the client saw, and the bytes on the wire."""
    before = peer.bytes_sent(fleet, here)
    phases: dict[str, float] = {}
    with client(fleet, address, fleet.state) as seen:
        if how == "porter":
            receipt = fleet.migrate(NAME, there)
            if receipt["state"] != "succeeded":
                raise SystemExit(f"Porter did not move it: {receipt}")
            phases = {phase["name"]: round(phase["ms"]) for phase in receipt["phases"]}
        else:
            peer.move(fleet, NAME, address, here, there)
    wire = peer.bytes_sent(fleet, here) - before
    return {"how": how, "gap_ms": seen["worst_ms"], "wire_mb": wire / 1e6, "phases_ms": phases}


def show(rows: list[dict[str, Any]], zstd_mb: float, memory_mb: float) -> float:
    """Print the table; the ratio of median gaps, Porter's to Podman's."""
    table = Table(title=f"Cold move of a Redis with {memory_mb:.0f} MB, 1 Gbit/s, two lab hosts")
    for column in ("by", "moves", "gap median s", "gap worst s", "wire MB median"):
        table.add_column(column, justify="left" if column == "by" else "right")
    medians = {}
    for how in ("porter", "podman"):
        gaps = [row["gap_ms"] / 1e3 for row in rows if row["how"] == how]
        wires = [row["wire_mb"] for row in rows if row["how"] == how]
        medians[how] = statistics.median(gaps)
        cells = (statistics.median(gaps), max(gaps), statistics.median(wires))
        table.add_row(how, str(len(gaps)), *(f"{cell:.2f}" for cell in cells))
    table.add_row("podman --compress zstd", "1", "", "", f"{zstd_mb:.2f}")
    console = Console()
    console.print(table)
    ratio = medians["porter"] / medians["podman"]
    wire = statistics.median(row["wire_mb"] for row in rows if row["how"] == "porter")
    console.print(f"ratio of medians: {ratio:.3f} (goal: at most 0.333)")
    console.print(f"bytes against podman with zstd: {wire / zstd_mb:.3f} (goal: at most 1)")
    return ratio


def main() -> None:
    """Run the comparison; exit code 1 if Porter misses a goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of moves (ABBA order)")
    parser.add_argument("--megabytes", type=int, default=900, help="size of the values")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    fleet = Fleet("bench")
    fleet.down()
    try:
        fleet.up(HOSTS)
        command = ("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")
        address = fleet.run("onprem", NAME, *command)
        size = str(options.megabytes * 1_000_000)
        fill = [sys.executable, str(LOAD), "fill", address, "6379", "--bytes", size]
        fleet.lab.exec("wan", fill, timeout=600, check=True)
        zstd_mb = peer.archive_mb(fleet, NAME, "onprem", "zstd")
        rows: list[dict[str, Any]] = []
        here, there = HOSTS
        for turn in range(options.rounds):
            pair = ("porter", "podman") if turn % 2 == 0 else ("podman", "porter")
            for how in pair:
                rows.append(one_move(fleet, how, address, here, there))
                Console().print(rows[-1])
                here, there = there, here
        memory = fleet.json("workload", "show", NAME).get("memory_bytes") or 0
        ratio = show(rows, zstd_mb, memory / 1e6)
        if options.out:
            options.out.write_text(json.dumps({"rows": rows, "zstd_mb": zstd_mb, "ratio": ratio}))
    finally:
        fleet.down()
    wire = statistics.median(row["wire_mb"] for row in rows if row["how"] == "porter")
    raise SystemExit(0 if ratio <= 1 / 3 and wire <= zstd_mb else 1)


if __name__ == "__main__":
    main()
