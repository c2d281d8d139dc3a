"""What goes wrong on the way to Google, at the wire, and what Porter makes of it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from porter.domain.errors import (
    Conflict,
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
    Unsupported,
)
from porter.lab.clouds.gcp import GcpCloud
from porter.lab.clouds.gcp.faults import Fault
from porter.lab.clouds.gcp.groups import VMS
from porter.providers.base import (
    Destination,
    HostLifecycle,
    Instance,
    InstanceState,
    LaunchSpec,
    Pending,
    Provider,
    RecordSet,
)
from porter.providers.gcp import balancing, session
from porter.providers.registry import open_site
from tests.contracts.provider_contracts import finish

pytestmark = pytest.mark.integration
SPEC = LaunchSpec("p-key", "host-1", "e2-small", "#!/bin/sh\n", "o-1")
INSERT = "compute.instances.insert"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[GcpCloud]:
    cloud = GcpCloud()
    cloud.google.world.slow = 0
    cloud.start(tmp_path, "127.0.0.1")
    yield cloud
    cloud.stop()
    assert cloud.google.violations == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK gives up at once."""
    monkeypatch.setattr(session, "PATIENCE", 0.0)


def opened(cloud: GcpCloud, **settings: str) -> Provider:
    site = cloud.site()
    return open_site(replace(site, settings={**site.settings, **settings}))


def hosts(cloud: GcpCloud, **settings: str) -> HostLifecycle:
    found = opened(cloud, **settings).hosts
    assert found is not None
    return found


def launched(cloud: GcpCloud, spec: LaunchSpec = SPEC, **settings: str) -> Instance:
    return finish(lambda token: hosts(cloud, **settings).launch(spec, token), 20)


def ended(cloud: GcpCloud, key: str = SPEC.key) -> None:
    finish(lambda token: hosts(cloud).terminate(key, token), 20)


def made(cloud: GcpCloud) -> int:
    return len(cloud.google.world.made)


def inserts(cloud: GcpCloud) -> list[str]:
    """Request ids of all inserts that arrived."""
    return [one.query["requestId"] for one in cloud.google.calls if one.method == INSERT]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_service_is_asked_again(cloud: GcpCloud, status: int) -> None:
    cloud.google.faults.order(Fault(INSERT, times=2, status=status))
    assert launched(cloud).state is InstanceState.RUNNING
    ids = inserts(cloud)
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert made(cloud) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (429, "rateLimitExceeded", Transient),
        (403, "rateLimitExceeded", Transient),
        (503, "backendError", Transient),
        (403, "quotaExceeded", Exhausted),
        (403, "forbidden", Denied),
        (401, "authError", Denied),
        (400, "invalid", Invalid),
        (410, "gone", Permanent),
    ],
)
def test_answers_become_errors(
    cloud: GcpCloud, status: int, reason: str, error: type[PorterError]
) -> None:
    cloud.google.faults.order(Fault(INSERT, times=99, status=status, reason=reason))
    with pytest.raises(error, match=r"^cannot launch host-1"):
        launched(cloud)


def test_an_answer_that_is_lost_is_asked_for_again(cloud: GcpCloud) -> None:
    cloud.google.faults.order(Fault(INSERT, cut=True))
    assert launched(cloud).state is InstanceState.RUNNING
    assert len(inserts(cloud)) == 2
    assert made(cloud) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("slow", [0, 1000])
def test_a_lost_answer_is_found_by_the_next_attempt(cloud: GcpCloud, slow: int) -> None:
    cloud.google.world.slow = slow
    cloud.google.faults.order(Fault(INSERT, cut=True))
    with pytest.raises(Transient):
        hosts(cloud).launch(SPEC)
    assert made(cloud) == 1
    hosts(cloud).launch(SPEC)
    for operation in cloud.google.world.operations.values():
        operation.left = 0
    assert launched(cloud).key == SPEC.key
    assert made(cloud) == 1


