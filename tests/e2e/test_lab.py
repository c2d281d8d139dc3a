"""The lab does what it says, and leaves no trace, whatever happened to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from porter.domain.errors import Conflict, Invalid, NotFound
from porter.lab import cgroups, hosts, images, state, wan
from porter.lab.lab import Lab

pytestmark = pytest.mark.e2e

SLEEPER = ["python3", "-c", "import time\nwhile True: time.sleep(1)"]
ECHO = """
import socket
with socket.create_server(("0.0.0.0", 7000)) as server:
    while True:
        connection, _ = server.accept()
        while data := connection.recv(100):
            connection.sendall(data)
"""
CALL = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2])) as connection:
    connection.sendall(b"hello")
    print(connection.recv(100).decode())
"""


def wait_for(what: str, test: Callable[[], Any], seconds: float = 15.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := test()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.02)
    return answer


def unique_name() -> str:
    return f"t{os.getpid()}-{time.monotonic_ns() % 100000}"


def traces(name: str) -> dict[str, set[str]]:
    """All that a lab of this name could leave on the machine, by kind."""
    found: dict[str, set[str]] = {
        "mounts": set(Path("/proc/self/mountinfo").read_text().splitlines()),
        "interfaces": set(os.listdir("/sys/class/net")),
        "routes": set(Path("/proc/net/route").read_text().splitlines()),
        "namespaces": set(os.listdir("/run/netns")) if Path("/run/netns").exists() else set(),
        "files": {str(p) for top in ("/run", "/var/lib/porter-lab") for p in Path(top).glob("*")},
        "cgroups": {
            str(path) for h in cgroups.hierarchies() for path in (h.root / cgroups.TOP).glob("**/")
        },
        "processes": set(),
    }
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{entry}/cgroup").read_text().splitlines():
                if f"/{cgroups.TOP}/{name}" in path and hosts._start_time(int(entry)):
                    found["processes"].add(entry)
    return found


def assert_gone(name: str, before: dict[str, set[str]]) -> None:
    """Other labs may come and go meanwhile; of this one nothing may be left."""
    for kind, things in traces(name).items():
        new = things - before[kind]
        mine = {thing for thing in new if name in thing or kind == "processes"}
        assert not mine, f"{kind} left behind: {sorted(mine)}"


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a lab that may be made, and is gone in the end."""
    chosen = unique_name()
    yield chosen
    Lab(chosen).down()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts that the tests of this module share."""
    shared = Lab(unique_name())
    shared.up(["onprem", "cloud"])
    yield shared
    shared.down()


def echo_on(lab: Lab, host: str) -> subprocess.Popen[Any]:
    process = lab.popen(host, ["python3", "-c", ECHO])
    wait_for("the echo server", lambda: call(lab, "wan", lab.address(host)) == "hello")
    return process


def call(lab: Lab, source: str, address: str, timeout: float = 1.0) -> str:
    done = lab.exec(source, ["python3", "-c", CALL, address, str(timeout)])
    return done.stdout.strip()


def running_with(lab: Lab, host: str, word: str) -> int:
    """How many sleepers of a host have `word` among their arguments."""
    count = 0
    for pid in cgroups.pids(f"{lab.name}/{host}"):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            count += words[:2] == ["sleep", word]
    return count


# ---------------------------------------------------------------- hosts and network


def test_hosts_are_machines_of_their_own(lab: Lab) -> None:
    for host in ("onprem", "cloud"):
        script = 'hostname; cat /etc/hostname; ls /proc | grep -c "^[0-9]"; ls /run /tmp; ip -br a'
        seen = lab.exec(host, ["sh", "-c", script], check=True).stdout
        assert seen.splitlines()[:2] == [host, host]
        assert int(seen.splitlines()[2]) < 10
        assert f"{lab.address(host)}/24" in seen
    lab.exec("onprem", ["sh", "-c", "echo secret > /etc/mine; echo secret > /run/mine"], check=True)
    for path in ("/etc/mine", "/run/mine"):
        assert lab.exec("cloud", ["cat", path]).returncode != 0
        assert not Path(path).exists()


def test_no_host_has_a_way_out(lab: Lab) -> None:
    for where in ("onprem", "wan"):
        routes = lab.exec(where, ["ip", "route"], check=True).stdout
        assert "default" not in routes
    assert "default" not in lab.exec("cloud", ["ip", "-6", "route"], check=True).stdout


def test_hosts_clients_and_this_machine_reach_each_other(lab: Lab) -> None:
    server = echo_on(lab, "cloud")
    try:
        assert call(lab, "onprem", "cloud") == "hello"
        with socket.create_connection((lab.address("cloud"), 7000), timeout=5) as connection:
            connection.sendall(b"x")
            assert connection.recv(10) == b"x"
            assert connection.getsockname()[0] == lab.gateway
    finally:
        server.kill()
        server.wait()


