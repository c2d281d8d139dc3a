"""AWS: unmodified boto3 over HTTP to the stand-in, with the rights of `docs/policies/aws.json`."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from porter.domain.errors import Conflict, Denied, Exhausted, Invalid, Permanent, Transient
from porter.lab.clouds.aws import ALIAS, PROFILE, ROLE, ZONE, AwsStandIn
from porter.lab.clouds.aws_calls import Fault
from porter.providers.aws import session
from porter.providers.base import (
    Destination,
    Instance,
    InstanceState,
    LaunchSpec,
    Pending,
    Provider,
    RecordSet,
)
from porter.providers.registry import open_site
from tests.contracts.provider_contracts import (
    SCRIPT,
    AddressingContract,
    DnsContract,
    HostLifecycleContract,
    LoadBalancingContract,
    PricingContract,
    RightsContract,
    finish,
    wanted,
)

pytestmark = pytest.mark.integration
POLICY = Path(__file__).parents[3] / "docs" / "policies" / "aws.json"


def policy() -> set[str]:
    found: set[str] = set()
    for statement in json.loads(POLICY.read_text())["Statement"]:
        actions = statement["Action"]
        found.update([actions] if isinstance(actions, str) else actions)
    return found


class AwsBench:
    instance_type = "t3.micro"
    zone = ZONE

    def __init__(self, cloud: AwsStandIn) -> None:
        self.cloud = cloud
        self.wire = cloud.wire
        self._site = replace(cloud.site(), secrets=cloud.credentials(allowed=policy()))

    def open(self, lacking: tuple[str, ...] = (), **settings: str) -> Provider:
        site = replace(self._site, settings={**self._site.settings, **settings})
        if lacking:
            site = replace(site, secrets=self.cloud.credentials(policy(), lacking))
        return open_site(site)

    def user_data(self, instance: Instance) -> str:
        return next(one for one in self.cloud.machines() if one.id == instance.id).user_data

    def count(self, key: str) -> int:
        """Terminated ones included: moto keeps them."""
        answer = self.cloud.client("ec2").describe_instances(
            Filters=[{"Name": "tag:porter-key", "Values": [key]}]
        )
        return sum(len(one["Instances"]) for one in answer["Reservations"])

    def address(self) -> str:
        return self.cloud.new_address()

    def group(self) -> str:
        return self.cloud.new_group()

    def lacking(self) -> tuple[Provider, str]:
        return self.open(("ec2:TerminateInstances",)), "ec2:TerminateInstances"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStandIn]:
    made = AwsStandIn()
    made.start(tmp_path_factory.mktemp("aws"), "127.0.0.1")
    yield made
    made.stop()
    beyond = set(made.wire.called) - policy() - {"sts:AssumeRole"}
    assert not beyond, f"called, but not in {POLICY.name}: {beyond}"


@pytest.fixture(params=[0, 2], ids=["at-once", "slow"])
def bench(request: pytest.FixtureRequest, cloud: AwsStandIn) -> Iterator[AwsBench]:
    """With what is asked for done at once, or seen under way for some looks."""
    cloud.wire.slow = request.param
    yield AwsBench(cloud)
    cloud.wire.slow = 0


@pytest.fixture
def quick(cloud: AwsStandIn) -> Iterator[AwsBench]:
    yield AwsBench(cloud)
    unused = [fault for fault in cloud.wire.faults if not fault.hits]
    cloud.wire.faults.clear()
    cloud.wire.invisible = cloud.wire.slow = 0
    assert not unused


class TestHosts(HostLifecycleContract):
    pass


class TestAddressing(AddressingContract):
    pass


class TestBalancing(LoadBalancingContract):
    pass


class TestDns(DnsContract):
    pass


class TestPricing(PricingContract):
    pass


class TestRights(RightsContract):
    pass


def launch(bench: AwsBench, spec: LaunchSpec, **settings: str) -> Instance:
    """Each call as a process of its own, again after each error that says so."""

    def go(token: str) -> Instance | Pending:
        hosts = bench.open(**settings).hosts
        assert hosts is not None
        try:
            return hosts.launch(spec, token)
        except Transient:
            return Pending(token, 0.01)

    return finish(go)


def terminate(bench: AwsBench, spec: LaunchSpec, **settings: str) -> None:
    """Ends with the proof that nothing of it is left."""

    def go(token: str) -> Pending | None:
        hosts = bench.open(**settings).hosts
        assert hosts is not None
        try:
            return hosts.terminate(spec.key, token)
        except Transient:
            return Pending(token, 0.01)

    finish(go)
    hosts = bench.open().hosts
    assert hosts is not None
    assert not hosts.strays(spec.owner)


BRIEF = [
    Fault("", "RequestLimitExceeded", 503),
    Fault("", "Throttling", 400),
    Fault("", "InternalError", 500, times=3),
    Fault("", "Unavailable", 503, times=4),
    Fault("", "", times=4),
    Fault("", "", effect=True),
    Fault("", "", times=4, effect=True),
    Fault("", "InternalError", 500, times=3, effect=True),
]
"""More than the SDK's three attempts get over come through as Transient."""


