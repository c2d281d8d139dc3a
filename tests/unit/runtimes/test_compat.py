"""The target's half of the preflight: every reason is named, with a remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from porter.domain.host import HostFacts
from porter.domain.workload import LABEL_ENABLE, Image
from porter.runtimes.compat import check, memory_needed
from porter.runtimes.fake import FakeRuntime

IMAGE = Image("1" * 64, ("web:1",), ("sha256:a", "sha256:b"), 1000)
FACTS = HostFacts(
    kernel="6.1.0-18-amd64",
    arch="x86_64",
    cpus=2,
    cpu_features=("aes", "avx", "avx2", "fpu", "hypervisor", "sse2"),
    memory_total=8 << 30,
    memory_free=4 << 30,
    disk_free=50 << 30,
    criu_version=(4, 1, 1),
    criu_problem="",
    engine="podman",
    engine_version="4.3.1",
    oci_runtime="runc",
    cgroup="v1",
    underlay="10.99.0.2",
    peer_port=7000,
)


def reasons(
    tmp_path: Path,
    source: dict[str, Any] | None = None,
    here: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    prepare: Any = None,
) -> list[str]:
    there = FakeRuntime(tmp_path / "there")
    there.run("web", IMAGE, {LABEL_ENABLE: "true"})
    target = FakeRuntime(tmp_path / "here")
    if prepare is not None:
        prepare(target)
    blockers = check(
        dataclasses.replace(there.inspect("web"), **(spec or {})),
        dataclasses.replace(FACTS, **(source or {})),
        dataclasses.replace(FACTS, **(here or {})),
        target,
    )
    for one in blockers:
        assert one.message
        assert one.remedy
    return [one.code for one in blockers]


def test_equal_hosts_have_nothing_against_it(tmp_path: Path) -> None:
    assert reasons(tmp_path) == []


def test_a_newer_and_larger_host_has_nothing_against_it(tmp_path: Path) -> None:
    more = (*FACTS.cpu_features, "avx512f")
    newer = {"cpu_features": more, "kernel": "6.18.1", "criu_version": (4, 1, 9)}
    assert reasons(tmp_path, here=newer) == []


@pytest.mark.parametrize(
    ("source", "here", "code"),
    [
        ({}, {"arch": "aarch64"}, "arch"),
        ({}, {"cpu_features": ("aes", "sse2")}, "cpu-features"),
        ({}, {"kernel": "5.4.0-generic"}, "kernel"),
        ({}, {"kernel": "unknown"}, "kernel"),
        ({}, {"cgroup": "v2"}, "cgroup"),
        ({}, {"criu_version": (0,), "criu_problem": "it is not installed"}, "criu"),
        ({"criu_version": (0,)}, {}, "criu"),
        ({}, {"criu_version": (4, 2, 1)}, "criu-version"),
        ({}, {"engine": ""}, "engine"),
        ({}, {"engine": "docker"}, "engine"),
        ({}, {"oci_runtime": "crun"}, "oci-runtime"),
        ({}, {"memory_free": 10}, "memory"),
        ({}, {"disk_free": 10}, "disk"),
    ],
)
def test_what_the_host_lacks_is_named(
    tmp_path: Path, source: dict[str, Any], here: dict[str, Any], code: str
) -> None:
    assert reasons(tmp_path, source, here) == [code]


def test_flags_that_programs_do_not_use_do_not_matter(tmp_path: Path) -> None:
    features = tuple(one for one in FACTS.cpu_features if one not in ("fpu", "hypervisor"))
    assert reasons(tmp_path, here={"cpu_features": features}) == []


def test_memory_is_for_the_tasks_and_for_their_images(tmp_path: Path) -> None:
    there = FakeRuntime(tmp_path / "x")
    there.run("web", IMAGE)
    spec = dataclasses.replace(there.inspect("web"), memory_bytes=1000, shm_bytes=50)
    assert memory_needed(spec) == 2150
    big = {"memory_bytes": 2 << 30}
    assert reasons(tmp_path / "a", spec=big) == ["memory"]
    assert reasons(tmp_path / "b", spec=big, here={"memory_free": 5 << 30}) == []


def test_names_and_addresses_in_use_are_named(tmp_path: Path) -> None:
    def same_name(target: FakeRuntime) -> None:
        target.run("web", IMAGE, address="10.77.0.8")

    def same_workload(target: FakeRuntime) -> None:
        labels = {LABEL_ENABLE: "true", "porter.name": "web"}
        target.run("other", IMAGE, labels, address="10.77.0.8")

    def same_address(target: FakeRuntime) -> None:
        target.run("other", IMAGE)

    assert reasons(tmp_path / "a", prepare=same_name) == ["name-clash"]
    assert reasons(tmp_path / "b", prepare=same_workload) == ["name-clash"]
    assert reasons(tmp_path / "c", prepare=same_address) == ["address-clash"]


def test_an_image_without_layers_cannot_be_shipped(tmp_path: Path) -> None:
    image = dataclasses.replace(IMAGE, id="9" * 64, layers=())

    class Lacking(FakeRuntime):
        def missing(self, image: Image) -> tuple[str, ...]:
            return ("?",)

    there = FakeRuntime(tmp_path / "there")
    there.run("web", IMAGE)
    spec = dataclasses.replace(there.inspect("web"), image=image)
    found = check(spec, FACTS, FACTS, Lacking(tmp_path / "here"))
    assert [one.code for one in found] == ["image-missing"]