def test_killing_the_handle_kills_the_command(lab: Lab) -> None:
    process = lab.popen("onprem", ["sleep", "54321"])
    wait_for("the command", lambda: running_with(lab, "onprem", "54321"))
    process.terminate()
    process.wait()
    wait_for("its end", lambda: not running_with(lab, "onprem", "54321"))


def test_both_hosts_hold_the_same_image_and_run_containers(lab: Lab) -> None:
    ids = set()
    for host in ("onprem", "cloud"):
        lab.load_image(host)
        inspect = ["podman", "image", "inspect", "--format", "{{.Id}}", images.IMAGE]
        ids.add(lab.exec(host, inspect, check=True).stdout.strip())
    assert ids == {images.image_id().removeprefix("sha256:")}
    run = ["podman", "run", "-d", "--name", "one", "--network", "none", images.IMAGE, *SLEEPER]
    lab.exec("onprem", run, check=True)
    names = ["podman", "ps", "--format", "{{.Names}}"]
    assert lab.exec("onprem", names, check=True).stdout.split() == ["one"]
    assert lab.exec("cloud", names, check=True).stdout.split() == []
    lab.exec("onprem", ["podman", "rm", "-f", "-t", "0", "one"], check=True)


def test_an_image_removed_from_a_host_can_be_loaded_again(lab: Lab) -> None:
    lab.load_image("cloud")
    lab.exec("cloud", ["podman", "rmi", images.IMAGE], check=True)
    lab.load_image("cloud")
    inspect = ["podman", "image", "inspect", "--format", "{{.Id}}", images.IMAGE]
    found = lab.exec("cloud", inspect, check=True).stdout.strip()
    assert found == images.image_id().removeprefix("sha256:")
    run = ["podman", "run", "--rm", "--network", "none", images.IMAGE, "redis-server", "--version"]
    assert "Redis" in lab.exec("onprem", run, check=True).stdout


# ---------------------------------------------------------------- accidents


def test_partition_is_silence_and_heal_ends_it(lab: Lab) -> None:
    server = echo_on(lab, "cloud")
    try:
        lab.partition("cloud")
        assert call(lab, "onprem", lab.address("cloud"), timeout=0.5) == ""
        assert call(lab, "wan", lab.address("cloud"), timeout=0.5) == ""
        # The host itself sees nothing wrong with its cable.
        carrier = ["cat", "/sys/class/net/eth0/carrier"]
        assert lab.exec("cloud", carrier, check=True).stdout.strip() == "1"
        assert [h["partitioned"] for h in lab.status()["hosts"]] == [False, True]
        lab.heal("cloud")
        wait_for("a call", lambda: call(lab, "onprem", lab.address("cloud")) == "hello")
    finally:
        lab.heal("cloud")
        server.kill()
        server.wait()


def test_a_partition_outlasts_a_power_cut(lab: Lab) -> None:
    try:
        lab.partition("cloud")
        lab.kill("cloud")
        lab.start("cloud")
        server = lab.popen("cloud", ["python3", "-c", ECHO])
        assert call(lab, "wan", lab.address("cloud"), timeout=0.5) == ""
        lab.heal("cloud")
        wait_for("a call", lambda: call(lab, "wan", lab.address("cloud")) == "hello")
    finally:
        lab.heal("cloud")
        server.kill()
        server.wait()


def test_a_power_cut_is_sudden_and_spares_the_disk(lab: Lab) -> None:
    server = echo_on(lab, "onprem")
    script = "echo a > /var/lib/porter/file; echo b > /etc/file; echo c > /run/file"
    lab.exec("onprem", ["sh", "-c", script], check=True)
    lab.exec(
        "onprem",
        ["podman", "run", "-d", "--name", "two", "--network", "none", images.IMAGE, *SLEEPER],
        check=True,
    )
    with socket.create_connection((lab.address("onprem"), 7000), timeout=5) as connection:
        lab.kill("onprem")
        # No one was left to close the connection: the other side hears nothing at all.
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    server.wait(5)
    with pytest.raises(Conflict, match="it is off"):
        lab.exec("onprem", ["true"])
    assert not cgroups.pids(f"{lab.name}/onprem")
    lab.kill("onprem")
    lab.start("onprem")
    lab.start("onprem")
    read = ["sh", "-c", "cat /var/lib/porter/file /etc/file; cat /run/file"]
    assert lab.exec("onprem", read).stdout.split() == ["a", "b"]
    assert lab.exec("onprem", ["podman", "ps", "-q"], check=True).stdout == ""
    lab.exec("onprem", ["podman", "start", "two"], check=True)
    lab.exec("onprem", ["podman", "rm", "-f", "-t", "0", "two"], check=True)


