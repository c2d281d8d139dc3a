"""A price changes, and two busy workloads go where it is cheaper: by schedule, with approval, on a
machine made for them, away from one that ends. What the receipt says was saved is reckoned anew
from what the clouds' stand-ins themselves remember of their machines.

A machine costs about a dollar a second here, so that a second that is wrong shows in the cents.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from porter import settings as settings_module
from porter.domain.identity import Grant, Permission, Role
from porter.lab.clouds import control
from porter.lab.fleet import Fleet, wait_until
from porter.providers.base import SiteConfig
from porter.wiring import control_plane
from tests.e2e.conftest import FAMILY, Client

pytestmark = pytest.mark.e2e
AWS, GCP = "aws:eu-west-1", "gcp:europe-west1"
TYPES = {AWS: "m5.large", GCP: "e2-standard-2"}
SETTING = {AWS: "instance_types", GCP: "machine_types"}
CHEAP, MIDDLING, DEAR = Decimal(1800), Decimal(3600), Decimal(7200)
"""USD an hour."""
PER_GB = Decimal("0.09")
WORKLOADS = ("shop", "cart")
PROGRAM = ("python3", "-u", "-c", FAMILY)
POLICY = """\
version: 1
name: two-clouds
project: default
workloads: [shop, cart]
residency: {allow: ["aws:", "gcp:"]}
approval: {to: ["gcp:"]}
"""


class Prices:
    """What the two clouds ask for, in files as an operator keeps them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, site: str) -> Path:
        return self._folder / f"{site.partition(':')[0]}.toml"

    def set(self, site: str, hourly: Decimal) -> None:
        """As of now; the file is replaced at once."""
        text = (
            f'currency = "USD"\nas_of = {datetime.now(UTC).isoformat(timespec="seconds")}\n'
            f'[types."{TYPES[site]}"]\nhour = {hourly}\n[egress]\ninternet = {PER_GB}\n'
        )
        fresh = self.path(site).with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.path(site))


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Prices:
    made = Prices(tmp_path_factory.mktemp("prices"))
    made.set(AWS, CHEAP)
    made.set(GCP, MIDDLING)
    return made


@pytest.fixture(scope="module")
def fleet(prices: Prices) -> Iterator[Fleet]:
    fleet = Fleet(f"r{os.getpid()}", {"PORTER_PRICES_EVERY": "5"})
    try:
        fleet.up(("onprem",), clouds=["aws", "gcp"])
        for site in clouds(fleet).values():
            own = {"price_file": str(prices.path(site.name)), SETTING[site.name]: TYPES[site.name]}
            fleet.porter("site", "rm", site.name)
            words = [f"{key}={value}" for key, value in {**site.settings, **own}.items()]
            words = [word for one in words for word in ("--set", one)]
            hidden = [word for one in secrets(site, prices) for word in ("--secret", one)]
            fleet.porter("site", "add", site.name, *words, *hidden)
        yield fleet
    finally:
        fleet.down()


def secrets(site: SiteConfig, prices: Prices) -> Iterator[str]:
    """As the command line takes them: from files."""
    for key, value in site.secrets.items():
        path = prices.path(site.name).with_suffix(f".{key}")
        path.write_text(value)
        yield f"{key}={path}"


def clouds(fleet: Fleet) -> dict[str, SiteConfig]:
    return {one.name: one for one in control.sites(fleet.lab.directory).values()}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture(scope="module")
def approver(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token of somebody who may approve, in a file."""
    plane = control_plane(settings_module.load({"PORTER_STATE": str(fleet.state)}))
    now = time.time()
    ben = plane.identity.login("https://id.example", "ben", "Ben", "", now)
    plane.identity.grant(ben.id, Grant("*", Role.APPROVER), "root", now)
    scopes = [Permission.READ, Permission.APPROVE]
    secret, _ = plane.identity.add_token("ben", ben.id, "*", scopes, now + 3600, now)
    plane.close()
    path = tmp_path_factory.mktemp("ben") / "token"
    path.write_text(secret)
    path.chmod(0o600)
    return path


# ---------------------------------------------------------------- what the clouds remember


def aws_history(fleet: Fleet) -> list[tuple[datetime, datetime | None]]:
    """Begin and end of every machine, asked of EC2 by boto3 and nothing else."""
    import boto3

    site = clouds(fleet)[AWS]
    ec2 = boto3.client(
        "ec2",
        region_name=site.region,
        endpoint_url=site.settings["endpoint_url"],
        aws_access_key_id=site.secrets["access_key_id"],
        aws_secret_access_key=site.secrets["secret_access_key"],
    )
    found = []
    for reservation in ec2.describe_instances()["Reservations"]:
        for one in reservation["Instances"]:
            told = re.search(r"\((.*) (?:UTC|GMT)\)", one.get("StateTransitionReason", ""))
            end = None if told is None else datetime.fromisoformat(told[1]).replace(tzinfo=UTC)
            found.append((one["LaunchTime"], end))
    return found


def gcp_begin(fleet: Fleet, instance: str) -> datetime:
    """When a machine that runs began, from Compute Engine's own client library."""
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import compute_v1

    site = clouds(fleet)[GCP]
    client = compute_v1.InstancesClient(
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=site.settings["endpoint"]),
    )
    zone, _, name = instance.partition("/")
    with client:
        one = client.get(project=site.settings["project"], zone=zone, instance=name)
    assert one.status == "RUNNING"
    return datetime.fromisoformat(one.creation_timestamp)


