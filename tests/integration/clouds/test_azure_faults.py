"""What goes wrong at Azure, at the wire: each fault in Porter's words, nothing made twice, nothing
left behind, and no call that waits."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from porter.domain.errors import (
    Conflict,
    Denied,
    Exhausted,
    Invalid,
    Permanent,
    PorterError,
    Transient,
    Unsupported,
)
from porter.lab.clouds.azure import GROUP, SUBSCRIPTION
from porter.lab.clouds.azure.wire import CUT, Fault, failing
from porter.providers.base import (
    Destination,
    Instance,
    InstanceState,
    LaunchSpec,
    Pending,
    RecordSet,
)
from tests.contracts.provider_contracts import finish, wanted
from tests.integration.clouds.azure_bench import AzureBench

T = TypeVar("T")
MAKE_VM = "PUT .*/virtualMachines/"
DISK = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/providers/microsoft.compute/disks/"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureBench]:
    made = AzureBench(tmp_path_factory.mktemp("azure"), ["*"])
    yield made
    made.cloud.stop()


@pytest.fixture
def bench(cloud: AzureBench) -> Iterator[AzureBench]:
    """Whatever a test does, at its end nothing of it is left and no request was malformed."""
    yield cloud
    arm = cloud.cloud.arm
    assert [one for one in arm.faults if one.times] == [], "a fault never happened"
    arm.faults.clear()
    arm.permissions = [{"actions": ["*"], "notActions": []}]
    arm.compute.no_capacity.clear()
    arm.compute.no_room.clear()
    arm.compute.quota = None
    arm.network.down.clear()
    cloud.cloud.world.slow = 1
    wrong, arm.violations = arm.violations, []
    assert wrong == []


def hosts(bench: AzureBench):
    found = bench.open().hosts
    assert found is not None
    return found


def launch(bench: AzureBench, spec: LaunchSpec) -> Instance:
    """To the end, each call with a client of its own and none longer than it may be."""
    return finish(lambda token: quick(lambda: hosts(bench).launch(spec, token)))


def remove(bench: AzureBench, spec: LaunchSpec) -> None:
    finish(lambda token: quick(lambda: hosts(bench).terminate(spec.key, token)))
    assert hosts(bench).find(spec.key) is None
    assert not hosts(bench).strays(spec.owner)


def quick(call: Callable[[], T]) -> T:
    begun = time.monotonic()
    try:
        return call()
    finally:
        assert time.monotonic() - begun < 10, "a call waited"  # alone on a machine: under 2 s


def made(bench: AzureBench, method: str, part: str) -> int:
    seen = bench.cloud.arm.requests
    return len([one for one in seen if one.method == method and part in one.path])


# -- launching ------------------------------------------------------------------------------


def test_throttled_for_long_is_said_at_once_and_tried_later(bench: AzureBench) -> None:
    spec = wanted(bench)
    bench.cloud.arm.faults.append(failing(MAKE_VM, 429, "TooManyRequests", Retry_After="30"))
    with pytest.raises(Transient, match="TooManyRequests"):
        launch(bench, spec)
    assert made(bench, "PUT", f"/virtualMachines/{spec.key}") == 1
    assert launch(bench, spec).state is InstanceState.RUNNING
    remove(bench, spec)


def test_short_troubles_are_the_sdks_own_to_mend(bench: AzureBench) -> None:
    spec = wanted(bench)
    bench.cloud.arm.faults += [
        failing(MAKE_VM, 429, "TooManyRequests", Retry_After="1"),
        failing("GET .*/networkInterfaces/", 503, "ServiceUnavailable"),
        Fault("PUT .*/networkInterfaces/", CUT),
    ]
    assert launch(bench, spec).state is InstanceState.RUNNING
    assert bench.count(spec.key) == 1
    remove(bench, spec)


def test_an_answer_lost_after_the_effect_makes_no_second_machine(bench: AzureBench) -> None:
    spec = wanted(bench)
    bench.cloud.arm.faults += [
        Fault(MAKE_VM, CUT, after=True),
        Fault("PUT .*/networkInterfaces/", CUT, after=True),
    ]
    assert launch(bench, spec).state is InstanceState.RUNNING
    puts = [one for one in bench.cloud.arm.requests if one.path.endswith(f"Machines/{spec.key}")]
    puts = [one for one in puts if one.method == "PUT"]
    assert len(puts) == 2, "the SDK tried again"
    assert {one.headers["If-None-Match"] for one in puts} == {"*"}
    assert bench.count(spec.key) == 1
    remove(bench, spec)


def test_a_service_that_stays_down_is_transient(bench: AzureBench) -> None:
    spec = wanted(bench)
    fault = failing(MAKE_VM, 500, "InternalServerError")
    fault.times = 4
    bench.cloud.arm.faults.append(fault)
    with pytest.raises(Transient):
        launch(bench, spec)
    remove(bench, spec)


def test_no_capacity_at_once_or_later_is_exhausted(bench: AzureBench) -> None:
    compute = bench.cloud.arm.compute
    at_once, later = wanted(bench), wanted(bench, instance_type="Standard_D4s_v5")
    compute.no_capacity.add(at_once.instance_type)
    compute.no_room.add(later.instance_type)
    with pytest.raises(Exhausted, match="SkuNotAvailable"):
        launch(bench, at_once)
    with pytest.raises(Exhausted, match="AllocationFailed"):
        launch(bench, later)
    with pytest.raises(Exhausted, match="AllocationFailed"):
        launch(bench, later)  # without a token: read from the machine itself
    found = hosts(bench).find(later.key)
    assert found is not None
    assert found.state is InstanceState.FAILED
    assert "AllocationFailed" in found.problem
    remove(bench, at_once)
    remove(bench, later)


@pytest.mark.parametrize("code", ["QuotaExceeded", "ZonalAllocationFailed", "OperationNotAllowed"])
def test_quota_is_exhausted(bench: AzureBench, code: str) -> None:
    spec = wanted(bench)
    message = "exceeding approved standardDSv5Family Cores quota"
    bench.cloud.arm.faults.append(failing(MAKE_VM, 409, code, message))
    with pytest.raises(Exhausted, match=code):
        launch(bench, spec)
    remove(bench, spec)


def test_a_quota_of_machines_holds(bench: AzureBench) -> None:
    first, second = wanted(bench), wanted(bench)
    launch(bench, first)
    bench.cloud.arm.compute.quota = len(bench.cloud.world.power)
    with pytest.raises(Exhausted, match="quota"):
        launch(bench, second)
    remove(bench, second)
    remove(bench, first)


@pytest.mark.parametrize(
    "action",
    [
        "Microsoft.Compute/virtualMachines/write",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
    ],
)
def test_a_missing_right_is_named_and_says_where_to_give_it(bench: AzureBench, action: str) -> None:
    spec = wanted(bench)
    bench.cloud.arm.permissions = [{"actions": ["*"], "notActions": [action]}]
    with pytest.raises(Denied) as caught:
        launch(bench, spec)
    assert f"the right {action} is missing" in caught.value.message
    assert "docs/policies/azure.json" in caught.value.remedy
    bench.cloud.arm.permissions = [{"actions": ["*"], "notActions": []}]
    remove(bench, spec)


def test_refused_credentials_are_denied_and_not_shown(bench: AzureBench) -> None:
    from porter.providers.registry import open_site

    site = dataclasses.replace(bench.cloud.site(), secrets={"token": "not-the-token"})
    provider = open_site(site)
    assert provider.hosts is not None
    assert provider.rights is not None
    for call in (lambda: provider.hosts.find("p-1"), provider.rights.check):
        with pytest.raises(Denied) as caught:
            call()
        assert "not-the-token" not in str(caught.value)


def test_another_process_goes_on_with_a_launch_and_with_its_end(bench: AzureBench) -> None:
    bench.cloud.world.slow = 3
    spec = wanted(bench)
    pending = hosts(bench).launch(spec)
    assert isinstance(pending, Pending)
    assert "vm" in json.loads(pending.token)["stage"]
    secret = bench.cloud.site().secrets["token"]
    assert secret not in pending.token
    told = elsewhere(bench, "launch", spec, pending.token)
    assert told["state"] == "running"
    assert bench.count(spec.key) == 1
    ending = hosts(bench).terminate(spec.key)
    assert isinstance(ending, Pending)
    assert elsewhere(bench, "terminate", spec, ending.token) == {}
    remove(bench, spec)


def elsewhere(bench: AzureBench, what: str, spec: LaunchSpec, token: str) -> dict[str, str]:
    """Go on in a fresh interpreter, which knows the site, what was wanted, and the token."""
    site = dataclasses.asdict(bench.cloud.site())
    given = json.dumps([what, site, dataclasses.asdict(spec), token])
    root = str(Path(__file__).parents[3])
    ran = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=root,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


ELSEWHERE = """
import dataclasses, json, sys, time
from porter.domain.site import SiteKind
from porter.providers.base import LaunchSpec, Pending, SiteConfig
from porter.providers.registry import open_site
what, site, spec, token = json.load(sys.stdin)
hosts = open_site(SiteConfig(**{**site, "kind": SiteKind.AZURE})).hosts
spec = LaunchSpec(**spec)
while True:
    found = hosts.launch(spec, token) if what == "launch" else hosts.terminate(spec.key, token)
    if not isinstance(found, Pending):
        break
    token = found.token
    time.sleep(0.05)
