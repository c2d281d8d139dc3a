"""What the OpenStack adapter makes of settings, errors, servers and flavours, without a cloud."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from porter.domain.errors import (
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Permanent,
    PorterError,
    Transient,
    Unsupported,
)
from porter.domain.site import SiteKind
from porter.providers.base import InstanceState, SiteConfig
from porter.providers.openstack import errors, flavors, servers
from porter.providers.openstack.metadata import OpenStackMetadata
from porter.providers.openstack.rights import PROBES
from porter.providers.openstack.settings import parse

POLICY = Path(__file__).parents[3] / "docs/policies/openstack.yaml"


def test_the_documented_access_rules_are_those_that_are_checked() -> None:
    rules = json.loads(POLICY.read_text())
    assert [(one["service"], one["method"], one["path"]) for one in rules] == [
        (one.service, one.method, one.path) for one in PROBES
    ]


def config(settings: dict[str, str], secrets: dict[str, str] | None = None) -> SiteConfig:
    return SiteConfig("o", SiteKind.OPENSTACK, "R", settings, secrets or {})


ACCOUNT = {"username": "u", "password": "hidden"}
WHERE = {"auth_url": "https://k.example/v3", "project": "p"}


@pytest.mark.parametrize(
    ("settings", "secrets", "said"),
    [
        (WHERE, {"username": "u"}, "secrets"),
        ({"project": "p"}, ACCOUNT, "auth_url"),
        ({"auth_url": "https://k.example/v3"}, ACCOUNT, "project"),
        ({**WHERE, "arch": "mips"}, ACCOUNT, "arch"),
        ({**WHERE, "config_drive": "yes"}, ACCOUNT, "config_drive"),
        ({**WHERE, "timeout": "0"}, ACCOUNT, "timeout"),
        ({**WHERE, "timeout": "soon"}, ACCOUNT, "timeout"),
    ],
)
def test_a_wrong_setting_is_named(
    settings: dict[str, str], secrets: dict[str, str], said: str
) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        parse(config(settings, secrets))
    assert "hidden" not in str(caught.value)


def test_lists_are_split() -> None:
    found = parse(config({"flavors": "a, b,", "security_groups": "web"}))
    assert (found.flavors, found.security_groups) == (("a", "b"), ("web",))


def answered(status: int, text: str = "why") -> Exception:
    response = requests.Response()
    response.status_code = status
    return sdk.HttpException(message=text, response=response, details=text)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (answered(400), Invalid),
        (answered(401), Denied),
        (answered(403), Denied),
        (answered(403, "Quota exceeded for cores: Requested 2"), Exhausted),
        (answered(409, "Quota exceeded for resources: ['port']."), Exhausted),
        (answered(409, "No more IP addresses available on network n"), Exhausted),
        (answered(409), Permanent),
        (answered(404), NotFound),
        (answered(406), Unsupported),
        (answered(413, "over limit"), Exhausted),
        (answered(429), Transient),
        (answered(500), Transient),
        (answered(503), Transient),
        (auth.Unauthorized(), Denied),
        (auth.ServiceUnavailable(), Transient),
        (auth.ConnectTimeout(), Transient),
        (auth.ConnectFailure(), Transient),
        (auth.SSLError(), Transient),
        (auth.EndpointNotFound(), Permanent),
        (sdk.ConfigException("Cloud mine was not found."), Invalid),
        (sdk.SDKException("odd"), Permanent),
    ],
    ids=repr,
)
def test_errors_are_told_apart(error: Exception, wanted: type[PorterError]) -> None:
    found = errors.translate(error, "launch h", "compute POST /v2.1/servers")
    assert type(found) is wanted
    assert str(found).startswith("cannot launch h: ")


def test_a_denied_call_names_the_right_and_where_to_give_it() -> None:
    found = errors.translate(answered(403), "launch h", "compute POST /v2.1/servers")
    assert "compute POST /v2.1/servers" in found.message
    assert "docs/policies/openstack.yaml" in found.remedy


def server(**other: object) -> SimpleNamespace:
    given = {"status": "ACTIVE", "task_state": None, "power_state": 1, "host_id": "h"}
    return SimpleNamespace(**{**given, **other})


@pytest.mark.parametrize(
    ("what", "state", "off"),
    [
        ({}, InstanceState.RUNNING, False),
        ({"status": "BUILD"}, InstanceState.STARTING, False),
        ({"task_state": "powering-off"}, InstanceState.STOPPING, False),
        ({"status": "SHUTOFF"}, InstanceState.STOPPED, True),
        ({"status": "SHUTOFF", "task_state": "powering-on"}, InstanceState.STOPPED, False),
        ({"task_state": "deleting"}, InstanceState.STOPPING, False),
        ({"status": "ERROR"}, InstanceState.FAILED, False),
        ({"status": "ERROR", "power_state": 4}, InstanceState.FAILED, True),
        ({"status": "ERROR", "host_id": "", "power_state": 0}, InstanceState.FAILED, True),
        ({"status": "UNKNOWN"}, InstanceState.RUNNING, False),
        ({"status": "SOFT_DELETED"}, InstanceState.GONE, False),
    ],
)
def test_only_what_surely_stands_is_off(
    what: dict[str, object], state: InstanceState, off: bool
) -> None:
    assert servers.state(server(**what)) is state
    assert servers.surely_off(server(**what)) is off


@pytest.mark.parametrize(
    ("specs", "arch", "features"),
    [
        ({}, "x86_64", set()),
        ({"trait:HW_ARCH_AARCH64": "required"}, "aarch64", set()),
        ({"capabilities:cpu_info:arch": "aarch64"}, "aarch64", set()),
        (
            {
                "trait:HW_CPU_X86_SSE42": "required",
                "trait:HW_CPU_X86_AVX2": "required",
                "trait:HW_CPU_X86_VMX": "forbidden",
                "trait:HW_CPU_X86_AMD_SEV": "required",
            },
            "x86_64",
            {"sse4_2", "avx2"},
        ),
    ],
)
def test_flavours_tell_what_all_their_hosts_have(
    specs: dict[str, str], arch: str, features: set[str]
) -> None:
    flavor = SimpleNamespace(name="f", vcpus=2, ram=4096, extra_specs=specs)
    found = flavors.view(flavor, "x86_64")
    assert (found.arch, found.features, found.memory_bytes) == (arch, features, 4 << 30)


def test_elsewhere_than_in_openstack_there_is_no_instance() -> None:
    with pytest.raises(NotFound):
        OpenStackMetadata("http://127.0.0.1:1").instance()