@pytest.mark.parametrize(
    "code",
    ["ZONE_RESOURCE_POOL_EXHAUSTED", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "QUOTA_EXCEEDED"],
)
def test_no_capacity_leaves_nothing_and_the_key_can_be_used_again(
    cloud: GcpCloud, code: str
) -> None:
    cloud.google.faults.order(Fault(INSERT, operation=code))
    with pytest.raises(Exhausted, match=code):
        launched(cloud)
    ended(cloud)
    assert not hosts(cloud).strays(SPEC.owner)
    # Google would answer the same request id with the operation that failed.
    assert launched(cloud).state is InstanceState.RUNNING
    assert made(cloud) == 2


def test_googles_own_failure_is_tried_anew(cloud: GcpCloud) -> None:
    cloud.google.faults.order(Fault(INSERT, operation="INTERNAL_ERROR"))
    assert launched(cloud).state is InstanceState.RUNNING
    assert len(cloud.google.world.instances) == 1
    assert made(cloud) == 2


def test_a_key_may_live_twice(cloud: GcpCloud) -> None:
    launched(cloud)
    ended(cloud)
    launched(cloud)
    assert made(cloud) == 2
    assert len(cloud.google.world.instances) == 1


def test_lists_that_lag_mislead_nobody(cloud: GcpCloud) -> None:
    cloud.google.world.lag = 1000
    first = launched(cloud)
    assert not hosts(cloud).managed(SPEC.owner)
    assert hosts(cloud).find(SPEC.key) == first
    assert launched(cloud) == first
    assert made(cloud) == 1
    ended(cloud)
    assert hosts(cloud).find(SPEC.key) is None


def test_a_missing_permission_is_named_with_its_remedy(cloud: GcpCloud) -> None:
    cloud.google.world.lacking.add("compute.instances.setMetadata")
    with pytest.raises(Denied, match=r"compute\.instances\.setMetadata is missing") as caught:
        launched(cloud)
    assert "docs/policies/gcp.json" in caught.value.remedy
    assert made(cloud) == 0


def test_an_account_that_hosts_may_not_run_as_is_told(cloud: GcpCloud) -> None:
    account = "hosts@porter-lab.iam.gserviceaccount.com"
    cloud.google.world.lacking.add("iam.serviceAccounts.actAs")
    rights = opened(cloud, service_account=account).rights
    assert rights is not None
    missing = [one for one in rights.check() if one.granted is not True]
    assert [one.name for one in missing] == ["iam.serviceAccounts.actAs"]
    assert account in missing[0].remedy
    with pytest.raises(Denied, match="actAs"):
        launched(cloud, service_account=account)


def test_bad_credentials_come_first(cloud: GcpCloud) -> None:
    cloud.google.faults.order(Fault("*.testIamPermissions", status=401, reason="authError"))
    rights = opened(cloud).rights
    assert rights is not None
    found = rights.check()
    assert (found[0].name, found[0].granted) == ("credentials", False)
    assert {one.granted for one in found[1:]} == {None}


def test_a_right_that_cannot_be_asked_for_hides_no_other(cloud: GcpCloud) -> None:
    cloud.google.world.untestable.add("compute.disks.get")
    cloud.google.world.lacking.add("compute.addresses.use")
    rights = opened(cloud).rights
    assert rights is not None
    answers = {one.name: one.granted for one in rights.check() if one.granted is not True}
    assert answers == {"compute.disks.get": None, "compute.addresses.use": False}


def test_somebody_elses_machine_is_left_alone(cloud: GcpCloud) -> None:
    launched(cloud)
    with pytest.raises(Conflict, match="somebody else"):
        launched(cloud, replace(SPEC, owner="o-2"))
    for machine in cloud.google.world.instances.values():
        machine["labels"] = {}
    with pytest.raises(Conflict, match="somebody else"):
        ended(cloud)
    assert len(cloud.google.world.instances) == 1