print(json.dumps(dataclasses.asdict(found) if found else {}))
"""


def test_a_lost_token_costs_nothing(bench: AzureBench) -> None:
    bench.cloud.world.slow = 4
    spec = wanted(bench)
    answers = [hosts(bench).launch(spec) for _ in range(3)]
    assert all(isinstance(one, Pending) for one in answers)
    finish(lambda _: hosts(bench).launch(spec))
    assert bench.count(spec.key) == 1
    finish(lambda _: hosts(bench).terminate(spec.key))
    remove(bench, spec)


def test_every_way_of_asking_for_a_machine_is_in_the_schemas(bench: AzureBench) -> None:
    spec = dataclasses.replace(wanted(bench), spot=True, zone="2", disk_gb=64)
    found = launch(bench, spec)
    assert found.zone == "2"
    vm = bench.cloud.world.resources[found.id]
    assert vm["properties"]["priority"] == "Spot"
    assert vm["properties"]["storageProfile"]["osDisk"]["diskSizeGB"] == 64
    remove(bench, spec)


def test_a_type_outside_the_allow_list_is_never_asked_for(bench: AzureBench) -> None:
    provider = bench.open(instance_types="Standard_B1s,Standard_B2s")
    assert provider.hosts is not None
    assert {one.name for one in provider.hosts.types()} == {"Standard_B1s", "Standard_B2s"}
    with pytest.raises(Invalid, match="instance_types"):
        provider.hosts.launch(wanted(bench))


def test_types_leave_out_what_is_restricted_or_has_no_image(bench: AzureBench) -> None:
    def names(**settings: str) -> set[str]:
        found = bench.open(**settings).hosts
        assert found is not None
        return {one.name for one in found.types()}

    plain = names()
    assert "Standard_M8ms" not in plain, "not available for the subscription"
    assert "Standard_E2s_v5" in plain
    assert "Standard_E2s_v5" not in names(zone="1")
    assert "Standard_D2ps_v5" not in plain
    assert "Standard_D2ps_v5" in names(image_arm64="Debian:debian-13:13-arm64:latest")
    with pytest.raises(Invalid, match="image_arm64"):
        launch(bench, wanted(bench, instance_type="Standard_D2ps_v5"))


# -- ending ---------------------------------------------------------------------------------


def test_an_answer_lost_while_terminating_is_asked_again(bench: AzureBench) -> None:
    spec = wanted(bench)
    launch(bench, spec)
    bench.cloud.arm.faults.append(Fault("DELETE .*/virtualMachines/", CUT, after=True))
    remove(bench, spec)


def test_what_was_left_behind_is_removed_piece_by_piece(bench: AzureBench) -> None:
    """As if somebody had changed the delete options by hand."""
    spec = wanted(bench)
    found = launch(bench, spec)
    properties = bench.cloud.world.resources[found.id]["properties"]
    properties["storageProfile"]["osDisk"]["deleteOption"] = "Detach"
    properties["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"] = "Detach"
    strays = {one.kind for one in hosts(bench).strays(spec.owner)}
    assert strays == {"instance", "nic", "disk"}
    remove(bench, spec)
    assert DISK + f"{spec.key}-os" not in bench.cloud.world.resources


def test_a_machine_still_being_made_can_be_terminated(bench: AzureBench) -> None:
    bench.cloud.world.slow = 50
    spec = wanted(bench)
    making = hosts(bench).launch(spec)
    assert isinstance(making, Pending)
    bench.cloud.world.slow = 1
    ending = hosts(bench).terminate(spec.key)
    with pytest.raises(Transient, match="OperationPreempted"):
        hosts(bench).launch(spec, making.token)
    assert isinstance(ending, Pending)
    remove(bench, spec)


def test_a_machine_still_being_made_is_powered_off_once_it_is(bench: AzureBench) -> None:
    bench.cloud.world.slow = 6
    spec = wanted(bench)
    assert isinstance(hosts(bench).launch(spec), Pending)
    assert isinstance(hosts(bench).power_off(spec.key), Pending)
    finish(lambda token: hosts(bench).power_off(spec.key, token))
    found = hosts(bench).find(spec.key)
    assert found is not None
    assert found.state is InstanceState.STOPPED
    with pytest.raises(Permanent, match="stopped"):
        launch(bench, spec)
    remove(bench, spec)


def test_what_is_not_ours_is_never_touched(bench: AzureBench) -> None:
    spec = wanted(bench)
    found = launch(bench, spec)
    tags = bench.cloud.world.resources[found.id]["tags"]
    theirs, tags["porter-key"] = tags["porter-key"], "somebody-else"
    for call in (hosts(bench).find, hosts(bench).terminate, hosts(bench).power_off):
        with pytest.raises(Conflict):
            call(spec.key)
    tags["porter-key"] = theirs
    assert hosts(bench).find(spec.key) is not None
    remove(bench, spec)


def test_all_pages_are_read(bench: AzureBench) -> None:
    first = wanted(bench)
    specs = [first, *(wanted(bench, owner=first.owner) for _ in range(4))]
    for spec in specs:
        launch(bench, spec)
    found = hosts(bench).managed(first.owner)
    assert {one.key for one in found} == {one.key for one in specs}
    assert all(one.private_address and one.state is InstanceState.RUNNING for one in found)
    assert len(hosts(bench).strays(first.owner)) == 3 * len(specs)
    for spec in specs:
        finish(lambda token, key=spec.key: hosts(bench).terminate(key, token))
    assert not hosts(bench).strays(first.owner)


# -- endpoints ------------------------------------------------------------------------------


def test_a_nic_changed_by_others_meanwhile_is_not_overwritten(bench: AzureBench) -> None:
    spec = wanted(bench)
    found = launch(bench, spec)
    address = bench.address()
    message = "The etag does not match"
    bench.cloud.arm.faults.append(
        failing("PUT .*/networkInterfaces/", 412, "PreconditionFailed", message)
    )
    addressing = bench.open().addressing
    assert addressing is not None
    with pytest.raises(Transient):
        addressing.assign(address, found.id)
    assert addressing.where(address) == ""
    finish(lambda token: addressing.assign(address, found.id, token))
    last = [one for one in bench.cloud.arm.requests if one.method == "PUT"][-1]
    assert last.headers["If-Match"].startswith('W/"')
    public = hosts(bench).find(spec.key)
    assert public is not None
    assert public.public_address == address
    remove(bench, spec)
    assert addressing.where(address) == "", "the address outlives the machine"


def test_targets_count_only_once_azures_probe_finds_them_up(bench: AzureBench) -> None:
    spec = wanted(bench)
    found = launch(bench, spec)
    balancing = bench.open().balancing
    assert balancing is not None
    group, targets = bench.group(), [Destination(found.private_address, found.id)]
    bench.cloud.arm.network.down.add(found.private_address)
    token = ""
    for _ in range(6):
        pending = balancing.set_targets(group, 6379, targets, token)
        assert isinstance(pending, Pending)
        token = pending.token
    bench.cloud.arm.network.down.clear()
    finish(lambda token: balancing.set_targets(group, 6379, targets, token))
    remove(bench, spec)


def test_pools_that_cannot_take_the_targets_say_so(bench: AzureBench) -> None:
    balancing = bench.open().balancing
    assert balancing is not None
    group = bench.cloud.make_group(6379, probe=False)
    with pytest.raises(Invalid, match="no load balancing rule"):
        balancing.set_targets(group, 80, [Destination("10.0.0.9")])
    with pytest.raises(Invalid, match="BackendAddressNotInVirtualNetwork"):
        balancing.set_targets(group, 6379, [Destination("8.8.8.8")])
    finish(lambda token: balancing.set_targets(group, 6379, [Destination("10.0.0.9")], token))
    name = group.split("/")[0]
    assert set(balancing.targets(name)) == {"10.0.0.9:6379"}, "the only pool needs no name"
    id = bench.cloud._id(f"loadBalancers/{name}").lower()
    pool = bench.cloud.world.resources[id]["properties"]["backendAddressPools"][0]
    member = pool["properties"]["loadBalancerBackendAddresses"][0]["properties"]
    member["networkInterfaceIPConfiguration"] = {"id": "of some NIC"}
    with pytest.raises(Unsupported, match="NICs"):
        balancing.set_targets(group, 6379, [Destination("10.0.0.8")])


def test_names_go_to_the_longest_zone_and_have_no_weights(bench: AzureBench) -> None:
    bench.cloud._make("dnsZones/deep.example.test", {})
    dns = bench.open().dns
    assert dns is not None
    for name, relative in (("a.deep.example.test", "a"), ("deep.example.test", "@")):
        assert dns.set_record(RecordSet(name, 30, {"10.0.0.1": 1, "10.0.0.2": 1})) is None
        found = dns.record(name)
        assert found is not None
        assert found.weights == {"10.0.0.1": 1, "10.0.0.2": 1}
        zone = "dnszones/deep.example.test/a/"
        assert any(id.endswith(zone + relative) for id in bench.cloud.world.resources)
    target = {"id": "/subscriptions/x/a-public-address"}
    record = next(v for k, v in bench.cloud.world.resources.items() if k.endswith(zone + "a"))
    record["properties"]["targetResource"] = target
    for call in (
        lambda: dns.set_record(RecordSet("a.deep.example.test", 30, {"10.0.0.3": 1})),
        lambda: dns.remove_record("a.deep.example.test"),
    ):
        with pytest.raises(Conflict, match="alias"):
            call()
    with pytest.raises(Unsupported):
        dns.set_record(RecordSet("b.example.test", 30, {"10.0.0.1": 1, "10.0.0.2": 9}))


def test_no_error_is_one_of_the_sdks(bench: AzureBench) -> None:
    calls = (
        lambda: hosts(bench).find("p-1"),
        lambda: bench.open().dns.record("a.example.test"),
        lambda: bench.open().addressing.where("192.0.2.1"),
        lambda: bench.open().balancing.targets("none"),
    )
    for call in calls:
        bench.cloud.arm.faults.append(failing("GET", 400, "SomethingNew", "with {braces}"))
        with pytest.raises(PorterError, match="SomethingNew"):
            call()
