"""The small pure parts of the Podman runtime."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from porter.domain.errors import Invalid, NotFound, Permanent, Transient
from porter.runtimes.blockers import Seen, find_blockers
from porter.runtimes.cgroup import Cgroup, hierarchies, version
from porter.runtimes.leftovers import empty_tree, remove_tree
from porter.runtimes.oci import criu_reason
from porter.runtimes.podman_cli import Podman, last_words
from porter.runtimes.podman_network import network_file
from porter.runtimes.records import Record, Records
from porter.runtimes.settings import differences, settings

V1 = """\
33 25 0:29 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
34 33 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
36 33 0:32 / /sys/fs/cgroup/freezer rw shared:9 - cgroup cgroup rw,freezer
37 33 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
"""
V2 = "34 33 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


def test_both_versions_of_cgroups_are_told_apart() -> None:
    assert version(hierarchies(V1)) == "v1"
    assert version(hierarchies(V2)) == "v2"
    one = Cgroup("/a/b", hierarchies(V1))
    assert one.directory("freezer") == Path("/sys/fs/cgroup/freezer/a/b")
    assert one.directory("cpu") == Path("/sys/fs/cgroup/cpu,cpuacct/a/b")
    assert Cgroup("/a/b", hierarchies(V2)).directory("freezer") == Path("/sys/fs/cgroup/a/b")


def fake_v2(top: Path) -> Cgroup:
    (top / "c/below").mkdir(parents=True)
    (top / "c/cgroup.procs").write_text("11\n12\n")
    (top / "c/below/cgroup.procs").write_text("13\n")
    (top / "c/memory.stat").write_text("anon 100\nfile 900\nshmem 50\n")
    (top / "c/cgroup.events").write_text("populated 1\nfrozen 1\n")
    (top / "c/cgroup.freeze").write_text("1")
    return Cgroup("/c", hierarchies(f"34 33 0:30 / {top} rw - cgroup2 cgroup2 rw\n"))


def test_a_group_of_version_2_is_read(tmp_path: Path) -> None:
    group = fake_v2(tmp_path)
    assert group.pids() == [11, 12, 13]
    assert group.memory() == (100, 50)
    assert group.frozen()
    group.set_frozen(True)
    assert (tmp_path / "c/cgroup.freeze").read_text() == "1"


def test_a_zombie_has_no_group_and_neither_have_we() -> None:
    """Version 1 counts zombies to the root group: whoever kills that kills the whole machine."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Cgroup.of(process.pid) is None
    process.wait()
    assert Cgroup.of(process.pid) is None
    assert Cgroup.of(os.getpid()) is None
    assert Cgroup.of(1) is None


@pytest.mark.parametrize("path", ["/", "", "/..", "/../other", "//"])
def test_a_group_that_is_not_a_containers_is_refused(tmp_path: Path, path: str) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"linux": {"cgroupsPath": path}}))
    assert Cgroup.configured(config) is None


def test_tasks_that_do_not_follow_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="thaw"):
        fake_v2(tmp_path).set_frozen(False, limit=0.01)


def test_a_group_that_is_gone_counts_as_thawed(tmp_path: Path) -> None:
    group = Cgroup("/gone", hierarchies(f"34 33 0:30 / {tmp_path} rw - cgroup2 cgroup2 rw\n"))
    group.set_frozen(False)
    assert not group.frozen()
    assert group.pids() == []
    assert group.memory() == (0, 0)
    group.remove()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("time=x level=error msg=y\nError: no such thing\n", "no such thing"),
        ("plain\n", "plain"),
        ("", "no reason given"),
    ],
)
def test_the_engines_last_words_are_found(text: str, word: str) -> None:
    assert last_words(text) == word