def named(fault: Fault) -> str:
    return f"{fault.code or 'cut'}-{fault.times}{'-after-effect' if fault.effect else ''}"


@pytest.mark.parametrize("fault", BRIEF, ids=named)
class TestAccidents:
    def test_a_launch_makes_one_machine(self, quick: AwsBench, fault: Fault) -> None:
        quick.wire.faults.append(replace(fault, action="ec2:RunInstances"))
        spec = wanted(quick)
        made = launch(quick, spec)
        assert made.state is InstanceState.RUNNING
        assert quick.count(spec.key) == 1
        quick.wire.faults.append(replace(fault, action="ec2:TerminateInstances"))
        terminate(quick, spec)

    def test_a_name_leads_to_one_place(self, quick: AwsBench, fault: Fault) -> None:
        name = f"{named(fault).lower()}.{ZONE}"
        for address in ("10.0.0.1", "10.0.0.2"):
            quick.wire.faults.append(replace(fault, action="route53:ChangeResourceRecordSets"))
            wish = RecordSet(name, 30, {address: 1})
            finish(lambda token, wish=wish: tried(quick, "set_record", wish, token))
        dns = quick.open().dns
        assert dns is not None
        assert dns.record(name) == wish
        quick.wire.faults.append(replace(fault, action="route53:ChangeResourceRecordSets"))
        finish(lambda token: tried(quick, "remove_record", name, token))
        assert dns.record(name) is None


def tried(bench: AwsBench, method: str, what: RecordSet | str, token: str) -> Pending | None:
    dns = bench.open().dns
    try:
        answer: Pending | None = getattr(dns, method)(what, token)
    except Transient:
        return Pending(token, 0.01)
    return answer


def test_an_address_moves_once_through_a_cut(quick: AwsBench) -> None:
    spec, address = wanted(quick), quick.address()
    made = launch(quick, spec)
    quick.wire.faults.append(Fault("ec2:AssociateAddress", times=4, effect=True))
    addressing = quick.open().addressing
    assert addressing is not None
    with pytest.raises(Transient):
        addressing.assign(address, made.id)
    before = quick.wire.called["ec2:AssociateAddress"]
    assert addressing.assign(address, made.id) is None
    assert quick.wire.called["ec2:AssociateAddress"] == before
    quick.wire.faults.clear()
    terminate(quick, spec)


