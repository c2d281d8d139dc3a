"""`make demo`: build a hybrid cloud on this machine and move a busy Redis across it.

Everything that is claimed is checked; the exit code is 0 only if all of it held. What it builds
stays up for a look around; running it again begins afresh.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule

from porter.domain.errors import Permanent, PorterError
from porter.domain.units import bytes_, duration
from porter.domain.workload import NETWORK
from porter.lab import load
from porter.lab.fleet import PORTER, Fleet, wait_until

NAME = "demo"
SOURCE, TARGET = "onprem", "cloud"
WORKLOAD = "shop"
VOLUME = "shop-data"
API_PORT = 8470
FILL = 230_000_000
"""Bytes of values; the promise is 200 MB."""
RATE, LEAST_RATE = 1000, 500
WARM_UP = 5_000
"""Writes before the move begins, and again after it."""
REDIS = (
    *("redis-server", "--bind", "0.0.0.0", "--port", "6379", "--protected-mode", "no"),
    *("--dir", "/data", "--save", "", "--appendonly", "no"),
)


class Demo:
    """One run of the demo."""

    def __init__(self, console: Console, name: str = NAME, port: int = API_PORT) -> None:
        self.console = console
        self.port = port
        self.fleet = Fleet(name)
        self.folder = self.fleet.lab.directory / "load"
        self.address = ""

    def run(self) -> None:
        """Do all of it. Raises a PorterError that says what did not hold."""
        self.build()
        self.start_workload()
        writer = self.start_writer()
        try:
            before = self._written(writer, WARM_UP)
            receipt = self.move()
            self._written(writer, before["acknowledged"] + WARM_UP)
        finally:
            (self.folder / "stop").touch()
        after = self._end(writer)
        self.check_client(before, after, receipt)
        self.check_values()
        self.check_places()
        self.farewell(receipt, after)

    # -- before the move --------------------------------------------------------------------

    def build(self) -> None:
        with self._step("Clear away what an earlier demo left"):
            self.fleet.down()
        with self._step(
            f"Build a hybrid cloud: hosts {SOURCE} and {TARGET}, control plane and agents"
        ):
            self.fleet.up((SOURCE, TARGET), port=self.port)
            wait_until("the workload network", self._has_network)
            self.folder.mkdir(parents=True, exist_ok=True)

    def start_workload(self) -> None:
        with self._step(f"podman run a Redis called {WORKLOAD} on {SOURCE}"):
            options = ("--volume", f"{VOLUME}:/data", "--restart", "on-failure")
            self.address = self.fleet.run(SOURCE, WORKLOAD, *REDIS, options=options)
            wait_until("Redis to answer", self._answers)
        with self._step(f"Fill it with {bytes_(FILL)} of JSON values") as note:
            filled = self._client("fill", "--bytes", str(FILL))
            note(f"{filled['keys']} keys at {self.address}:6379")

    def start_writer(self) -> subprocess.Popen[str]:
        """A client on one TCP connection, which it never opens again."""
        with self._step(f"A client writes {RATE} values a second on one TCP connection") as note:
            words = ("--rate", str(RATE), "--log", str(self.folder / "log"))
            files = ("--status", str(self.folder / "status"), "--stop", str(self.folder / "stop"))
            argv = self._argv("write", *words, *files)
            with (self.folder / "writer.out").open("w") as out:
                writer = self.fleet.lab.popen("wan", argv, stdout=out, stderr=out, text=True)
            note(self._written(writer, 1)["connection"])
        return writer

    # -- the move ---------------------------------------------------------------------------

    def move(self) -> dict[str, Any]:
        """`porter migrate`, shown as people see it; returns the receipt."""
        words = ("migrate", WORKLOAD, "--to", TARGET)
        self.console.print(Rule(f"porter {' '.join(words)}"))
        done = subprocess.run(
            [*PORTER, *words], env=self.fleet.environment, check=False, timeout=300
        )
        self.console.print(Rule())
        if done.returncode:
            raise Permanent(f"cannot go on: porter migrate ended with exit code {done.returncode}")
        newest = self.fleet.json("migration", "ls")[0]
        receipt: dict[str, Any] = self.fleet.json("migration", "show", str(newest["id"]))
        self._require(receipt["state"] == "succeeded", f"the move {receipt['state']}")
        self._require(bool(receipt["downtime_ms"]), "the receipt does not tell the downtime")
        self._require(receipt["bytes"]["memory"] >= FILL, "the receipt tells too little memory")
        self._require(bool(receipt["phases"]), "the receipt does not tell the phases")
        self._require(bool(receipt["verified"]), "the digests were not compared")
        return receipt

    # -- after the move ---------------------------------------------------------------------

    def check_client(
        self, before: dict[str, Any], after: dict[str, Any], receipt: dict[str, Any]
    ) -> None:
        with self._step("The client's connection, opened before the move, was never reset") as note:
            self._require(after["connection"] == before["connection"], "it was another connection")
            for numbers in (before, after):
                enough = numbers["rate"] >= LEAST_RATE
                self._require(enough, f"the client wrote only {numbers['rate']:.0f} a second")
            gap, frozen = after["longest_gap_ms"], receipt["downtime_ms"]
            note(
                f"{after['acknowledged']} writes, {after['rate']:.0f} a second; "
                f"longest gap {duration(gap)} (downtime {duration(frozen)})"
            )

    def check_values(self) -> None:
        with self._step("Every acknowledged write is there, and the digest of all equals") as note:
            words = ("--bytes", str(FILL), "--log", str(self.folder / "log"))
            found = self._client("verify", *words)
            note(f"{found['keys']} values, {found['writes']} writes, {found['found'][:16]}…")

    def check_places(self) -> None:
        with self._step(f"It runs on {TARGET} and is gone from {SOURCE}"):
            places = {
                host: self.fleet.podman(host, "ps", "--all", "--format", "{{.Names}}").split()
                for host in (SOURCE, TARGET)
            }
            self._require(WORKLOAD in places[TARGET], f"podman on {TARGET} does not show it")
            self._require(WORKLOAD not in places[SOURCE], f"podman on {SOURCE} still shows it")
            running = self.fleet.running(WORKLOAD, (SOURCE, TARGET))
            self._require(running == [TARGET], f"it runs on {running or 'no host'}")
        for host in (SOURCE, TARGET):
            self.console.print(f"\n[dim]{host}#[/] podman ps")
            columns = "table {{.Names}}\t{{.Image}}\t{{.Status}}\t{{.Command}}"
            self.console.print(self.fleet.podman(host, "ps", "--format", columns), markup=False)

    def farewell(self, receipt: dict[str, Any], after: dict[str, Any]) -> None:
        """What was seen in one sentence, and what can be done next."""
        say = self.console.print
        say(
            f"\n[bold green]{WORKLOAD} moved from {SOURCE} to {TARGET} with its memory, files, "
            f"address and connections:[/] {duration(receipt['downtime_ms'])} of downtime, "
            f"the client waited {duration(after['longest_gap_ms'])} at most."
        )
        self.look_around(f"migrate {WORKLOAD} --to {SOURCE}")

    def look_around(self, command: str) -> None:
        """What can be done next."""
        say = self.console.print
        environment = " ".join(f"{k}={self.fleet.environment[k]}" for k in _TO_PLAY)
        porter = Path(sys.executable).with_name("porter")
        say(f"\nDashboard   {self.fleet.environment['PORTER_API']}/", soft_wrap=True)
        say(f"            log in with the token in {self.fleet.state}/api-token", soft_wrap=True)
        say(f"Look around export {environment}", soft_wrap=True, markup=False)
        say(f"            {porter} workload ls", soft_wrap=True, markup=False)
        say(f"            {porter} {command}", soft_wrap=True, markup=False)
        say(f"Clean up    {porter} down --state {self.fleet.state}", soft_wrap=True, markup=False)
        say(f"            {porter} lab down --name {self.fleet.lab.name}", soft_wrap=True)

    # -- inside -----------------------------------------------------------------------------

    @contextmanager
    def _step(self, title: str) -> Iterator[Any]:
        """Say what is being done and, when it is done, how long it took."""
        notes: list[str] = []
        begun = time.monotonic()
        try:
            with self.console.status(f"{title} …"):
                yield notes.append
        except BaseException:
            self.console.print(f"[red]✗[/] {title}")
            raise
        took = duration((time.monotonic() - begun) * 1000)
        self.console.print(f"[green]✓[/] {title} [dim]({took})[/]")
        for note in notes:
            self.console.print(f"  [dim]{note}[/]", soft_wrap=True)

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise Permanent(f"cannot call it a success: {otherwise}")

    def _argv(self, verb: str, *words: str) -> list[str]:
        return [sys.executable, load.__file__, verb, self.address, "6379", *words]

    def _client(self, verb: str, *words: str) -> dict[str, Any]:
        """Run one verb of the client program beside the workload's other clients."""
        done = self.fleet.lab.exec("wan", self._argv(verb, *words), timeout=180)
        answer: dict[str, Any] = _parsed(done.stdout, done.stderr)
        self._require("error" not in answer, str(answer.get("error")))
        return answer

    def _has_network(self) -> bool:
        """A host is known a moment before it has made the network for its workloads."""
        look = ["podman", "network", "exists", NETWORK]
        return all(self.fleet.lab.exec(h, look).returncode == 0 for h in (SOURCE, TARGET))

    def _answers(self) -> bool:
        probe = ["timeout", "2", "redis-cli", "-h", self.address, "ping"]
        return "PONG" in self.fleet.lab.exec("wan", probe, timeout=10).stdout

    def _written(self, writer: subprocess.Popen[str], count: int) -> dict[str, Any]:
        """The writer's numbers once so many writes were acknowledged."""

        def numbers() -> dict[str, Any] | None:
            if writer.poll() is not None:
                self._end(writer)
            try:
                found: dict[str, Any] = json.loads((self.folder / "status").read_text())
            except FileNotFoundError:
                return None
            return found if found["acknowledged"] >= count else None

        found: dict[str, Any] = wait_until(f"the client's write number {count}", numbers, 60)
        return found

    def _end(self, writer: subprocess.Popen[str]) -> dict[str, Any]:
        writer.wait(timeout=load.SILENCE_S + 10)
        text = (self.folder / "writer.out").read_text()
        answer = _parsed(text, text)
        self._require(
            "error" not in answer, f"the client's connection broke: {answer.get('error')}"
        )
        return answer


_TO_PLAY = ("PORTER_API", "PORTER_STATE")


def _parsed(text: str, complaint: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(text.strip().rpartition("\n")[2])
    except ValueError:
        return {"error": complaint.strip().rpartition("\n")[2] or "the client said nothing"}
    return answer


def main(make: type[Demo] = Demo, command: str = "make demo") -> int:
    """Run the demo; returns the exit code."""
    console = Console(highlight=False)
    if os.geteuid() != 0:
        console.print("porter: cannot run the demo: it needs root; run it again with sudo")
        return 2
    demo = make(console)
    begun = time.monotonic()
    try:
        demo.run()
    except (PorterError, subprocess.SubprocessError, OSError) as error:
        console.print(f"\n[bold red]The demo failed:[/] {error}", soft_wrap=True)
        console.print(f"What it built is left for a look: {demo.fleet.lab.directory}")
        console.print(f"'{command}' begins afresh, 'make clean' removes it all.")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped. 'make clean' removes what was built.")
        return 130
    console.print(f"[dim]All of it took {duration((time.monotonic() - begun) * 1000)}.[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
