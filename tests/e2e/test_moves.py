"""Real containers move between lab hosts with real CRIU, and their state is proved."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from porter.lab import load as load_program
from porter.lab.fleet import Fleet
from tests.e2e.conftest import FAMILY, clean, network_is_unlocked, only_on

pytestmark = pytest.mark.e2e
LOAD = Path(load_program.__file__)
REDIS = ("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")


def moved(fleet: Fleet, name: str, here: str, there: str) -> dict[str, Any]:
    receipt = fleet.migrate(name, there)
    assert receipt["state"] == "succeeded", receipt["reason"]
    assert receipt["from"] == here
    assert receipt["to"] == there
    assert receipt["verified"]
    assert receipt["downtime_ms"] > 0
    assert receipt["bytes"]["memory"] > 0
    assert receipt["bytes"]["wire"] > 0
    assert {phase["name"] for phase in receipt["phases"]} >= {"freeze", "dump", "restore"}
    only_on(fleet, name, there)
    for host in (here, there):
        clean(fleet, host)
    network_is_unlocked(fleet, there, name)
    return receipt


def test_a_busy_redis_moves_five_times_on_one_connection(
    fleet: Fleet, name: str, tmp_path: Path
) -> None:
    size = ("--bytes", "20000000")
    log = ("--log", str(tmp_path / "log"))
    stop = tmp_path / "stop"
    address = fleet.run("onprem", name, *REDIS)

    def load(verb: str, *words: str) -> list[str]:
        return [sys.executable, str(LOAD), verb, address, "6379", *words]

    fleet.lab.exec("wan", load("fill", *size), timeout=60, check=True)
    files = ("--status", str(tmp_path / "status"), "--stop", str(stop))
    writer = fleet.lab.popen("wan", load("write", "--rate", "1000", *log, *files))
    here, there = "onprem", "cloud"
    for _ in range(5):
        time.sleep(0.5)
        receipt = moved(fleet, name, here, there)
        assert receipt["connections"]["kept"] == 1
        assert writer.poll() is None
        here, there = there, here
    stop.touch()
    assert writer.wait(30) == 0
    assert json.loads((tmp_path / "status").read_text())["rate"] > 500
    checked = fleet.lab.exec("wan", load("verify", *size, *log), timeout=60)
    assert checked.returncode == 0, checked.stderr


def test_five_moves_in_a_row_keep_one_connection(fleet: Fleet, name: str, client: Any) -> None:
    address = fleet.run(
        "onprem", name, "python3", "-u", "-c", FAMILY, options=("-v", f"{name}:/data")
    )
    asking = client("ask.py", address, "7000")
    here, there = "onprem", "cloud"
    for turn in range(5):
        time.sleep(0.5)
        receipt = moved(fleet, name, here, there)
        assert receipt["generation"] == turn + 2
        assert receipt["connections"]["kept"] >= 1
        here, there = there, here
    time.sleep(0.5)
    report = asking.report()
    assert report["answers"] > 50
    prove_family(fleet, name, here, report)


def prove_family(fleet: Fleet, name: str, host: str, report: dict[str, Any]) -> None:
    """Nothing of the family's state was lost, doubled or mixed up."""
    first, last = report["first"], report["last"]
    assert not last["broken"]
    assert last["number"] > first["number"]
    for same in ("parent", "secret", "scratch", "uid"):
        assert first[same] == last[same]
    assert abs(last["number"] - last["anonymous"]) <= 1
    lines = fleet.podman(host, "exec", name, "cat", "/data/journal.log").split()
    assert [int(line) for line in lines] == list(range(len(lines)))
    assert len(lines) >= last["number"]


def test_family_with_pipes_shared_memory_and_an_append_file(
    fleet: Fleet, name: str, client: Any
) -> None:
    options = (
        "-v",
        f"{name}:/data",
        "--memory",
        "512m",
        "--env",
        "COLOUR=blue",
        "--restart",
        "always",
    )
    address = fleet.run("onprem", name, "python3", "-u", "-c", FAMILY, options=options)
    before = settings(fleet, "onprem", name)
    asking = client("ask.py", address, "7000")
    time.sleep(1)
    moved(fleet, name, "onprem", "cloud")
    time.sleep(1)
    prove_family(fleet, name, "cloud", asking.report())
    assert settings(fleet, "cloud", name) == before
    ordinary(fleet, name, "cloud")


def settings(fleet: Fleet, host: str, name: str) -> dict[str, Any]:
    """What a person configured, and the address, as the host's Podman shows it."""
    info = json.loads(fleet.podman(host, "inspect", name))[0]
    network = info["NetworkSettings"]["Networks"]["porter"]
    limits = ("Memory", "RestartPolicy", "ReadonlyRootfs", "PidsLimit", "Ulimits", "CapDrop")
    return {
        "name": info["Name"],
        "image": info["Image"],
        "env": sorted(info["Config"]["Env"]),
        **{key: info["Config"][key] for key in ("Labels", "Cmd", "Hostname", "User", "StopSignal")},
        **{key: info["HostConfig"][key] for key in limits},
        "mounts": [(mount["Destination"], mount["Type"], mount["RW"]) for mount in info["Mounts"]],
        "address": (network["IPAddress"], network["MacAddress"]),
    }


