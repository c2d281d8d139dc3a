"""Azure's adapter without any Azure: settings, errors, rights, and the metadata service."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from porter.domain.errors import Denied, Exhausted, Invalid, NotFound, Permanent, Transient
from porter.domain.site import SiteKind
from porter.providers.azure import bodies, operations, rights
from porter.providers.azure.client import Clients
from porter.providers.azure.faults import of_code
from porter.providers.azure.metadata import AzureMetadata
from porter.providers.azure.place import arch_of, image_reference, read
from porter.providers.base import LaunchSpec, SiteConfig
from porter.providers.registry import open_site

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
SETTINGS = {
    "subscription": SUBSCRIPTION,
    "resource_group": "group",
    "subnet": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/net/providers/Microsoft.Network"
    "/virtualNetworks/v/subnets/s",
    "ssh_key": "ssh-ed25519 AAAA somebody",
}


def site(**settings: str) -> SiteConfig:
    return SiteConfig("azure:westeurope", SiteKind.AZURE, "westeurope", {**SETTINGS, **settings})


def spec(**other: Any) -> LaunchSpec:
    given = {"instance_type": "Standard_B2s", "user_data": "#!/bin/sh\n", "owner": "o", **other}
    return LaunchSpec(key="k-1", name="host-1", **given)


def test_a_place_without_settings_serves_agents_and_prices_only() -> None:
    found = open_site(SiteConfig("azure:westeurope", SiteKind.AZURE, "westeurope"))
    assert found.metadata is not None
    assert found.pricing is not None
    assert found.hosts is found.dns is found.rights is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subscription", "mine"),
        ("resource_group", ""),
        ("subnet", "default"),
        ("ssh_key", "AAAA"),
        ("image", "debian-13"),
        ("base_url", "http://127.0.0.1"),
    ],
)
def test_a_setting_that_cannot_be_right_is_named(name: str, value: str) -> None:
    with pytest.raises(Invalid, match=name):
        open_site(site(**{name: value}))


def test_a_site_needs_a_region() -> None:
    with pytest.raises(Invalid, match="region"):
        open_site(SiteConfig("azure:", SiteKind.AZURE, "", SETTINGS))


@pytest.mark.parametrize(
    ("base", "audience"),
    [
        ("", "https://management.azure.com/.default"),
        ("https://arm.private.example", "https://management.azure.com/.default"),
        ("https://management.chinacloudapi.cn/", "https://management.chinacloudapi.cn/.default"),
    ],
)
def test_tokens_are_for_the_cloud_of_the_site(base: str, audience: str) -> None:
    place = read(site(base_url=base))
    assert place is not None
    assert Clients(place, {}).audience == audience


def test_opening_a_site_asks_for_no_credential() -> None:
    found = open_site(site())
    assert None not in (found.hosts, found.addressing, found.balancing, found.dns, found.rights)


@pytest.mark.parametrize(
    ("size", "arch"),
    [
        ("Standard_D2s_v5", "x86_64"),
        ("Standard_D2ps_v5", "aarch64"),
        ("Standard_E4-2pds_v6", "aarch64"),
        ("Standard_B2pts_v2", "aarch64"),
        ("Standard_NP10s", "x86_64"),
        ("Standard_B2s", "x86_64"),
    ],
)
def test_the_architecture_is_in_the_name(size: str, arch: str) -> None:
    assert arch_of(size) == arch


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("a:b:c:latest", {"publisher": "a", "offer": "b", "sku": "c", "version": "latest"}),
        ("/subscriptions/s/x", {"id": "/subscriptions/s/x"}),
        ("/CommunityGalleries/g/x", {"communityGalleryImageId": "/CommunityGalleries/g/x"}),
        ("/sharedGalleries/g/x", {"sharedGalleryImageId": "/sharedGalleries/g/x"}),
    ],
)
def test_an_image_is_a_urn_or_an_id(image: str, reference: Mapping[str, str]) -> None:
    place = read(site(image=image))
    assert place is not None
    assert image_reference(place, "Standard_B2s") == reference


def test_a_machine_leaves_nothing_when_it_goes() -> None:
    place = read(site())
    assert place is not None
    properties = bodies.machine(place, spec(spot=True))["properties"]
    assert properties["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
    nic = properties["networkProfile"]["networkInterfaces"][0]
    assert nic["properties"]["deleteOption"] == "Delete"
    assert properties["evictionPolicy"] == "Delete"


@pytest.mark.parametrize(
    ("code", "message", "status", "kind"),
    [
        ("SkuNotAvailable", "", 409, Exhausted),
        ("AllocationFailed", "", 0, Exhausted),
        ("OverconstrainedZonalAllocationRequest", "", 0, Exhausted),
        ("QuotaExceeded", "", 409, Exhausted),
        ("PublicIPCountLimitReached", "", 400, Exhausted),
        ("OperationNotAllowed", "results in exceeding approved quota", 409, Exhausted),
        ("OperationNotAllowed", "the VM is marked for deletion", 409, Transient),
        ("AuthorizationFailed", "", 403, Denied),
        ("RequestDisallowedByPolicy", "", 403, Denied),
        ("InvalidAuthenticationToken", "", 401, Denied),
        ("TooManyRequests", "", 429, Transient),
        ("NicReservedForAnotherVm", "", 400, Transient),
        ("InternalServerError", "", 500, Transient),
        ("InvalidParameter", "", 400, Invalid),
        ("ResourceNotFound", "", 404, NotFound),
        ("SomethingNew", "", 0, Permanent),
        ("PropertyChangeNotAllowed", "", 409, Permanent),
        ("MissingSubscriptionRegistration", "", 409, Permanent),
        ("AnotherOperationInProgress", "", 409, Transient),
        ("ScopeLocked", "", 409, Denied),
    ],
)
def test_azures_words_in_ours(code: str, message: str, status: int, kind: type[Exception]) -> None:
    assert type(of_code("launch it", code, message, status)) is kind


def test_of_a_linked_scope_the_missing_right_is_named() -> None:
    message = (
        "The client has permission to perform action 'Microsoft.Compute/virtualMachines/write' on "
        "scope 'x'; however, it does not have permission to perform action "
        "'Microsoft.Network/networkInterfaces/join/action' on the linked scope(s) 'y'."
    )
    found = of_code("launch it", "LinkedAuthorizationFailed", message, 403)
    assert "Microsoft.Network/networkInterfaces/join/action is missing" in str(found)


@pytest.mark.parametrize(
    ("actions", "denied", "granted"),
    [
        (["*"], [], True),
        (["*/read"], [], False),
        (["Microsoft.Compute/*"], [], True),
        (["microsoft.compute/VIRTUALMACHINES/write"], [], True),
        (["Microsoft.Compute/*/write"], [], True),
        (["Microsoft.Compute/virtualMachines"], [], False),
        (["*"], ["Microsoft.Compute/*/write"], False),
        (["*"], ["Microsoft.Network/*"], True),
        ([], [], False),
    ],
)
def test_actions_with_wildcards(actions: list[str], denied: list[str], granted: bool) -> None:
    permissions = [{"actions": actions, "notActions": denied}]
    assert rights.granted("Microsoft.Compute/virtualMachines/write", permissions) is granted


def test_what_one_role_excludes_another_may_grant() -> None:
    one = {"actions": ["*"], "notActions": ["a/write"]}
    assert not rights.granted("a/write", [one])
    assert rights.granted("a/write", [one, {"actions": ["a/*"], "notActions": []}])


def test_a_token_that_cannot_be_read_is_refused() -> None:
    assert operations.read("") == ("", "")
    for token in ("x", "[]", "{}", "3"):
        with pytest.raises(Invalid):
            operations.read(token)


# -- metadata -------------------------------------------------------------------------------

COMPUTE = "/metadata/instance/compute?api-version=2021-02-01"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
MACHINE = {"name": "K-1", "resourceId": "/subscriptions/S/resourceGroups/G/providers/X/vms/K-1"}


class Imds:
    """Answers as the metadata service does: only with its header, and never through a proxy."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {COMPUTE: (200, MACHINE)}
        self.server = http.server.HTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        imds = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                status, body = imds.answers.get(self.path, (404, {}))
                if self.headers["Metadata"] != "true":
                    status, body = 400, {"error": "Bad request. Required metadata header"}
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler


@pytest.fixture
def imds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Imds]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    made = Imds()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def test_the_instance_id_is_that_of_the_machines(imds: Imds) -> None:
    found = AzureMetadata(imds.url).instance()
    assert found == MACHINE["resourceId"].lower()


def test_scheduled_events_of_this_machine_only(imds: Imds) -> None:
    def event(kind: str, when: str, *names: str) -> dict[str, Any]:
        return {"EventId": "e", "EventType": kind, "Resources": list(names), "NotBefore": when}

    when = "Mon, 19 Sep 2026 18:29:47 GMT"
    events = [
        event("Preempt", when, "k-1"),
        event("Freeze", "", "other", "K-1"),
        event("Redeploy", when, "_K-1"),
        event("Reboot", when, "other"),
    ]
    imds.answers[EVENTS] = (200, {"DocumentIncarnation": 1, "Events": events})
    found = [(one.kind, one.at) for one in AzureMetadata(imds.url).notices()]
    at = "2026-09-19T18:29:47+00:00"
    assert found == [("terminate", at), ("maintenance", ""), ("restart", at)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((404, {}), NotFound),
        ((200, b"<html>"), NotFound),
        ((200, {"some": "other cloud"}), NotFound),
        ((429, {}), Transient),
        ((500, {}), Transient),
    ],
)
def test_elsewhere_than_in_azure(imds: Imds, answer: Any, kind: type[Exception]) -> None:
    imds.answers[COMPUTE] = answer
    with pytest.raises(kind):
        AzureMetadata(imds.url).instance()


def test_where_nothing_answers() -> None:
    with pytest.raises(NotFound):
        AzureMetadata("http://127.0.0.1:1").instance()