def test_a_disk_that_was_left_is_told_and_removed(cloud: GcpCloud) -> None:
    launched(cloud)
    for machine in cloud.google.world.instances.values():
        machine["disks"][0]["autoDelete"] = False
    del cloud.google.world.instances[("europe-west1-b", "p-key-porter")]
    for disk in cloud.google.world.disks.values():
        disk["users"] = []
    assert [(one.kind, one.key) for one in hosts(cloud).strays(SPEC.owner)] == [("disk", SPEC.key)]
    with pytest.raises(Conflict, match="disks/p-key-porter"):
        launched(cloud)
    ended(cloud)
    assert not hosts(cloud).strays(SPEC.owner)
    assert not cloud.google.world.disks


def test_a_machine_that_was_started_again_is_powered_off_again(cloud: GcpCloud) -> None:
    launched(cloud)
    for _ in range(2):
        finish(lambda token: hosts(cloud).power_off(SPEC.key, token))
        found = hosts(cloud).find(SPEC.key)
        assert found is not None
        assert found.state is InstanceState.STOPPED
        for machine in cloud.google.world.instances.values():
            machine.update(status="RUNNING", lastStartTimestamp=f"later-{machine['status']}")
    stops = [one for one in cloud.google.calls if one.method == "compute.instances.stop"]
    assert len(stops) == 2
    assert {one.query["noGracefulShutdown"] for one in stops} == {"true"}


def test_what_a_spot_machine_without_public_address_asks_for(cloud: GcpCloud) -> None:
    spec = replace(SPEC, spot=True, zone="europe-west1-d", disk_gb=33)
    account = "hosts@porter-lab.iam.gserviceaccount.com"
    found = launched(
        cloud, spec, external_ip="no", subnet="inner", disk_type="pd-ssd", service_account=account
    )
    assert (found.zone, found.public_address) == ("europe-west1-d", "")
    body = next(one.body for one in cloud.google.calls if one.method == INSERT)
    assert body["scheduling"]["provisioningModel"] == "SPOT"
    assert body["scheduling"]["instanceTerminationAction"] == "STOP"
    assert body["networkInterfaces"][0]["subnetwork"] == "regions/europe-west1/subnetworks/inner"
    assert body["disks"][0]["initializeParams"]["diskSizeGb"] == "33"
    assert body["disks"][0]["initializeParams"]["diskType"].endswith("/pd-ssd")
    assert body["serviceAccounts"][0]["email"] == account


def test_a_zone_elsewhere_is_refused(cloud: GcpCloud) -> None:
    with pytest.raises(Invalid, match="us-east1-b"):
        launched(cloud, replace(SPEC, zone="us-east1-b"))


# -- endpoints ------------------------------------------------------------------------------


def test_the_loser_of_an_address_can_still_be_reached(cloud: GcpCloud) -> None:
    one, other = launched(cloud), launched(cloud, replace(SPEC, key="p-other"))
    address = cloud.reserve()

    def lead(instance: Instance) -> None:
        def go(token: str) -> Pending | None:
            addressing = opened(cloud).addressing
            assert addressing is not None
            return addressing.assign(address, instance.id, token)

        finish(go)

    lead(one)
    lead(other)
    found = hosts(cloud).find(SPEC.key)
    assert found is not None
    assert found.public_address not in ("", address)


def test_a_move_of_an_address_that_broke_off_is_finished(cloud: GcpCloud) -> None:
    one, other = launched(cloud), launched(cloud, replace(SPEC, key="p-other"))
    address = cloud.reserve()
    addressing = opened(cloud).addressing
    assert addressing is not None
    finish(lambda token: addressing.assign(address, one.id, token))
    assert isinstance(addressing.assign(address, other.id), Pending)
    # That process died; the next one knows no token.
    again = opened(cloud).addressing
    assert again is not None
    finish(lambda token: again.assign(address, other.id, token))
    assert again.where(address) == other.id