def test_no_answer_is_no_machine_more(quick: AwsBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real time-out: the answer comes, but too late for the one who asked."""
    monkeypatch.setattr(session, "READ_SECONDS", 1)
    quick.wire.faults.append(Fault("ec2:RunInstances", times=3, hold=2.5))
    spec = wanted(quick)
    hosts = quick.open().hosts
    assert hosts is not None
    with pytest.raises(Transient):
        hosts.launch(spec)
    assert quick.count(spec.key) == 1
    assert launch(quick, spec).key == spec.key
    assert quick.count(spec.key) == 1
    terminate(quick, spec)


@pytest.mark.parametrize("looks", [1, 7])
def test_a_new_machine_is_not_described_yet(quick: AwsBench, looks: int) -> None:
    """Whoever launches again meanwhile, without knowing of the first, gets the same machine."""
    quick.wire.invisible = looks
    spec = wanted(quick)
    hosts = quick.open().hosts
    assert hosts is not None
    tokens = [hosts.launch(spec) for _ in range(2)]
    assert all(isinstance(one, Pending) for one in tokens)
    assert tokens[0] == tokens[1]
    launch(quick, spec)
    assert quick.count(spec.key) == 1
    terminate(quick, spec)


def test_a_machine_that_shows_late_is_still_terminated(quick: AwsBench) -> None:
    quick.wire.invisible = 3
    spec = wanted(quick)
    hosts = quick.open().hosts
    assert hosts is not None
    hosts.launch(spec)
    # the stand-in counts looks, of which a busy machine makes few in a second
    terminate(quick, spec, settle_seconds="15")
    assert quick.count(spec.key) == 1
    assert spec.name not in {one.name for one in quick.cloud.machines()}


def test_other_parameters_under_the_same_key_make_no_second_machine(quick: AwsBench) -> None:
    quick.wire.invisible = 1
    spec = wanted(quick)
    hosts = quick.open().hosts
    assert hosts is not None
    hosts.launch(spec)
    made = launch(quick, replace(spec, disk_gb=33))
    assert quick.count(spec.key) == 1
    assert made.key == spec.key
    terminate(quick, spec)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("InsufficientInstanceCapacity", 500),
        ("VcpuLimitExceeded", 400),
        ("InstanceLimitExceeded", 400),
        ("MaxSpotInstanceCountExceeded", 400),
        ("InsufficientFreeAddressesInSubnet", 400),
        ("Unsupported", 400),
    ],
)
def test_no_room_is_exhausted(quick: AwsBench, code: str, status: int) -> None:
    attempts = session.ATTEMPTS if status == 500 else 1
    quick.wire.faults.append(Fault("ec2:RunInstances", code, status, times=attempts))
    spec = wanted(quick)
    hosts = quick.open().hosts
    assert hosts is not None
    with pytest.raises(Exhausted, match=code) as caught:
        hosts.launch(spec)
    assert caught.value.remedy
    assert quick.count(spec.key) == 0
    terminate(quick, spec)
    assert launch(quick, spec).key == spec.key  # there is room again
    terminate(quick, spec)


def test_a_key_is_good_for_one_machine(quick: AwsBench) -> None:
    """A late repetition does not bring a terminated machine back."""
    spec = wanted(quick)
    launch(quick, spec)
    terminate(quick, spec)
    hosts = quick.open().hosts
    assert hosts is not None
    with pytest.raises(Permanent, match="terminated"):
        hosts.launch(spec)
    assert quick.count(spec.key) == 1


@pytest.mark.parametrize(
    "right", ["ec2:RunInstances", "ec2:CreateTags", "iam:PassRole", "ssm:GetParameters"]
)
def test_a_launch_without_a_right_names_it(quick: AwsBench, right: str) -> None:
    spec = wanted(quick)
    hosts = quick.open((right,), image=f"resolve:ssm:{ALIAS}", instance_profile=PROFILE).hosts
    assert hosts is not None
    with pytest.raises(Denied, match=right) as caught:
        hosts.launch(spec)
    assert right in caught.value.remedy
    terminate(quick, spec)


@pytest.mark.parametrize("part", range(4))
def test_each_right_that_lacks_is_told(quick: AwsBench, part: int) -> None:
    rights = sorted(policy() - {"sts:GetCallerIdentity", "iam:SimulatePrincipalPolicy"})[part::4]
    alias = f"resolve:ssm:{ALIAS}"
    provider = quick.open(tuple(rights), image=alias, instance_profile=PROFILE)
    assert provider.rights is not None
    found = provider.rights.check()
    assert sorted(one.name for one in found if one.granted is False) == rights
    assert all(one.name in one.remedy for one in found if one.granted is False)


def test_the_policy_holds_what_is_called_and_nothing_else(quick: AwsBench, tmp_path: Path) -> None:
    """That nothing beyond it is ever called is seen to when the module ends."""
    before = quick.wire.called.copy()
    spec = replace(wanted(quick), zone="eu-west-1b")
    subnets = quick.cloud.client("ec2").describe_subnets()["Subnets"]
    settings = {
        "image": f"resolve:ssm:{ALIAS}",
        "instance_profile": PROFILE,
        "subnet": ",".join(one["SubnetId"] for one in subnets),
        "price_cache": str(tmp_path / "prices.json"),
        "pricing_endpoint": quick.open().config.settings["endpoint_url"],
    }
    place = quick.open(**settings)
    assert place.hosts is not None
    assert place.addressing is not None
    assert place.pricing is not None
    assert place.rights is not None
    assert place.hosts.types()
    made = launch(quick, spec, **settings)
    address, group = quick.address(), quick.cloud.new_group("ip")
    finish(lambda token: place.addressing.assign(address, made.id, token))
    balancing, dns = place.balancing, place.dns
    assert balancing is not None
    assert dns is not None
    for ends in ([Destination(made.private_address, made.id)], []):
        finish(lambda token, ends=ends: balancing.set_targets(group, 80, ends, token))
    record = RecordSet(f"policy.{ZONE}", 60, {"10.0.0.1": 1})
    finish(lambda token: dns.set_record(record, token))
    finish(lambda token: place.hosts.power_off(spec.key, token))
    leave_a_disk(quick, spec)
    terminate(quick, spec)
    for terms in ("on_demand", "spot"):
        place.pricing.quotes(["t3.micro"], terms)
    only_for_rights = {"iam:SimulatePrincipalPolicy", "sts:GetCallerIdentity"}
    assert set(quick.wire.called - before) == policy() - only_for_rights
    place.rights.check()
    assert set(quick.wire.called - before) == policy()


def leave_a_disk(bench: AwsBench, spec: LaunchSpec) -> None:
    tags = {"porter-key": spec.key, "porter-managed": spec.owner}
    bench.cloud.client("ec2").create_volume(
        AvailabilityZone="eu-west-1a",
        Size=1,
        TagSpecifications=[
            {
                "ResourceType": "volume",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            }
        ],
    )


def test_all_rights_of_the_policy_are_told(quick: AwsBench) -> None:
    provider = quick.open(image=f"resolve:ssm:{ALIAS}", instance_profile=PROFILE)
    assert provider.rights is not None
    names = {one.name for one in provider.rights.check() if one.granted}
    assert names | {"iam:SimulatePrincipalPolicy"} == policy()


def test_what_cannot_be_told_is_not_guessed(quick: AwsBench) -> None:
    provider = quick.open(("iam:SimulatePrincipalPolicy",))
    assert provider.rights is not None
    found = {one.name: one for one in provider.rights.check()}
    assert not [one for one in found.values() if one.granted is False]
    assert found["ec2:RunInstances"].granted is True
    assert found["route53:ChangeResourceRecordSets"].granted is None
    assert "SimulatePrincipalPolicy" in found["route53:ChangeResourceRecordSets"].remedy


@pytest.mark.parametrize("wrong", ["access_key_id", "secret_access_key"])
def test_wrong_credentials_are_denied(quick: AwsBench, wrong: str) -> None:
    site = quick.open().config
    provider = open_site(replace(site, secrets={**site.secrets, wrong: "wrong-1234567890"}))
    assert provider.hosts is not None
    assert provider.rights is not None
    with pytest.raises(Denied, match="credentials") as caught:
        provider.hosts.find("p-1")
    assert "wrong-1234567890" not in str(caught.value)
    first, *others = provider.rights.check()
    assert (first.name, first.granted) == ("sts:GetCallerIdentity", False)
    assert {one.granted for one in others} == {None}


def test_a_role_is_assumed(quick: AwsBench) -> None:
    role = f"arn:aws:iam::{quick.cloud.account}:role/{ROLE}"
    spec = wanted(quick)
    before = quick.wire.called["sts:AssumeRole"]
    site = quick.open(role_arn=role).config
    secrets = quick.cloud.credentials([*policy(), "sts:AssumeRole"])
    provider = open_site(replace(site, secrets=secrets))
    assert provider.hosts is not None
    assert provider.rights is not None
    assert provider.hosts.find(spec.key) is None
    assert {one.granted for one in provider.rights.check()} == {True}
    assert quick.wire.called["sts:AssumeRole"] == before + 1
    denied = quick.open(role_arn=role).hosts
    assert denied is not None
    with pytest.raises(Denied, match="sts:AssumeRole"):
        denied.find(spec.key)


def test_a_spot_machine_is_powered_off(quick: AwsBench) -> None:
    """EC2 refuses to stop it."""
    spec = replace(wanted(quick), spot=True, zone="eu-west-1b", disk_gb=40)
    made = launch(quick, spec)
    assert made.zone == "eu-west-1b"
    hosts = quick.open().hosts
    assert hosts is not None
    assert {"40 GB, in-use"} == {
        one.explanation for one in hosts.strays(spec.owner) if one.kind == "disk"
    }
    finish(lambda token: hosts.power_off(spec.key, token))
    assert hosts.find(spec.key) is None
    terminate(quick, spec)


def test_the_subnet_of_the_zone_is_used(quick: AwsBench) -> None:
    found = quick.cloud.client("ec2").describe_subnets()["Subnets"]
    subnets = {one["AvailabilityZone"]: one["SubnetId"] for one in found}
    setting = ", ".join(subnets.values())
    spec = replace(wanted(quick), zone="eu-west-1c")
    assert launch(quick, spec, subnet=setting).zone == "eu-west-1c"
    terminate(quick, spec)
    hosts = quick.open(subnet=subnets["eu-west-1a"]).hosts
    assert hosts is not None
    with pytest.raises(Invalid, match="eu-west-1c"):
        hosts.launch(replace(wanted(quick), zone="eu-west-1c"))


def test_an_image_that_does_not_exist_is_invalid(quick: AwsBench) -> None:
    for image in ("ami-00000000", "resolve:ssm:/porter/none"):
        hosts = quick.open(image=image).hosts
        assert hosts is not None
        with pytest.raises(Invalid) as caught:
            hosts.launch(wanted(quick))
        assert "image" in caught.value.remedy


def test_an_alias_and_a_profile_are_used(quick: AwsBench) -> None:
    spec = wanted(quick)
    made = launch(quick, spec, image=f"resolve:ssm:{ALIAS}", instance_profile=PROFILE)
    answer = quick.cloud.client("ec2").describe_instances(InstanceIds=[made.id])
    raw = answer["Reservations"][0]["Instances"][0]
    assert raw["ImageId"] == quick.cloud.image
    assert raw["IamInstanceProfile"]["Arn"].endswith(f"/{PROFILE}")
    terminate(quick, spec)


def test_a_disk_that_is_left_over_goes_with_its_key(quick: AwsBench) -> None:
    spec = wanted(quick)
    leave_a_disk(quick, spec)
    hosts = quick.open().hosts
    assert hosts is not None
    assert [one.kind for one in hosts.strays(spec.owner)] == ["disk"]
    terminate(quick, spec)


def test_addresses_are_targets_too(quick: AwsBench) -> None:
    group = quick.cloud.new_group("ip")
    balancing = quick.open().balancing
    assert balancing is not None
    ends = [Destination("192.168.7.5"), Destination("172.31.0.9")]
    finish(lambda token: balancing.set_targets(group, 80, ends, token))
    assert set(balancing.targets(group)) == {"192.168.7.5:80", "172.31.0.9:80"}
    finish(lambda token: balancing.set_targets(group, 80, [], token))
    assert not balancing.targets(group)
    with pytest.raises(Invalid, match="is no instance"):
        balancing.set_targets(quick.group(), 80, ends)


def test_weights_are_kept_and_taken_back(quick: AwsBench) -> None:
    name = f"weighted.{ZONE}"
    dns = quick.open().dns
    assert dns is not None
    for weights in (
        {"10.0.0.1": 9, "10.0.0.2": 1},
        {"10.0.0.2": 1},
        {"10.0.0.2": 3, "10.0.0.3": 1},
    ):
        wish = RecordSet(name, 60, weights)
        finish(lambda token, wish=wish: dns.set_record(wish, token))
        assert dns.record(name) == wish
    finish(lambda token: dns.remove_record(name, token))
    assert dns.record(name) is None


def test_name_servers_are_waited_for(quick: AwsBench) -> None:
    dns, name = quick.open().dns, f"slow.{ZONE}"
    assert dns is not None
    quick.wire.slow = 2
    before = quick.wire.called["route53:GetChange"]
    finish(lambda token: dns.set_record(RecordSet(name, 60, {"10.0.0.1": 1}), token))
    assert quick.wire.called["route53:GetChange"] == before + 3
    finish(lambda token: dns.remove_record(name, token))
    assert quick.wire.called["route53:GetChange"] == before + 6


def test_an_alias_record_is_left_alone(quick: AwsBench) -> None:
    route53 = quick.cloud.client("route53")
    zone = route53.list_hosted_zones()["HostedZones"][0]["Id"]
    target = {"HostedZoneId": zone, "DNSName": f"other.{ZONE}.", "EvaluateTargetHealth": False}
    record = {"Name": f"alias.{ZONE}", "Type": "A", "AliasTarget": target}
    route53.change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]},
    )
    dns = quick.open().dns
    assert dns is not None
    with pytest.raises(Conflict, match="AliasTarget"):
        dns.set_record(RecordSet(f"alias.{ZONE}", 60, {"10.0.0.1": 1}))


def test_the_longest_of_many_zones_holds_a_name(quick: AwsBench) -> None:
    route53 = quick.cloud.client("route53")
    made = [
        route53.create_hosted_zone(Name=name, CallerReference=name)["HostedZone"]["Id"]
        for name in (*(f"z{number}.test" for number in range(101)), f"deep.{ZONE}")
    ]
    dns = quick.open().dns
    assert dns is not None
    for zone, name in ((made[-1], f"www.deep.{ZONE}"), (made[-2], "www.z100.test")):
        wish = RecordSet(name, 60, {"10.0.0.1": 1})
        finish(lambda token, wish=wish: dns.set_record(wish, token))
        records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        assert name in {one["Name"].rstrip(".") for one in records}
    for name in (f"www.deep.{ZONE}", "www.z100.test"):
        finish(lambda token, name=name: dns.remove_record(name, token))
    for zone in made:
        route53.delete_hosted_zone(Id=zone)


def test_all_pages_of_machines_are_listed(quick: AwsBench) -> None:
    spec = wanted(quick)
    tags = [{"Key": "porter-managed", "Value": spec.owner}]
    ec2 = quick.cloud.client("ec2")
    ids = {
        ec2.run_instances(
            ImageId=quick.cloud.image,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )["Instances"][0]["InstanceId"]
        for _ in range(103)
    }
    hosts = quick.open().hosts
    assert hosts is not None
    assert {one.id for one in hosts.managed(spec.owner)} == ids
    ec2.terminate_instances(InstanceIds=sorted(ids))
    assert not hosts.managed(spec.owner)


def test_the_lab_sees_what_ought_to_run(quick: AwsBench) -> None:
    spec = wanted(quick)
    made = launch(quick, spec)
    quick.cloud.booted(made.id, "10.77.0.9")
    hosts = quick.open().hosts
    assert hosts is not None
    found = hosts.find(spec.key)
    assert found is not None
    assert found.private_address == "10.77.0.9"
    mine = {one.id: one for one in quick.cloud.machines()}
    assert (mine[made.id].name, mine[made.id].running) == (spec.name, True)
    assert mine[made.id].user_data == SCRIPT
    finish(lambda token: hosts.power_off(spec.key, token))
    assert not {one.id: one for one in quick.cloud.machines()}[made.id].running
    terminate(quick, spec)
    assert made.id not in {one.id for one in quick.cloud.machines()}


STARTER = """
import sys
from pathlib import Path
from porter.lab.clouds.aws import AwsStandIn
cloud = AwsStandIn()
cloud.start(Path(sys.argv[1]), "127.0.0.2")
print(cloud.backend, cloud.site().settings["endpoint_url"], flush=True)
sys.stdin.read()
"""


def answers(url: str, host: str = "") -> bool:
    parts = urlsplit(url)
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((host or parts.hostname, parts.port), timeout=5).close()
        return True
    return False


def test_the_stand_in_is_on_its_address_only_and_ends_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        urls = process.stdout.readline().split()
        assert len(urls) == 2
        assert all(answers(url) for url in urls)
        assert not any(answers(url, "127.0.0.1") for url in urls)
        process.kill()
    until = time.monotonic() + 30
    while any(answers(url) for url in urls):
        assert time.monotonic() < until, urls
        time.sleep(0.05)
