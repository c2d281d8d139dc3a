"""`make demo-clouds`: a busy Redis goes around four clouds and comes home.

Every cloud is a stand-in on this machine that Porter reaches through the cloud's own unmodified
SDK; each machine there is made for the move and removed after it. All that is claimed is checked:
the exit code is 0 only if it held. What it builds stays up for a look around.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from porter.domain.errors import Permanent
from porter.domain.units import bytes_, duration
from porter.lab import demo
from porter.lab.clouds import control
from porter.lab.clouds.furnish import balancer, zone
from porter.lab.demo import PORTER, WORKLOAD, Demo, wait_until
from porter.providers.base import Provider, SiteConfig
from porter.providers.registry import open_site

NAME = "demo-clouds"
HOME = "onprem"
API_PORT = 8471
FILL = 64_000_000
RATE, LEAST_RATE = 300, 50
WARM_UP = 1_000
"""Writes before the first leg, and after each."""
PORT = 6379


class CloudDemo(Demo):
    """One tour. `kinds` are the clouds in the order of the legs."""

    def __init__(
        self,
        console: Console,
        name: str = NAME,
        port: int = API_PORT,
        kinds: tuple[str, ...] = control.KINDS,
    ) -> None:
        super().__init__(console, name, port)
        self.kinds = kinds
        self.sites: dict[str, SiteConfig] = {}
        self.places: dict[str, Provider] = {}
        self.names: dict[str, str] = {}
        """DNS name by site, of the sites that have a zone."""
        self.groups: dict[str, str] = {}
        """Group of a load balancer's targets by site, of those that have one."""
        self.receipts: list[dict[str, Any]] = []

    def run(self) -> None:
        """Do all of it. Raises a PorterError that says what did not hold."""
        self.build()
        self.start_workload()
        writer = self.start_writer()
        try:
            before = self._written(writer, WARM_UP)
            for target in [*self.sites, HOME]:
                self.leg(writer, target)
        finally:
            (self.folder / "stop").touch()
        after = self._end(writer)
        self.check_connection(before, after)
        self.check_values()
        self.check_nothing_is_left()
        self.summary(after)

    # -- before the tour --------------------------------------------------------------------

    def build(self) -> None:
        with self._step("Clear away what an earlier demo left"):
            self.fleet.down()
        with self._step(
            f"Start the clouds {', '.join(self.kinds)}, the host {HOME} and a control plane"
        ) as note:
            self.fleet.up((HOME,), port=self.port, clouds=self.kinds)
            self.folder.mkdir(parents=True, exist_ok=True)
            found = control.sites(self.fleet.lab.directory)
            self.sites = {found[kind].name: found[kind] for kind in self.kinds}
            note(f"sites {', '.join(self.sites)}")
        with self._step("Make DNS zones and load balancers there, as their owners would") as note:
            for site, config in self.sites.items():
                self.places[site] = open_site(config)
                if there := zone(self.places[site]):
                    self.names[site] = f"{WORKLOAD}.{there}"
                if group := balancer(config, WORKLOAD, PORT):
                    self.groups[site] = group
            note(f"endpoints {self.label() or 'none'}")

    def label(self) -> str:
        """The container's label `porter.endpoint`: every name and group that there is."""
        names = [f"dns={name}@{site}" for site, name in self.names.items()]
        groups = [f"lb={group}:{PORT}@{site}" for site, group in self.groups.items()]
        return ",".join([*names, *groups])

    def start_workload(self) -> None:
        with self._step(f"podman run a Redis called {WORKLOAD} on {HOME}"):
            options = ["--volume", f"{demo.VOLUME}:/data", "--restart", "on-failure"]
            if self.label():
                options += ["--label", f"porter.endpoint={self.label()}"]
            self.address = self.fleet.run(HOME, WORKLOAD, *demo.REDIS, options=options)
            wait_until("Redis to answer", self._answers)
        with self._step(f"Fill it with {bytes_(FILL)} of JSON values") as note:
            filled = self._client("fill", "--bytes", str(FILL))
            note(f"{filled['keys']} keys at {self.address}:{PORT}")

    def start_writer(self) -> subprocess.Popen[str]:
        """A client on one TCP connection, which it never opens again."""
        with self._step(f"A client writes {RATE} values a second on one TCP connection") as note:
            words = ("--rate", str(RATE), "--log", str(self.folder / "log"))
            files = ("--status", str(self.folder / "status"), "--stop", str(self.folder / "stop"))
            with (self.folder / "writer.out").open("w") as out:
                writer = self.fleet.lab.popen(
                    "wan", self._argv("write", *words, *files), stdout=out, stderr=out, text=True
                )
            note(self._written(writer, 1)["connection"])
        return writer

    # -- one leg ----------------------------------------------------------------------------

    def leg(self, writer: subprocess.Popen[str], target: str) -> None:
        """Move there, on a machine made for it; look whether everything followed."""
        begun = self._written(writer, 1)["acknowledged"]
        left = self._where()
        self.receipts.append(self.migrate(target))
        self._written(writer, begun + WARM_UP)
        host = self._where()
        with self._step(f"It runs at {target}, and nowhere else"):
            self._require(target in (host["site"], host["name"]), f"it is at {host['site']}")
            machines = {row["name"] for row in self.fleet.lab.status()["hosts"]}
            running = self.fleet.running(WORKLOAD, sorted(machines & {host["name"], HOME}))
            self._require(running == [host["name"]], f"it runs on {running}")
        for site in self.names | self.groups:
            self._check_endpoints(site, host)
        if left["machine"]:
            with self._step(f"The machine that it left at {left['site']} is terminated"):
                wait_until(f"{left['name']} to go", lambda: not self._left_at(left["site"]), 120)

    def migrate(self, target: str) -> dict[str, Any]:
        """`porter migrate`, shown as people see it; returns the receipt."""
        words = ("migrate", WORKLOAD, "--to", target, "--release")
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
        self._require(receipt["bytes"]["memory"] >= FILL, "the receipt tells too little memory")
        self._require(bool(receipt["verified"]), "the digests were not compared")
        self._require(receipt["connections"]["closed"] == 0, "connections were closed")
        self._require(receipt["cost"]["egress"]["bytes"] > 0, "the receipt tells no cost")
        return receipt

    def _check_endpoints(self, site: str, host: dict[str, Any]) -> None:
        place, wanted = self.places[site], self._reached_at(host)
        with self._step(f"{site} leads there, says its own SDK") as note:
            if site in self.names and place.dns:
                record = place.dns.record(self.names[site])
                found = [] if record is None else list(record.weights)
                self._require(found == [wanted], f"{self.names[site]} is {found}, not {wanted}")
                note(f"{self.names[site]} A {wanted}")
            if site in self.groups and place.balancing:
                targets = list(place.balancing.targets(self.groups[site]))
                ours = host["facts"]["underlay"] if host["site"] == site else wanted
                self._require(
                    targets in ([f"{wanted}:{PORT}"], [f"{ours}:{PORT}"]),
                    f"the targets of {self.groups[site]} are {targets}, not {wanted}",
                )
                note(f"targets of {self.groups[site]}: {', '.join(targets)}")

    def _reached_at(self, host: dict[str, Any]) -> str:
        """The address by which its own cloud says that a host is reached."""
        lifecycle = self.places[host["site"]].hosts if host["site"] in self.places else None
        if lifecycle and host["machine"]:
            for thing in self.fleet.json("site", "sweep", host["site"]):
                one = lifecycle.find(thing["key"])
                if one and one.id == host["machine"]["instance"] and one.public_address:
                    return one.public_address
        return str(host["facts"]["underlay"])

    # -- after the tour ---------------------------------------------------------------------

    def check_connection(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        with self._step("The client's connection, opened before the tour, was never reset") as note:
            self._require(after["connection"] == before["connection"], "it was another connection")
            self._require(after["rate"] >= LEAST_RATE, f"only {after['rate']:.0f} writes a second")
            note(
                f"{after['acknowledged']} writes, {after['rate']:.0f} a second; "
                f"longest gap {duration(after['longest_gap_ms'])}"
            )

    def check_values(self) -> None:
        with self._step("Every acknowledged write is there, and the digest of all equals") as note:
            words = ("--bytes", str(FILL), "--log", str(self.folder / "log"))
            found = self._client("verify", *words)
            note(f"{found['keys']} values, {found['writes']} writes, {found['found'][:16]}…")

    def check_nothing_is_left(self) -> None:
        with self._step("No cloud has a machine of ours any more, nor anything that costs money"):
            for site in self.sites:
                left = self._left_at(site)
                self._require(not left, f"{left} is left at {site}")

    def summary(self, after: dict[str, Any]) -> None:
        """A line per leg."""
        table = Table("FROM", "TO", "TIME", "DOWNTIME", "WIRE", "TRAFFIC", "MACHINE", box=None)
        for receipt in self.receipts:
            cost = receipt["cost"]
            table.add_row(
                *(receipt["from"], receipt["to"]),
                *(duration(receipt["total_ms"]), duration(receipt["downtime_ms"])),
                *(bytes_(receipt["bytes"]["wire"]), _price(cost["egress"])),
                _price(cost["target"], " an hour") if cost["target"] else "own",
            )
        self.console.print(table)
        self.console.print(
            f"\n[bold green]{WORKLOAD} went around {len(self.kinds)} clouds and came home:[/] one "
            f"connection, {after['acknowledged']} writes, none lost, no machine left behind."
        )
        self.look_around(f"migrate {WORKLOAD} --to {next(iter(self.sites))} --release")

    # -- inside -----------------------------------------------------------------------------

    def _where(self) -> dict[str, Any]:
        """The host that the workload is on, as `porter host ls` shows it."""
        workload = self.fleet.json("workload", "show", WORKLOAD)
        for host in self.fleet.json("host", "ls"):
            if workload["host"] in (host["id"], host["name"]):
                found: dict[str, Any] = host
                return found
        raise Permanent(f"cannot find the host of {WORKLOAD}: {workload['host']}")

    def _left_at(self, site: str) -> list[str]:
        """What a site's SDK shows with our tags, and the lab's hosts that are machines of it."""
        tagged = [str(one["id"]) for one in self.fleet.json("site", "sweep", site)]
        kind = f"{self.sites[site].kind}/"
        hosts = self.fleet.lab.status()["hosts"]
        return tagged + [row["name"] for row in hosts if row["machine"].startswith(kind)]


def _price(quote: dict[str, Any], per: str = "") -> str:
    if quote.get("amount") is None:
        return "unknown"
    return f"{quote['amount']} {quote.get('currency', '')}".strip() + per


def main() -> int:
    """Run the demo; returns the exit code."""
    return demo.main(CloudDemo, "make demo-clouds")


if __name__ == "__main__":
    sys.exit(main())
