"""The OpenStack adapter on the real Keystone, Nova, Neutron, Glance and Placement, through the
unmodified SDK. Nova's hypervisor is its own fake one: nothing boots."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from porter.domain.errors import Denied, Exhausted, Invalid, NotFound, Transient
from porter.domain.site import SiteKind
from porter.lab.clouds.openstack import OpenStackStandIn
from porter.providers.base import HostLifecycle, Instance, InstanceState, Provider, SiteConfig
from porter.providers.openstack.metadata import OpenStackMetadata
from porter.providers.openstack.rights import NOTHING, TOKEN
from porter.providers.registry import open_site
from tests.contracts.provider_contracts import (
    SCRIPT,
    AddressingContract,
    HostLifecycleContract,
    PricingContract,
    RightsContract,
    finish,
    wanted,
)
from tests.integration.clouds.openstack_proxy import Fault, Proxy, before

pytestmark = [
    pytest.mark.integration,
    # The SDK uses itself what it is about to remove.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
RULES = json.loads((Path(__file__).parents[3] / "docs/policies/openstack.yaml").read_text())
REMOVE = "compute DELETE /v2.1/servers/{server_id}"


class OpenStackBench:
    """Opened with an application credential that allows what docs/policies lists, no more."""

    instance_type = "small"
    zone = ""

    def __init__(self, cloud: OpenStackStandIn) -> None:
        self.cloud = cloud
        self.config = cloud.restricted(RULES)

    def open(self, **settings: str) -> Provider:
        given = {**self.config.settings, **settings}
        return open_site(replace(self.config, settings=given))

    def hosts(self, **settings: str) -> HostLifecycle:
        found = self.open(**settings).hosts
        assert found is not None
        return found

    def user_data(self, instance: Instance) -> str:
        return next(one.user_data for one in self.cloud.machines() if one.id == instance.id)

    def count(self, key: str) -> int:
        listed = self.cloud.admin().compute.servers
        name = f"^host-{key}$"
        gone = listed(all_projects=True, deleted_only=True, name=name)
        return len({one.id for one in (*listed(all_projects=True, name=name), *gone)})

    def address(self) -> str:
        return self.cloud.new_address()

    def group(self) -> str:
        raise AssertionError("OpenStack sites have no load balancing")

    def lacking(self) -> tuple[Provider, str]:
        rules = [one for one in RULES if " ".join(one.values()) != REMOVE]
        assert len(rules) == len(RULES) - 1
        return open_site(self.cloud.restricted(rules)), REMOVE


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStackStandIn]:
    stand_in = OpenStackStandIn()
    try:
        stand_in.start(tmp_path_factory.mktemp("openstack"), "127.0.0.1")
        yield stand_in
    finally:
        stand_in.stop()


@pytest.fixture(scope="module")
def bench(cloud: OpenStackStandIn) -> OpenStackBench:
    return OpenStackBench(cloud)


class TestHosts(HostLifecycleContract):
    pass


class TestAddressing(AddressingContract):
    pass


class TestRights(RightsContract):
    pass


class TestPricing(PricingContract):
    pass


# -- faults -----------------------------------------------------------------------------------


@pytest.fixture
def proxy(cloud: OpenStackStandIn) -> Iterator[Proxy]:
    with before(cloud.admin().compute.get_endpoint().split("/")[2]) as found:
        yield found


def through(bench: OpenStackBench, proxy: Proxy, **settings: str) -> HostLifecycle:
    return bench.hosts(compute_endpoint=f"http://127.0.0.1:{proxy.port}/v2.1", **settings)


def launch(bench: OpenStackBench, **other: str) -> Instance:
    return HostLifecycleContract().launch(bench, wanted(bench, **other))


def remove(bench: OpenStackBench, key: str) -> None:
    HostLifecycleContract().remove(bench, key)


@pytest.mark.parametrize("kind", ["lose", "hang"])
def test_a_launch_whose_answer_is_lost_makes_no_second_one(
    bench: OpenStackBench, proxy: Proxy, kind: str
) -> None:
    spec = wanted(bench)
    proxy.faults.append(Fault(kind, "POST", "/servers$"))
    with pytest.raises(Transient):
        through(bench, proxy, timeout="8").launch(spec)
    assert proxy.forwarded.count("POST /v2.1/servers") == 1
    made = finish(lambda token: through(bench, proxy).launch(spec, token))
    assert made.state is InstanceState.RUNNING
    assert bench.count(spec.key) == 1
    assert proxy.forwarded.count("POST /v2.1/servers") == 1
    remove(bench, spec.key)


def test_an_overloaded_service_is_asked_again(bench: OpenStackBench, proxy: Proxy) -> None:
    spec = wanted(bench)
    proxy.faults.append(Fault("refuse", "GET", "/servers/detail"))
    assert through(bench, proxy).find(spec.key) is None
    proxy.faults[0].times = 100
    with pytest.raises(Transient, match="503"):
        through(bench, proxy).find(spec.key)
    proxy.faults[0].times = 0
    # What makes something is sent once only: a 503 may come from what stands before Nova.
    proxy.faults.append(Fault("refuse", "POST", "/servers$", 2))
    with pytest.raises(Transient):
        through(bench, proxy).launch(spec)
    assert proxy.faults[1].times == 1
    assert bench.count(spec.key) == 0


def test_a_removal_whose_answer_is_lost_goes_on(bench: OpenStackBench, proxy: Proxy) -> None:
    key = launch(bench).key
    proxy.faults.append(Fault("lose", "DELETE", "/servers/", 3))
    try:
        through(bench, proxy).terminate(key)
    except Transient:
        pass  # or the SDK asked again, and it was gone
    finish(lambda token: through(bench, proxy).terminate(key, token))
    assert bench.hosts().find(key) is None


def test_twins_are_reduced_to_one(bench: OpenStackBench, proxy: Proxy) -> None:
    """Two workers that launch at once, neither seeing the other's server yet."""
    spec = wanted(bench)
    hosts = bench.hosts()
    first = hosts.launch(spec)
    compute = bench.cloud.admin().compute
    blind = bench.hosts()
    blind._servers = lambda name, value: []  # type: ignore[attr-defined]
    blind.launch(spec)
    made = finish(lambda token: bench.hosts().launch(spec, token))
    assert made.id == getattr(first, "token", made.id)
    until = time.monotonic() + 30
    while len(list(compute.servers(all_projects=True, name=f"^{spec.name}$"))) > 1:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert bench.count(spec.key) == 2
    remove(bench, spec.key)
    assert not bench.hosts().strays(spec.owner)