def test_a_host_with_a_frozen_container_still_dies(lab: Lab) -> None:
    run = ["podman", "run", "-d", "--name", "ice", "--network", "none", images.IMAGE, *SLEEPER]
    lab.exec("cloud", run, check=True)
    lab.exec("cloud", ["podman", "pause", "ice"], check=True)
    lab.kill("cloud")
    lab.start("cloud")
    lab.exec("cloud", ["podman", "rm", "-f", "-t", "0", "ice"], check=True)


def test_up_again_boots_what_is_off_and_leaves_the_rest(lab: Lab) -> None:
    running = lab.init_pid("onprem")
    os.kill(lab.init_pid("cloud"), signal.SIGKILL)
    wait_for("its death", lambda: not lab.init_pid("cloud"))
    lab.up(["onprem", "cloud"])
    assert lab.init_pid("onprem") == running
    assert lab.exec("cloud", ["hostname"], check=True).stdout == "cloud\n"


# ---------------------------------------------------------------- agents


def agent(marker: str, ignore_term: bool = False) -> list[str]:
    code = (
        "import os, subprocess, signal, time\n"
        f"{'signal.signal(signal.SIGTERM, signal.SIG_IGN)' if ignore_term else ''}\n"
        f"print('{marker}', os.environ.get('COLOUR'), flush=True)\n"
        "subprocess.Popen(['sleep', '77777'], start_new_session=True)\n"
        "while True: time.sleep(1)\n"
    )
    return ["python3", "-c", code]


def test_the_agent_is_kept_running_and_its_children_survive_it(lab: Lab) -> None:
    lab.start_agent("onprem", agent("first"), {"COLOUR": "blue"})
    log = lab.host_directory("onprem") / "agent.log"
    wait_for("its output", lambda: log.exists() and "first blue" in log.read_text())
    pid = lab.agent_pid("onprem")
    lab.start_agent("onprem", agent("first"), {"COLOUR": "blue"})
    assert lab.agent_pid("onprem") == pid

    wait_for("its child", lambda: running_with(lab, "onprem", "77777") == 1)
    os.kill(pid, signal.SIGKILL)
    wait_for("a second child", lambda: running_with(lab, "onprem", "77777") == 2)
    assert lab.agent_pid("onprem") != pid
    assert lab.status()["hosts"][0]["agent_restarts"] == 1

    lab.kill("onprem")
    with pytest.raises(NotFound):
        lab.agent_pid("onprem")
    lab.start("onprem")
    wait_for("the agent after the boot", lambda: log.read_text().count("first blue") == 3)

    lab.start_agent("onprem", agent("second"))
    assert "second" in Path(f"/proc/{lab.agent_pid('onprem')}/cmdline").read_text()
    lab.stop_agent("onprem")
    with pytest.raises(NotFound):
        lab.agent_pid("onprem")
    lab.stop_agent("onprem")


def test_orphans_are_reaped(lab: Lab) -> None:
    lab.exec("cloud", ["sh", "-c", "(sleep 0.1 &) ; exit 0"], check=True)
    zombies = ["sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"]
    wait_for("reaping", lambda: lab.exec("cloud", zombies).stdout.strip() == "0")


def test_an_agent_that_cannot_be_started_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_AGENT_S", 0.5)
    with pytest.raises(Exception, match=r"cannot start the agent of cloud: .*no-such-program"):
        lab.start_agent("cloud", ["no-such-program"])
    lab.stop_agent("cloud")


# ---------------------------------------------------------------- the end


def test_down_leaves_no_trace(name: str) -> None:
    before = traces(name)
    lab = Lab(name)
    lab.up(["left", "right"], link_mbit=100)
    lab.exec("left", ["podman", "run", "-d", images.IMAGE, *SLEEPER], check=True)
    lab.exec(
        "right",
        ["podman", "run", "-d", "--network", "none", "--name", "ice", images.IMAGE, *SLEEPER],
        check=True,
    )
    lab.exec("right", ["podman", "pause", "ice"], check=True)
    client = lab.popen("wan", ["sleep", "1000"])
    lab.start_agent("left", agent("x", ignore_term=True))
    uplink = state.load(lab.directory).uplink  # type: ignore[union-attr]
    lab.down()
    client.wait(5)
    assert_gone(name, before)
    assert not Path("/sys/class/net", uplink).exists()
    lab.down()
    with pytest.raises(NotFound):
        lab.status()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"name": "x", "hosts": {"a": 1}}', None])