def test_an_address_of_a_load_balancer_is_not_taken(cloud: GcpCloud) -> None:
    address = cloud.reserve()
    world = cloud.google.world
    rule = world.link("regions/europe-west1/forwardingRules/shop")
    world.addresses[address]["users"] = [rule]
    addressing = opened(cloud).addressing
    assert addressing is not None
    with pytest.raises(Unsupported, match="forwardingRules shop"):
        addressing.where(address)


def test_targets_come_before_others_go_and_are_waited_for(cloud: GcpCloud) -> None:
    one, other = launched(cloud), launched(cloud, replace(SPEC, key="p-other"))
    groups = cloud.google.groups
    groups.make("europe-west1-b", "shop")

    def lead(instance: Instance) -> None:
        ends = [Destination(instance.private_address, instance.id)]

        def go(token: str) -> Pending | None:
            balancing = opened(cloud).balancing
            assert balancing is not None
            return balancing.set_targets("shop", 80, ends, token)

        finish(go, 8)

    lead(one)
    del cloud.google.calls[:]
    lead(other)
    changes = [one.method for one in cloud.google.calls if "tach" in one.method]
    assert [name.rpartition(".")[2][:6] for name in changes] == ["attach", "detach"]
    assert not any("until" in end for end in cloud.google.world.ends[("europe-west1-b", "shop")])
    groups.sick.add(one.private_address)
    with pytest.raises(AssertionError, match="still pending"):
        lead(one)


def test_addresses_elsewhere_need_a_hybrid_group(cloud: GcpCloud) -> None:
    provider = opened(cloud).balancing
    assert provider is not None
    cloud.google.groups.make("europe-west1-b", "shop", VMS)
    with pytest.raises(Invalid, match=balancing.HYBRID):
        provider.set_targets("shop", 80, [Destination("192.168.7.7")])
    cloud.google.groups.make("europe-west1-c", "shop", balancing.HYBRID, served=False)
    finish(lambda token: provider.set_targets("shop", 80, [Destination("192.168.7.7")], token))
    assert provider.targets("shop") == {"192.168.7.7:80": 1}


def test_names_have_weights(cloud: GcpCloud) -> None:
    dns = opened(cloud).dns
    assert dns is not None
    record = RecordSet("shop.gcp.porter.test", 60, {"10.0.0.1": 3, "10.0.0.2": 1})
    finish(lambda token: dns.set_record(record, token))
    assert dns.record(record.name) == record
    plain = replace(record, weights={"10.0.0.1": 1})
    finish(lambda token: dns.set_record(plain, token))
    assert dns.record(record.name) == plain


def test_names_routed_otherwise_are_not_touched(cloud: GcpCloud) -> None:
    dns = opened(cloud).dns
    assert dns is not None
    key = ("shop.gcp.porter.test.", "A")
    policy = {"geo": {"items": [{"location": "europe-west1", "rrdatas": ["10.0.0.1"]}]}}
    kept = {"name": key[0], "type": "A", "ttl": 60, "routingPolicy": policy}
    cloud.google.dns.sets["lab"][key] = kept
    with pytest.raises(Invalid, match="geo"):
        dns.set_record(RecordSet("shop.gcp.porter.test", 60, {"10.0.0.2": 1}))
    assert cloud.google.dns.sets["lab"][key] == kept


def test_a_change_that_another_process_began_is_waited_for(cloud: GcpCloud) -> None:
    cloud.google.world.slow = 1000
    record = RecordSet("shop.gcp.porter.test", 60, {"10.0.0.1": 1})
    first, second = opened(cloud).dns, opened(cloud).dns
    assert first is not None
    assert second is not None
    begun = first.set_record(record)
    assert isinstance(begun, Pending)
    # It can be read already, but the name servers do not say so yet.
    assert second.record(record.name) == record
    assert second.set_record(record) == begun
    cloud.google.world.slow = 0
    assert second.set_record(record) is None


