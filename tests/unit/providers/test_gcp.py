"""Google Cloud's pure parts: settings, errors, labels, tokens, and the script of the first boot."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from porter.domain.errors import (
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    PorterError,
    Transient,
)
from porter.domain.site import SiteKind
from porter.providers.base import LaunchSpec, SiteConfig
from porter.providers.gcp import errors, machines, operations
from porter.providers.gcp.settings import COMPUTE, DNS, GcpSettings, read

SPEC = LaunchSpec("p-key", "host-1", "e2-small", "#!/bin/sh\n", "o-1")
KEY = '{"type": "service_account", "private_key": "hush"}'


def settings(region: str = "europe-west1", secret: str = "", **given: str) -> GcpSettings:
    secrets = {"service_account_json": secret} if secret else {}
    given = {"project": "my-project", **given}
    return read(SiteConfig("gcp:x", SiteKind.GCP, region, given, secrets))


def test_settings_have_defaults() -> None:
    found = settings()
    assert (found.endpoint, found.dns_endpoint) == (COMPUTE, DNS)
    assert (found.anonymous, found.external_ip, found.dns_project) == (False, True, "my-project")
    assert settings(machine_types="e2-small, e2-medium").machine_types == ("e2-small", "e2-medium")
    assert settings(endpoint="compute-a.p.googleapis.com").endpoint.startswith("https://")


@pytest.mark.parametrize(
    "given",
    [
        {"project": ""},
        {"project": "No Project"},
        {"region": "europe"},
        {"zone": "us-east1-b"},
        {"external_ip": "perhaps"},
        {"endpoint": "http://compute.example.com"},
        {"endpoint": "http://8.8.8.8:80"},
        {"endpoint": "ftp://127.0.0.1"},
        {"endpoint": "http://127.0.0.1:1", "dns_endpoint": "https://dns.googleapis.com"},
        {"dns_endpoint": "http://127.0.0.1:1"},
        {"secret": "no json"},
        {"secret": '{"type": "authorized_user"}'},
    ],
)
def test_settings_that_cannot_be_right(given: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="cannot open the site gcp:x"):
        settings(**given)


def test_only_a_lab_is_asked_without_credentials() -> None:
    lab = settings(endpoint="http://10.1.2.3:80/")
    assert lab.anonymous
    # Nothing that is meant for the lab may reach Google.
    assert {lab.dns_endpoint, lab.iam_endpoint, lab.resourcemanager_endpoint} == {lab.endpoint}
    assert not settings(endpoint="https://10.1.2.3").anonymous


def test_a_secret_is_never_shown() -> None:
    assert "hush" not in repr(settings(secret=KEY))
    with pytest.raises(Invalid) as caught:
        settings(secret=KEY + "}")
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", 503, Exhausted),
        ("QUOTA_EXCEEDED", 403, Exhausted),
        ("RESOURCE_NOT_READY", 400, errors.Again),
        ("INTERNAL_ERROR", 503, errors.Again),
        ("PERMISSIONS_ERROR", 0, Denied),
        ("RESOURCE_NOT_FOUND", 0, NotFound),
        ("INVALID_FIELD_VALUE", 0, Invalid),
        ("RESOURCE_ALREADY_EXISTS", 0, errors.Taken),
    ],
)
def test_errors_of_operations(code: str, status: int, expected: type[PorterError]) -> None:
    assert type(errors.from_operation("launch x", status, code, "why")) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (api.RetryError("late", api.ServiceUnavailable("busy")), Transient),
        (auth.RefreshError("hush: no such account"), Denied),
        (auth.RefreshError("hush", retryable=True), Transient),
        (auth.TransportError("hush"), Transient),
        (auth.DefaultCredentialsError("hush"), Denied),
    ],
)
def test_errors_of_the_sdk(error: Exception, expected: type[PorterError]) -> None:
    found = errors.from_exception("launch x", error)
    assert type(found) is expected
    assert "hush" not in str(found)


def test_an_api_that_is_switched_off_has_its_remedy() -> None:
    found = errors.from_http("launch x", 403, ["accessNotConfigured"], "off")
    assert isinstance(found, Denied)
    assert "enable" in found.remedy


def test_a_name_never_ends_in_a_dash() -> None:
    assert machines.name_of("a-") != machines.name_of("a")
    assert not machines.name_of("a-").endswith("-")
    assert len(machines.name_of("a" * 40)) <= 63


@pytest.mark.parametrize(
    "tags", [{"Upper": "x"}, {"x": "Upper"}, {"x": "y" * 64}, {"9": "x"}, {"x": "a b"}]
)
def test_what_cannot_be_a_label_is_refused(tags: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="cannot be a label"):
        machines.labels(LaunchSpec("k", "n", "t", "", "o", tags))


@pytest.mark.parametrize("text", ["x", "[1]", '{"op": 1}', '"s"'])
def test_a_strange_token_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="no token"):
        operations.parse(text)


@pytest.mark.parametrize("text", ["", "zone", "zone/", "/name", "a/b/c"])
def test_a_strange_instance_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="ZONE/NAME"):
        machines.split_identity(text)


def test_request_ids_depend_on_all_of_their_seed() -> None:
    ids = {operations.request_id(*seed) for seed in (("a", "b"), ("ab", ""), ("a", "b", ""))}
    assert len(ids) == 3
    assert operations.request_id("a", "b") in ids


def test_the_first_boot_runs_the_user_data_once(tmp_path: Path) -> None:
    kept, log = tmp_path / "kept", tmp_path / "log"
    user_data = f"#!/bin/sh\n# ünï 'q' \"$d\" `x`\nEND\nprintf 'ran\\n' >>{log}\n"
    user_data = user_data.replace("END\n", ": <<'END'\nEND\n")
    script = machines.first_boot(user_data).replace("/var/lib/porter-first-boot", str(kept))

    def boot(path: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            env={"PATH": path},
            timeout=30,
            capture_output=True,
            check=True,
        )
        assert done.stderr == b""

    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cloud-init").write_text("#!/bin/sh\n")
    (tools / "cloud-init").chmod(0o700)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("base64", "chmod", "mkdir"):
        (plain / name).symlink_to(next(p for p in _found(name)))
    boot(f"{tools}:{plain}")
    assert not log.exists()
    boot(str(plain))
    boot(str(plain))
    assert log.read_text() == "ran\n"
    assert (kept / "script").read_text() == user_data


def _found(name: str) -> list[Path]:
    paths = (Path(one) / name for one in os.environ["PATH"].split(":"))
    return [path for path in paths if path.exists()]