def cost(hourly: Decimal, begin: datetime, end: datetime) -> Decimal:
    return hourly * Decimal(str((end - begin).total_seconds())) / 3600


# ---------------------------------------------------------------- the story


@contextmanager
def asking(fleet: Fleet, address: str, folder: Path) -> Iterator[Client]:
    """A client on one connection, which is never opened again."""
    one = Client(fleet, "ask.py", address, "7000", folder=folder)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def hosts_at(fleet: Fleet, site: str) -> list[str]:
    return [row["name"] for row in fleet.json("host", "ls") if row["site"] == site]


def homes(fleet: Fleet) -> set[str]:
    return {row["host"] for row in fleet.json("workload", "ls") if row["name"] in WORKLOADS}


def runs(fleet: Fleet, trigger: str) -> list[dict[str, Any]]:
    found = [one for one in fleet.json("rebalance", "ls") if one["trigger"] == trigger]
    return [one for one in found if one["state"] == "done"]


def soon() -> str:
    """A cron expression that comes true once, in a minute or two."""
    at = datetime.now(UTC) + timedelta(seconds=65)
    return f"{at.minute} {at.hour} {at.day} {at.month} *"


def test_a_price_change_moves_two_workloads(
    fleet: Fleet, prices: Prices, approver: Path, tmp_path: Path, stack: ExitStack
) -> None:
    addresses = {
        name: fleet.run("onprem", name, *PROGRAM, options=("-v", f"{name}:/data"))
        for name in WORKLOADS
    }
    first = fleet.migrate("shop", AWS)
    assert first["state"] == "succeeded", first["reason"]
    (old,) = hosts_at(fleet, AWS)
    second = fleet.migrate("cart", old)
    assert second["state"] == "succeeded", second["reason"]
    assert homes(fleet) == {old}
    clients = [stack.enter_context(asking(fleet, addresses[one], tmp_path)) for one in WORKLOADS]

    rule = tmp_path / "policy.yaml"
    rule.write_text(POLICY)
    fleet.porter("policy", "apply", str(rule))
    fleet.porter(
        *("schedule", "add", "cheapest", "--cron", soon(), "--auto", "execute"),
        *("--days", "1", "--price-change", "10"),
    )
    wait_until("the schedule's clock", lambda: runs(fleet, "cron"), 150)
    assert fleet.json("proposal", "ls") == []
    told = fleet.json("proposal", "explain", "shop")
    assert told["outcome"] == "stays"
    assert told["remedy"]
    print(told)

    prices.set(GCP, CHEAP)  # no dearer than where they are: by itself it moves nothing
    prices.set(AWS, DEAR)
    wait_until("the price to be noticed", lambda: fleet.json("proposal", "ls"), 90)
    assert runs(fleet, "price")
    (proposed,) = fleet.json("proposal", "ls")
    assert proposed["state"] == "waiting"
    content = proposed["content"]
    assert {move["workload"] for move in content["moves"]} == set(WORKLOADS)
    assert content["ended"] == [old]
    refused = fleet.try_porter("proposal", "execute", proposed["id"])
    assert refused.returncode == 2
    assert "approval" in refused.stderr
    ben = Fleet(fleet.lab.name, {**fleet.environment, "PORTER_API_TOKEN_FILE": str(approver)})
    ben.porter("proposal", "approve", proposed["id"], "--hash", proposed["hash"])
    done = fleet.json("proposal", "execute", proposed["id"], timeout=240)
    assert done["state"] == "done", done["reason"]

    (new,) = hosts_at(fleet, GCP)
    assert homes(fleet) == {new}
    assert fleet.running("shop", [new]) == fleet.running("cart", [new]) == [new]
    wait_until("the emptied machine to go", lambda: not hosts_at(fleet, AWS), 60)
    for one in clients:
        report = one.report()  # fails if its connection broke
        assert report["answers"] > 100
        assert report["first"]["secret"] == report["last"]["secret"]
    check_the_bill(fleet, proposed["id"])


def check_the_bill(fleet: Fleet, proposal: str) -> None:
    """The receipt against the clouds' own histories, to the cent."""
    receipt = fleet.json("proposal", "show", proposal)["receipt"]
    assert not receipt["unknown"]
    started, as_of = (datetime.fromisoformat(receipt[key]) for key in ("started_at", "as_of"))
    ((aws_begin, aws_end),) = aws_history(fleet)
    assert aws_begin < started < (aws_end or started) < as_of
    assert aws_end is not None
    (row,) = (row for row in fleet.json("host", "ls") if row["site"] == GCP)
    begun = gcp_begin(fleet, row["machine"]["instance"])
    staying = cost(DEAR, started, as_of)
    moved = fleet.json("migration", "ls")[: len(WORKLOADS)]
    wire = sum(fleet.json("migration", "show", one["id"])["bytes"]["wire"] for one in moved)
    traffic = PER_GB * Decimal(wire) / 10**9
    paid = cost(DEAR, started, aws_end) + cost(CHEAP, begun, as_of) + traffic
    assert abs(Decimal(receipt["staying"]) - staying) < Decimal("0.01")
    assert abs(Decimal(receipt["paid"]) - paid) < Decimal("0.01")
    assert abs(Decimal(receipt["saving"]) - (staying - paid)) < Decimal("0.01")
    print(f"staying {staying:.2f}, paid {paid:.2f}, saving {receipt['saving']}")