def test_down_without_a_readable_state(name: str, damage: str | None) -> None:
    before = traces(name)
    lab = Lab(name)
    lab.up(["left"], images=False)
    uplink = state.load(lab.directory).uplink  # type: ignore[union-attr]
    file = lab.directory / "lab.json"
    if damage is None:
        file.unlink()
    else:
        file.write_text(damage)
    os.kill(hosts_init(name), signal.SIGKILL)
    lab.down()
    assert_gone(name, before)
    assert not Path("/sys/class/net", uplink).exists()


def hosts_init(name: str) -> int:
    return min(cgroups.pids(name))


STAGES = ["wan.create", "hosts.prepare", "cgroups.create", "wan.plug", "wan._tbf"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("accident", ["KeyboardInterrupt", "os.kill(os.getpid(), 9)"])
def test_a_crash_in_the_middle_of_up(name: str, stage: str, accident: str) -> None:
    before = traces(name)
    module, function = stage.split(".")
    code = f"""
import os
from porter.lab import cgroups, hosts, wan
from porter.lab.lab import Lab
def broken(*arguments, original={module}.{function}):
    result = original(*arguments)
    {"raise " if accident[0] == "K" else ""}{accident}
    return result
{module}.{function} = broken
Lab({name!r}).up(["left", "right"], images=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode != 0
    if accident[0] != "K":
        Lab(name).down()
    assert_gone(name, before)


def test_up_after_a_crash_in_the_middle_of_up(name: str) -> None:
    code = f"""
import os
from porter.lab import wan
from porter.lab.lab import Lab
wan.plug = lambda *arguments: os.kill(os.getpid(), 9)
Lab({name!r}).up(["left", "right"], images=False)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    report = Lab(name).up(["left", "right"], images=False)
    assert [host["state"] for host in report["hosts"]] == ["running", "running"]


def test_an_interrupted_up_of_an_old_lab_keeps_what_ran(name: str) -> None:
    lab = Lab(name)
    lab.up(["left"], images=False)
    pid = lab.init_pid("left")
    with pytest.raises(Invalid, match="cannot call a host"):
        lab.up(["left", "Bad Name"])
    code = f"""
from porter.lab import wan
from porter.lab.lab import Lab
def interrupt(*arguments): raise KeyboardInterrupt
wan.plug = interrupt
Lab({name!r}).up(["left", "right"], images=False)
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert lab.init_pid("left") == pid
    report = lab.up(["left", "right"], images=False)
    assert [host["state"] for host in report["hosts"]] == ["running", "running"]
    assert lab.init_pid("left") == pid


def test_the_last_host_of_a_lab_goes_and_another_lab_stays(lab: Lab, name: str) -> None:
    """A cloud's lab has no host but its machines: the last of them takes nothing with it."""
    other = Lab(name)
    mounted = ["mountpoint", "-q", "/var/lib/porter"]
    try:
        other.up([], images=False)
        other.add("machine", "")
        other.remove("machine")
        assert [lab.exec(host, mounted).returncode for host in ("onprem", "cloud")] == [0, 0]
    finally:
        other.down()
    assert [lab.exec(host, mounted).returncode for host in ("onprem", "cloud")] == [0, 0]


def test_two_labs_do_not_see_each_other(lab: Lab, name: str) -> None:
    other = Lab(name)
    other.up(["onprem"], images=False)
    server = echo_on(other, "onprem")
    assert other.gateway != lab.gateway
    assert call(lab, "wan", other.address("onprem"), timeout=0.5) == ""
    other.down()
    server.wait(5)
    assert lab.exec("onprem", ["hostname"], check=True).stdout == "onprem\n"


# ---------------------------------------------------------------- the command line


def porter_lab(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from porter.cli.lab import lab; lab()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )


def test_the_command_line(name: str) -> None:
    up = porter_lab("up", "--name", name, "--hosts", "a,b", "--link", "100mbit", "--json")
    report = json.loads(up.stdout)
    assert [h["name"] for h in report["hosts"]] == ["a", "b"]
    assert report["link_mbit"] == 100
    done = porter_lab("exec", "--name", name, "a", "--", "sh", "-c", "hostname; exit 7")
    assert (done.returncode, done.stdout) == (7, "a\n")
    for verb, said in (
        ("kill", "b is off"),
        ("start", "b is running"),
        ("partition", "b is cut off"),
        ("heal", "b is connected"),
    ):
        assert porter_lab(verb, "b", "--name", name).stdout.strip() == said
    assert "2 hosts, 100 Mbit/s" in porter_lab("status", "--name", name).stdout
    assert json.loads(porter_lab("down", "--name", name, "--json").stdout)["state"] == "down"
    assert wan.netns(name) not in os.listdir("/run/netns") if Path("/run/netns").exists() else True