def ordinary(fleet: Fleet, name: str, host: str) -> None:
    """The moved container answers to everything that people do with containers."""
    assert "family is up" in fleet.podman(host, "logs", name)
    assert fleet.podman(host, "exec", name, "id", "-u") == "0"
    assert name in fleet.podman(host, "stats", "--no-stream", name)
    assert name in fleet.podman(host, "top", name) or fleet.podman(host, "top", name)
    fleet.podman(host, "stop", "-t", "1", name)
    assert name not in fleet.podman(host, "ps", "--format", "{{.Names}}").split()
    fleet.podman(host, "rm", name)


def test_unprivileged_user_read_only_root_and_tmpfs(fleet: Fleet, name: str, client: Any) -> None:
    options = (
        "--user",
        "999",
        "--read-only",
        "--tmpfs",
        "/data:mode=1777",
        "--tmpfs",
        "/scratch:mode=1777",
    )
    command = ("python3", "-u", "-c", FAMILY, "/data", "/scratch")
    address = fleet.run("onprem", name, *command, options=options)
    asking = client("ask.py", address, "7000")
    time.sleep(1)
    moved(fleet, name, "onprem", "cloud")
    time.sleep(1)
    report = asking.report()
    assert report["last"]["uid"] == 999
    assert len(report["last"]["scratch"]) == 64
    prove_family(fleet, name, "cloud", report)
    status = fleet.podman("cloud", "exec", name, "sh", "-c", "grep Seccomp: /proc/1/status")
    assert status.split()[-1] == "2"
    denied = fleet.lab.exec("cloud", ["podman", "exec", name, "touch", "/forbidden"])
    assert denied.returncode != 0


def test_nginx_download_goes_on(fleet: Fleet, name: str, client: Any) -> None:
    script = (
        "head -c 6000000 /dev/urandom > /var/www/html/big.bin; "
        "sha256sum /var/www/html/big.bin; "
        "sed -i 's/sendfile on;/sendfile on; limit_rate 1m;/' /etc/nginx/nginx.conf; "
        "exec nginx -g 'daemon off;'"
    )
    address = fleet.run("onprem", name, "sh", "-c", script)
    started = fleet.state / f"{name}.started"
    deadline = time.monotonic() + 20
    while not fleet.podman("onprem", "logs", name) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    download = client("download.py", address, "80", "/big.bin", str(started))
    while not started.exists() and download.process.poll() is None:
        time.sleep(0.05)
    moved(fleet, name, "onprem", "cloud")
    assert download.process.poll() is None, "the download ended before the move did"
    report = download.report()
    assert report["bytes"] == 6_000_000
    assert report["sha256"] in fleet.podman("cloud", "logs", name)


def test_files_of_the_root_and_of_volumes_arrive_as_they_were(fleet: Fleet, name: str) -> None:
    script = (
        "mkdir -p /srv/deep/er; echo hello > /srv/deep/er/file; ln -s file /srv/deep/er/link; "
        "ln /srv/deep/er/file /srv/deep/er/hard; rm /etc/debian_version; "
        "chmod 4750 /srv/deep/er/file; "
        "chown 1234:4321 /srv/deep/er/file; mkfifo /data/fifo; "
        "head -c 3000000 /dev/urandom > /data/blob; sync; echo ready; exec sleep 1000000"
    )
    fleet.run("onprem", name, "sh", "-c", script, options=("-v", f"{name}:/data"))
    deadline = time.monotonic() + 20
    while "ready" not in fleet.podman("onprem", "logs", name) and time.monotonic() < deadline:
        time.sleep(0.1)
    listing = (
        "find /srv /data /etc/debian_version "
        "-printf '%p %y %m %U %G %s %n %l\\n' 2>/dev/null | sort; "
        "sha256sum /srv/deep/er/file /data/blob; ls /etc/debian_version 2>&1"
    )
    before = fleet.lab.exec("onprem", ["podman", "exec", name, "sh", "-c", listing]).stdout
    assert "/srv/deep/er/hard" in before
    moved(fleet, name, "onprem", "cloud")
    after = fleet.lab.exec("cloud", ["podman", "exec", name, "sh", "-c", listing]).stdout
    assert after == before


def test_an_image_that_the_target_lacks_is_shipped(fleet: Fleet, name: str) -> None:
    tag = f"localhost/{name}:v1"
    fleet.podman(
        "onprem",
        "run",
        "--name",
        f"{name}-b",
        "localhost/porter-test:latest",
        "sh",
        "-c",
        "head -c 2000000 /dev/urandom > /layer.bin",
    )
    fleet.podman("onprem", "commit", "-q", f"{name}-b", tag)
    fleet.podman("onprem", "rm", f"{name}-b")
    fleet.podman(
        "onprem",
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "porter",
        "--label",
        "porter.enable=true",
        "--label",
        f"porter.name={name}",
        tag,
        "sh",
        "-c",
        "sha256sum /layer.bin; exec sleep 1000000",
    )
    deadline = time.monotonic() + 20
    while name not in {row["name"] for row in fleet.json("workload", "ls")}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    image = fleet.podman("onprem", "inspect", "-f", "{{.Image}}", name)
    receipt = moved(fleet, name, "onprem", "cloud")
    # Only the layer that the target lacked travels, not the base image below it.
    assert 2_000_000 <= receipt["bytes"]["image"] < 10_000_000
    assert fleet.podman("cloud", "inspect", "-f", "{{.Image}}", name) == image
    total = fleet.podman("cloud", "exec", name, "sha256sum", "/layer.bin").split()[0]
    assert total in fleet.podman("cloud", "logs", name)
    for host in ("cloud", "onprem"):
        fleet.podman(host, "rm", "-f", "-i", "-t", "0", name)
        fleet.podman(host, "rmi", "-f", tag)