@pytest.mark.parametrize("status", [404, 409, 412])
def test_a_name_that_was_changed_meanwhile_is_read_again(cloud: GcpCloud, status: int) -> None:
    dns = opened(cloud).dns
    assert dns is not None
    reason = "conditionNotMet" if status == 412 else "other"
    cloud.google.faults.order(Fault("dns.changes.create", status=status, reason=reason))
    record = RecordSet("shop.gcp.porter.test", 60, {"10.0.0.1": 1})
    with pytest.raises(Transient):
        dns.set_record(record)
    finish(lambda token: dns.set_record(record, token))


def test_the_longest_zone_holds_a_name(cloud: GcpCloud) -> None:
    cloud.google.dns.make("inner", "shop.gcp.porter.test")
    cloud.google.dns.make("private", "gcp.porter.test", "private")
    dns, private = opened(cloud).dns, opened(cloud, dns_zone="private").dns
    assert dns is not None
    assert private is not None
    for name, zone in (("a.shop.gcp.porter.test", "inner"), ("b.gcp.porter.test", "lab")):
        record = RecordSet(name, 60, {"10.0.0.1": 1})
        finish(lambda token, record=record: dns.set_record(record, token))
        assert (f"{name}.", "A") in cloud.google.dns.sets[zone]
    assert private.record("b.gcp.porter.test") is None


# -- on the machine, and the stand-in itself ------------------------------------------------


def test_a_machine_knows_itself_and_hears_notices(cloud: GcpCloud) -> None:
    machine = launched(cloud)
    metadata = opened(cloud).metadata
    assert metadata is not None
    with pytest.raises(NotFound):
        metadata.instance()
    cloud.booted(machine.id, "127.0.0.1")
    assert metadata.instance() == machine.id
    assert metadata.notices() == []
    cloud.announce(machine.id, "maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")
    cloud.announce(machine.id, "preempted", "TRUE")
    assert [one.kind for one in metadata.notices()] == ["terminate", "stop"]


def test_a_place_without_metadata_server_is_not_google(cloud: GcpCloud) -> None:
    metadata = opened(cloud, metadata_endpoint="http://127.0.0.1:9").metadata
    assert metadata is not None
    with pytest.raises(NotFound, match="cannot read zone"):
        metadata.instance()


def test_the_lab_sees_what_ought_to_run(cloud: GcpCloud) -> None:
    machine = launched(cloud)
    (seen,) = cloud.machines()
    assert (seen.id, seen.name, seen.running) == (machine.id, "host-1", True)
    assert seen.user_data == SPEC.user_data
    finish(lambda token: hosts(cloud).power_off(SPEC.key, token))
    assert [one.running for one in cloud.machines()] == [False]
    ended(cloud)
    assert cloud.machines() == []


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("zones/europe-west1-b/instances", b'{"name": "x", "machinetype": "y"}', "machinetype"),
        ("zones/europe-west1-b/instances", b'{"disks": [{"boot": "yes"}]}', "boot"),
        ("zones/europe-west1-b/instances?request_id=7", b"{}", "unknown parameter request_id"),
        ("zones/europe-west1-b/machines", b"{}", "no method of Google's"),
        ("zones/europe-west1-b/instances/x/reset", b"", "does not serve"),
    ],
)
def test_a_request_that_google_would_not_know_is_noted(
    cloud: GcpCloud, path: str, body: bytes, complaint: str
) -> None:
    url = f"{cloud.site().settings['endpoint']}/compute/v1/projects/porter-lab/{path}"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="POST"), timeout=10)
    caught.value.close()
    assert caught.value.code == 400
    (noted,) = cloud.google.violations
    assert complaint in noted
    cloud.google.violations.clear()


def test_an_answer_that_google_would_not_give_is_noted(cloud: GcpCloud) -> None:
    machine = launched(cloud)
    zone, _, name = machine.id.partition("/")
    cloud.google.world.instances[(zone, name)]["colour"] = "blue"
    hosts(cloud).find(SPEC.key)
    assert any("'colour' was unexpected" in one for one in cloud.google.violations)
    cloud.google.violations.clear()