# -- capacity and rights ------------------------------------------------------------------------


def test_no_host_for_a_flavour_is_exhausted_and_removed(bench: OpenStackBench) -> None:
    spec = wanted(bench, instance_type="nowhere")
    with pytest.raises(Exhausted, match="No valid host"):
        HostLifecycleContract().launch(bench, spec)
    found = bench.hosts().find(spec.key)
    assert found is not None
    assert found.state is InstanceState.FAILED
    assert "No valid host" in found.problem
    assert finish(lambda token: bench.hosts().power_off(spec.key, token)) is None
    remove(bench, spec.key)
    assert not bench.hosts().strays(spec.owner)


def test_a_full_quota_is_exhausted(bench: OpenStackBench) -> None:
    admin = bench.cloud.admin()
    project = admin.identity.find_project("porter")
    spec = wanted(bench)
    admin.compute.put(f"/os-quota-sets/{project.id}", json={"quota_set": {"instances": 0}})
    try:
        with pytest.raises(Exhausted, match=r"[Qq]uota"):
            bench.hosts().launch(spec)
    finally:
        admin.compute.delete(f"/os-quota-sets/{project.id}")
    assert bench.count(spec.key) == 0


def test_who_may_only_look_is_told_which_right_is_missing(
    bench: OpenStackBench, cloud: OpenStackStandIn
) -> None:
    watcher = open_site(cloud.site("watcher"))
    assert watcher.hosts is not None
    assert watcher.rights is not None
    with pytest.raises(Denied, match=re.escape("compute POST /v2.1/servers")) as caught:
        watcher.hosts.launch(wanted(bench))
    assert "docs/policies/openstack.yaml" in caught.value.remedy
    found = {one.name: one.granted for one in watcher.rights.check()}
    assert found[TOKEN] is True
    assert found["compute GET /v2.1/servers/detail"] is True
    assert found["compute POST /v2.1/servers"] is False
    assert found[REMOVE] is None


def test_a_missing_access_rule_denies_the_call(bench: OpenStackBench) -> None:
    key = launch(bench).key
    limited, name = bench.lacking()
    assert limited.hosts is not None
    with pytest.raises(Denied, match=re.escape(name)):
        limited.hosts.terminate(key)
    remove(bench, key)


