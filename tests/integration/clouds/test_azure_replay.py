"""Against the real Azure, as far as it can be had offline: Microsoft's recorded sessions.

Twice: the SDKs of today, driven as the adapter drives them, live through the recorded sessions; and
the stand-in is asked what Azure was asked then, and must answer in the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from porter.lab.clouds.azure import LOCATION, SUBSCRIPTION, cache
from porter.lab.clouds.azure.checks import MODELS, Checker
from porter.lab.clouds.azure.compute import SIZES
from porter.lab.clouds.azure.wire import Arm, Server
from porter.lab.clouds.azure.world import Request, World
from porter.providers.azure import operations
from porter.providers.azure.client import Clients
from porter.providers.azure.place import Place
from tests.integration.clouds.azure_recordings import Exchange, Replayer, session

VM = "test_mgmt_compute_vm.pyTestMgmtComputetest_compute_vm.json"
DISKS = "test_mgmt_compute_disks.pyTestMgmtComputetest_compute_disks.json"
NIC = "test_mgmt_network.test_network_interface_card.yaml"
NIC_WITH_ADDRESS = "test_cli_mgmt_network_interface.test_network.yaml"
ADDRESSES = "test_cli_mgmt_network_ip_addresses.test_network.yaml"
BALANCER = "test_cli_mgmt_network_load_balancer.test_network.yaml"
ZONE = "test_mgmt_dns.test_public_zone.yaml"


# -- today's SDKs in yesterday's sessions ---------------------------------------------------


@contextmanager
def replayed(tmp_path: Path, name: str) -> Iterator[tuple[Replayer, Callable[[], Clients]]]:
    """A server that replays the session, and a way to fresh clients on it."""
    replayer = Replayer(session(name))
    server = Server(replayer.answer, "127.0.0.1", tmp_path / "authority.pem")
    replayer.base = server.url
    place = Place(
        site="azure:recorded",
        region="eastus",
        subscription=SUBSCRIPTION,
        resource_group="rgname",
        subnet="",
        image="",
        image_arm64="",
        instance_types=(),
        ssh_key="",
        admin_user="",
        zone="",
        dns_resource_group="",
        base_url=server.url,
        connection_verify=str(tmp_path / "authority.pem"),
    )
    try:
        yield replayer, lambda: Clients(place, {"token": "any"})
    finally:
        server.stop()


def driven(begin: Callable[[Clients], Callable[..., Any]], fresh: Callable[[], Clients]) -> Any:
    """To its end as the adapter does: one look per call, each in a client of its own."""
    token = ""
    for _ in range(40):
        _, resume = operations.read(token)
        outcome = operations.drive("any", begin(fresh()), resume)
        if outcome.pending is None:
            return outcome.result
        token = outcome.pending.token
    raise AssertionError("the recorded operation never ended")


def asked(name: str, method: str, part: str) -> Exchange:
    found = [one for one in session(name) if one.method == method and part in one.path]
    assert found, f"{name} has no {method} {part}"
    return found[0]


def test_a_recorded_machine_comes_stops_and_goes(tmp_path: Path) -> None:
    make = asked(VM, "PUT", "/virtualMachines/")
    name = make.path.rsplit("/", 1)[1]
    with replayed(tmp_path, VM) as (replayer, fresh):

        def of(method: str, *rest: Any, **options: Any) -> Any:
            return lambda clients: partial(
                getattr(clients.compute.virtual_machines, method), "rgname", name, *rest, **options
            )

        made = driven(of("begin_create_or_update", make.asked), fresh)
        assert made["properties"]["provisioningState"] == "Succeeded"
        assert made["properties"]["vmId"] == make.told["properties"]["vmId"]
        driven(of("begin_power_off", skip_shutdown=False), fresh)
        driven(of("begin_delete"), fresh)
        assert replayer.differing == []
        served = [f"{one.method} {one.status}" for one in replayer.served]
        assert served.count("PUT 201") == 1
        assert served.count("POST 202") == 1
        assert served.count("DELETE 202") == 1
        assert served.count("GET 200") >= 6


@pytest.mark.parametrize(
    ("recording", "kind", "operations_name"),
    [
        (NIC_WITH_ADDRESS, "/networkInterfaces/", "network_interfaces"),
        (NIC, "/networkInterfaces/", "network_interfaces"),
        (ADDRESSES, "/publicIPAddresses/", "public_ip_addresses"),
        (BALANCER, "/loadBalancers/", "load_balancers"),
    ],
)
def test_a_recorded_part_of_the_network_is_made(
    tmp_path: Path, recording: str, kind: str, operations_name: str
) -> None:
    make = asked(recording, "PUT", kind)
    with replayed(tmp_path, recording) as (replayer, fresh):
        pieces = make.path.split("/")

        def begin(clients: Clients) -> Callable[..., Any]:
            found = getattr(clients.network, operations_name)
            return partial(found.begin_create_or_update, pieces[4], pieces[-1], make.asked)

        made = driven(begin, fresh)
        assert made["properties"]["provisioningState"] == "Succeeded"
        assert made["id"].lower() == make.told["id"].lower()
        assert replayer.differing == []


@pytest.mark.parametrize(
    ("recording", "kind", "package", "operations_name"),
    [
        (NIC, "/networkInterfaces/", "network", "network_interfaces"),
        (ADDRESSES, "/publicIPAddresses/", "network", "public_ip_addresses"),
        (DISKS, "/disks/", "compute", "disks"),
    ],
)
def test_a_recorded_part_goes(
    tmp_path: Path, recording: str, kind: str, package: str, operations_name: str
) -> None:
    gone = asked(recording, "DELETE", kind)
    with replayed(tmp_path, recording) as (replayer, fresh):
        pieces = gone.path.split("/")

        def begin(clients: Clients) -> Callable[..., Any]:
            found = getattr(getattr(clients, package), operations_name)
            return partial(found.begin_delete, pieces[4], pieces[-1])

        assert driven(begin, fresh) is None
        assert replayer.served[0].method == "DELETE"
        assert len(replayer.served) > 1, "the operation was followed"


def test_a_recorded_record_set(tmp_path: Path) -> None:
    from azure.mgmt.dns.models import ARecord, RecordSet

    make = asked(ZONE, "PUT", "/A/")
    pieces = make.path.split("/")
    group, zone, name = pieces[4], pieces[8], pieces[-1]
    with replayed(tmp_path, ZONE) as (replayer, fresh):
        records = fresh().dns.record_sets
        values = [
            ARecord(ipv4_address=one["ipv4Address"]) for one in make.asked["properties"]["ARecords"]
        ]
        body = RecordSet(ttl=make.asked["properties"]["TTL"], a_records=values)
        assert records.create_or_update(group, zone, name, "A", body).fqdn == f"{name}.{zone}."
        found = records.get(group, zone, name, "A")
        assert [one.ipv4_address for one in found.a_records or ()] == ["1.2.3.4", "5.6.7.8"]
        records.delete(group, zone, name, "A")
        assert replayer.differing == []


# -- the schemas hold what Azure took, and no more ------------------------------------------


@pytest.mark.parametrize("recording", [VM, NIC, NIC_WITH_ADDRESS, ADDRESSES, BALANCER, ZONE])
def test_what_azure_accepted_is_valid(recording: str) -> None:
    checker = Checker(cache() / "schemas")
    checked = 0
    for one in session(recording):
        request = Request(one.method, one.target, {}, one.asked)
        if one.method == "PUT" and request.kind.lower() in MODELS:
            checked += 1
            assert checker.violations(request) == []
    assert checked


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("properties/hardwareProfile/vmSize", 5, "vmSize"),
        ("properties/hardwareProfil", {}, "is not in VirtualMachineProperties"),
        ("properties/provisioningState", "Succeeded", "read-only"),
        ("properties/storageProfile/osDisk/deleteOption", "Remove", "no DiskDeleteOptionTypes"),
        ("properties/storageProfile/osDisk/createOption", None, "createOption"),
        ("properties/networkProfile/networkInterfaces", {}, "networkInterfaces"),
        ("location", None, "location"),
    ],
)
def test_what_azure_would_not_take_is_found(path: str, value: Any, complaint: str) -> None:
    import copy

    make = asked(VM, "PUT", "/virtualMachines/")
    body = copy.deepcopy(make.asked)
    *parents, last = path.split("/")
    place = body
    for one in parents:
        place = place[one]
    place[last] = value
    if value is None:
        del place[last]
    found = Checker(cache() / "schemas").violations(Request("PUT", make.target, {}, body))
    assert found
    assert complaint in "; ".join(found)


# -- the stand-in answers as Azure did ------------------------------------------------------


def shape(value: Any, path: str = "") -> set[str]:
    """All places of an answer that hold something, whatever it is; those of a list together."""
    if isinstance(value, dict):
        found = {place for key, one in value.items() for place in shape(one, f"{path}/{key}")}
        return found | {path}
    if isinstance(value, list):
        return {path} | {place for one in value for place in shape(one, f"{path}[]")}
    return {path}


UNTOLD = (
    # Windows machines and their agents, accounts that tag what is made, and extensions.
    "windowsConfiguration", "/tags", "/identity", "/resources", "exactVersion", "dataDisks",
    # What nobody here asks of a balancer, an interface or a zone.
    "outboundRules", "inboundNat", "loadDistribution", "/properties/frontendIPConfigurations",
    "loadBalancingRules[]/properties", "probes[]/properties", "backendAddressPools[]/properties",
    "maxNumberOf", "zoneType",
)  # fmt: skip


def told(found: set[str]) -> set[str]:
    return {one for one in found if not any(word in one for word in UNTOLD)}


@pytest.mark.parametrize(
    ("recording", "kinds"),
    [
        (VM, ("virtualnetworks", "subnets", "networkinterfaces", "virtualmachines")),
        (
            NIC_WITH_ADDRESS,
            ("virtualnetworks", "subnets", "publicipaddresses", "networkinterfaces"),
        ),
        (ADDRESSES, ("publicipaddresses",)),
        (BALANCER, ("publicipaddresses", "loadbalancers")),
        (ZONE, ("dnszones", "a")),
    ],
)
def test_the_stand_in_answers_in_the_shape_of_azure(
    recording: str, kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, the headers of operations, and each place of the body that Azure filled."""
    monkeypatch.setitem(SIZES, "Standard_D2_v2", (2, 7, "x64", []))
    arm = Arm(World(SUBSCRIPTION, LOCATION), Checker(cache() / "schemas"), "any")
    arm.world.base_url = "https://127.0.0.1"
    compared = set()
    for one in session(recording):
        request = Request(one.method, one.target, {"Authorization": "Bearer any"}, one.asked)
        kind = request.types[-1].lower()
        if kind not in kinds or request.verb or one.method not in ("PUT", "GET", "DELETE"):
            continue
        if (one.method, kind) == ("DELETE", "dnszones"):
            continue  # Porter removes no zone
        settle(arm)
        answer = arm.answer(request)
        line = f"{one.method} {request.kind}"
        assert answer.status == one.status, (line, answer.body)
        for header in ("Azure-AsyncOperation", "Location"):
            assert (header in answer.headers) == (header in one.headers), (line, header)
            if header in one.headers:
                assert pattern(answer.headers[header]) == pattern(one.headers[header]), line
        missing = told(shape(one.told)) - shape(answer.body)
        assert missing == set(), line
        compared.add((one.method, kind))
    assert {("PUT", kind) for kind in kinds} <= compared


def settle(arm: Arm) -> None:
    """Let everything that is under way come to its end."""
    for one in arm.world.operations.values():
        while not one.done:
            one.tick()


def pattern(url: str) -> tuple[list[str], list[str]]:
    """An operation's address without what is particular: the last piece, region and values."""
    parts = urlsplit(url)
    pieces = parts.path.lower().split("/")
    at = pieces.index("locations") + 1
    query = sorted(one.split("=")[0] for one in parts.query.split("&"))
    return [*pieces[3:at], *pieces[at + 1 : -1]], query