def test_criu_says_why(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_text(
        "(00.1) Warn  (a.c:1): nothing\n(00.2) Error (criu/files.c:9): Can't dump file 7\n"
        "(00.3) Error (criu/dump.c:2): Dumping FAILED.\n"
    )
    assert criu_reason(tmp_path / "none", log) == "Can't dump file 7; Dumping FAILED."
    assert criu_reason(tmp_path / "none") == ""


def script(tmp_path: Path, body: str) -> Podman:
    path = tmp_path / "podman"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return Podman(str(path))


def test_podman_is_run_and_its_errors_are_ours(tmp_path: Path) -> None:
    assert script(tmp_path, "echo '[{\"Id\": 1}]'").container("x") == {"Id": 1}
    absent = script(tmp_path, "echo 'Error: no such container x' >&2; exit 125")
    assert absent.container("x") is None
    with pytest.raises(NotFound):
        absent.run("rm", "x")
    with pytest.raises(Permanent, match="cannot stop it: boom"):
        script(tmp_path, "echo 'Error: boom' >&2; exit 1").run("stop", doing="stop it")
    with pytest.raises(Transient, match="did not end within"):
        script(tmp_path, "sleep 60").run("stop", limit=0.1)
    with pytest.raises(Permanent, match="install podman"):
        Podman(str(tmp_path / "missing")).run("ps")


def test_records_are_kept_and_found(tmp_path: Path) -> None:
    records = Records(tmp_path / "twins")
    assert records.all() == []
    assert records.read("m1") is None
    record = Record("m1", "web", ["--name", "web"], "/dev/shm/m1/images", trees={"rootfs": "/x"})
    records.write(record)
    assert records.read("m1") == record
    assert records.all() == [record]
    records.remove("m1")
    records.remove("m1")
    assert records.all() == []
    with pytest.raises(Invalid):
        records.read("../m1")


def test_trees_are_emptied_and_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a/b").mkdir(parents=True)
    (top / "a/file").write_text("x")
    (top / "link").symlink_to(tmp_path)
    empty_tree(top)
    assert list(top.iterdir()) == []
    assert tmp_path.exists()
    (top / "a").mkdir()
    (top / "a/link").symlink_to(tmp_path, target_is_directory=True)
    remove_tree(top)
    remove_tree(top)
    assert not top.exists()
    assert tmp_path.exists()


def test_the_networks_file_keeps_to_the_hosts_range() -> None:
    made = network_file("porter", "10.77.0.0/16", "10.77.0.0/24", "porter0", 1400)
    assert made["network_interface"] == "porter0"
    assert made["subnets"][0]["gateway"] == "10.77.0.1"
    assert made["subnets"][0]["lease_range"] == {"start_ip": "10.77.0.2", "end_ip": "10.77.0.254"}
    made = network_file("porter", "10.77.0.0/16", "10.77.3.0/24", "porter0", 1400)
    assert made["subnets"][0]["lease_range"] == {"start_ip": "10.77.3.1", "end_ip": "10.77.3.254"}
    made = network_file("porter", "10.77.0.0/16", "10.77.3.9-10.77.3.200", "porter0", 1400)
    assert made["subnets"][0]["lease_range"] == {"start_ip": "10.77.3.9", "end_ip": "10.77.3.200"}


INFO: dict[str, Any] = {
    "Id": "c" * 64,
    "Name": "web",
    "Image": "1" * 64,
    "OCIRuntime": "runc",
    "Driver": "overlay",
    "State": {"Status": "running", "Running": True, "Pid": 0},
    "Config": {"CreateCommand": ["podman", "run", "x"], "Labels": {"porter.enable": "true"}},
    "HostConfig": {"NetworkMode": "none", "Memory": 100},
    "Mounts": [],
}


def seen(**changes: Any) -> Seen:
    return Seen({**INFO, **changes}, (), False, {}, (), {})


def found(**changes: Any) -> list[str]:
    return [one.code for one in find_blockers(seen(**changes))]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"OCIRuntime": "/usr/bin/crun"}, "oci-runtime"),
        ({"Driver": "vfs"}, "storage-driver"),
        ({"Rootfs": "/srv/root"}, "rootfs"),
        ({"Dependencies": ["x"]}, "dependencies"),
        ({"Config": {"Labels": {"porter.enable": "true"}}}, "no-create-command"),
        ({"Config": {**INFO["Config"], "Secrets": [{"Name": "x"}]}}, "secrets"),
        ({"Config": {**INFO["Config"], "SystemdMode": True}}, "systemd-mode"),
        ({"HostConfig": {"NetworkMode": "container:1"}}, "network"),
        ({"HostConfig": {"NetworkMode": "none", "PidMode": "container:1"}}, "pid-namespace"),
    ],
)
def test_blockers_read_from_the_inspection(changes: dict[str, Any], code: str) -> None:
    assert found() == []
    assert found(**changes) == [code]


def test_differences_name_the_setting() -> None:
    mine = settings(INFO)
    other = settings({**INFO, "HostConfig": {"NetworkMode": "none", "Memory": 200}})
    assert differences(mine, mine) == []
    assert differences(mine, other) == ["memory limit is 200 here, 100 on the source"]