def test_checking_rights_changes_nothing(bench: OpenStackBench) -> None:
    admin = bench.cloud.admin()

    def everything() -> set[str]:
        servers = admin.compute.servers(all_projects=True)
        return {one.id for one in (*servers, *admin.network.ports(), *admin.network.ips())}

    before = everything()
    rights = bench.open().rights
    assert rights is not None
    rights.check()
    assert everything() == before


def test_wrong_credentials_are_denied(bench: OpenStackBench, cloud: OpenStackStandIn) -> None:
    good = cloud.site()
    wrong = replace(good, secrets={**good.secrets, "password": "not-the-secret"})
    site = open_site(wrong)
    assert site.hosts is not None
    assert site.rights is not None
    with pytest.raises(Denied, match="credentials") as caught:
        site.hosts.types()
    assert "not-the-secret" not in f"{caught.value!r} {caught.value} {wrong!r}"
    found = site.rights.check()
    assert [one.name for one in found if one.granted is False] == [TOKEN]


# -- what else is told --------------------------------------------------------------------------


def test_flavours_tell_features_and_prices(bench: OpenStackBench) -> None:
    types = {one.name: one for one in bench.hosts().types()}
    assert types["nowhere"].features == {"avx512f"}
    assert types["small"].memory_bytes == 4 << 30
    assert [one.name for one in bench.hosts(flavors="large, none").types()] == ["large"]
    with pytest.raises(Invalid, match="no flavour small"):
        bench.hosts(flavors="large").launch(wanted(bench))
    with pytest.raises(Invalid, match="disk"):
        bench.hosts().launch(replace(wanted(bench), disk_gb=21))


def test_a_machine_knows_itself(bench: OpenStackBench) -> None:
    made = launch(bench)
    url, headers = bench.cloud.metadata(made.id)
    machine = OpenStackMetadata(url, headers)
    assert machine.instance() == made.id
    assert not machine.notices()
    with pytest.raises(NotFound):
        OpenStackMetadata(url, {**headers, "X-Instance-ID": NOTHING}).instance()
    remove(bench, made.key)


def test_the_lab_sees_machines_and_says_where_they_are(bench: OpenStackBench) -> None:
    made = launch(bench)
    machine = next(one for one in bench.cloud.machines() if one.id == made.id)
    assert (machine.name, machine.running, machine.user_data) == (made.name, True, SCRIPT)
    bench.cloud.booted(made.id, "10.78.3.9")
    until = time.monotonic() + 30
    while (found := bench.hosts().find(made.key)) and found.private_address != "10.78.3.9":
        assert time.monotonic() < until
        time.sleep(0.2)
    finish(lambda token: bench.hosts().power_off(made.key, token))
    assert [one.running for one in bench.cloud.machines() if one.id == made.id] == [False]
    remove(bench, made.key)
    assert made.id not in {one.id for one in bench.cloud.machines()}


def test_clouds_yaml_opens_a_site(
    bench: OpenStackBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"auth_url": bench.config.settings["auth_url"], **bench.config.secrets}
    cloud = {"auth_type": "v3applicationcredential", "auth": auth, "region_name": "RegionOne"}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"mine": cloud}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    site = open_site(SiteConfig("o", SiteKind.OPENSTACK, "RegionOne", {"cloud": "mine"}))
    assert site.hosts is not None
    assert {one.name for one in site.hosts.types()} >= {"small", "large"}
    absent = open_site(SiteConfig("o", SiteKind.OPENSTACK, "", {"cloud": uuid.uuid4().hex}))
    assert absent.hosts is not None
    with pytest.raises(Invalid, match=r"clouds\.yaml"):
        absent.hosts.types()


def test_the_project_has_object_storage_with_s3(cloud: OpenStackStandIn) -> None:
    keys = cloud.swift()
    options = {"region_name": "us-east-1", "aws_access_key_id": keys["access"]}
    for secret, fits in ((keys["secret"], True), ("0" * 32, False)):
        s3 = boto3.client(
            "s3",
            endpoint_url=keys["endpoint"],
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
            **options,
        )
        if fits:
            s3.create_bucket(Bucket="layers")
            assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == ["layers"]
        else:
            with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
                s3.list_buckets()
