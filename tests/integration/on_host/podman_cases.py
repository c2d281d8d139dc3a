"""Podman's own cases, beside the contract that all engines share."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from porter.checkpoint import gate as gates
from porter.domain.errors import Permanent, PorterError, Unsupported
from porter.domain.workload import NETWORK
from porter.network.linux import BRIDGE, MTU, LinuxNetwork
from porter.protocol.joining import Network
from porter.runtimes.recreate import BOOLEAN
from tests.contracts.engines import IMAGE, ON_HOST, REDIS, Move, PodmanEngine, podman, redis

SLEEP = ("python3", "-c", "import time\nwhile True: time.sleep(1)")
ENABLE = ("--label", "porter.enable=true")
FAMILY = """
import mmap, os, struct, time
with open("/dev/shm/count", "wb") as f: f.write(bytes(4096))
shared = mmap.mmap(os.open("/dev/shm/count", os.O_RDWR), 4096)
out, into = os.pipe()
if os.fork() == 0:
    while True:
        n = struct.unpack_from("Q", shared)[0] + 1
        struct.pack_into("Q", shared, 0, n)
        os.write(into, struct.pack("Q", n))
        time.sleep(0.002)
log = open("/data/log", "a")
while True:
    print(struct.unpack("Q", os.read(out, 8))[0], file=log, flush=True)
"""
COUNTER = """
import time
n = 0
while True:
    n += 1
    with open("/data/n", "w") as f: f.write(str(n))
    print("tick", n, flush=True)
    time.sleep(0.01)
"""
IO_URING = """
import ctypes, time
handle = ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120))
assert handle > 0
while True: time.sleep(1)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[PodmanEngine]:
    made = PodmanEngine(tmp_path)
    yield made
    made.clear()
    podman("pod", "rm", "-f", "-a")


@pytest.fixture
def name() -> str:
    return f"c{uuid.uuid4().hex[:8]}"


@pytest.fixture
def network(engine: PodmanEngine) -> LinuxNetwork:
    """The workload network, on the kernel and in the engine."""
    runtime = engine.runtime
    made = LinuxNetwork(
        ON_HOST,
        lambda subnet, own, bridge: runtime.ensure_network(NETWORK, subnet, own, bridge, MTU),
    )
    made.apply(Network(1, "10.77.0.0/16", "10.77.1.0/24", ()))
    return made


def wait_for(what: str, test: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < until, f"{what} did not happen"
        time.sleep(0.02)


def codes(engine: PodmanEngine, name: str) -> list[str]:
    spec = engine.runtime.inspect(name)
    for one in spec.blockers:
        assert one.message
        assert one.remedy
    return [one.code for one in spec.blockers]


# -- blockers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["-t"], "tty-attached"),
        (["-i"], "tty-attached"),
        (["--privileged"], "privileged"),
        (["--device", "/dev/null:/dev/other"], "devices"),
        (["--pid", "host"], "pid-namespace"),
        (["--ipc", "host"], "ipc-namespace"),
        (["--uts", "host"], "uts-namespace"),
        (["--uidmap", "0:100000:5000"], "user-namespace"),
        (["--rm"], "auto-remove"),
        (["-v", "/etc:/host-etc"], "bind-mount"),
        (["--label", "porter.volumes=perhaps"], "volumes-label"),
        (
            ["--mount", "type=image,src=localhost/porter-test:latest,dst=/other"],
            "unsupported-mount",
        ),
    ],
)
def test_what_cannot_move_is_named(
    engine: PodmanEngine, name: str, flags: list[str], code: str
) -> None:
    engine.start("--name", name, "--network", "none", *ENABLE, *flags, IMAGE, *SLEEP)
    assert code in codes(engine, name)


@pytest.mark.parametrize("network_mode", ["host", "podman"])
def test_a_foreign_network_is_named(engine: PodmanEngine, name: str, network_mode: str) -> None:
    engine.start("--name", name, "--network", network_mode, *ENABLE, IMAGE, *SLEEP)
    assert "network" in codes(engine, name)


@pytest.mark.parametrize("mode", ["shared", "skip"])
def test_a_bind_mount_may_be_left_to_the_user(engine: PodmanEngine, name: str, mode: str) -> None:
    flags = ("-v", "/etc:/host-etc:ro", "--label", f"porter.volumes={mode}")
    engine.start("--name", name, "--network", "none", *ENABLE, *flags, IMAGE, *SLEEP)
    assert codes(engine, name) == []
    assert [one.mode for one in engine.runtime.inspect(name).volumes] == [mode]
    Move(engine, name).whole()
    assert "porter-test" not in podman("exec", name, "ls", "/host-etc/hostname")


def test_a_stopped_container_is_named(engine: PodmanEngine, name: str) -> None:
    engine.run(name)
    podman("stop", "-t", "0", name)
    assert codes(engine, name) == ["not-running"]


def test_a_shared_volume_is_named(engine: PodmanEngine, name: str) -> None:
    engine.run(name, volume="both")
    engine.run(f"{name}-2", volume="both")
    assert codes(engine, name) == ["volume-in-use"]


def test_a_volume_that_is_a_mount_is_named(engine: PodmanEngine, name: str) -> None:
    podman("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "odd")
    engine.run(name, volume="odd")
    assert "volume-driver" in codes(engine, name)


def test_a_pod_is_named(engine: PodmanEngine, name: str) -> None:
    podman("pod", "create", "--infra=false", "--name", f"{name}-pod")
    engine.start("--name", name, "--pod", f"{name}-pod", *ENABLE, IMAGE, *SLEEP)
    assert "pod" in codes(engine, name)


def test_io_uring_is_named(engine: PodmanEngine, name: str) -> None:
    flags = ("--network", "none", "--security-opt", "seccomp=unconfined")
    engine.start("--name", name, *flags, *ENABLE, IMAGE, "python3", "-c", IO_URING)
    wait_for("io_uring", lambda: codes(engine, name) == ["io-uring"])


def test_a_command_from_outside_is_named(engine: PodmanEngine, name: str) -> None:
    engine.run(name)
    podman("exec", "-d", name, *SLEEP)
    wait_for("the command", lambda: codes(engine, name) == ["exec-session"])


def test_our_list_of_boolean_options_is_podmans(engine: PodmanEngine) -> None:
    lines = podman("run", "--help").splitlines()
    found = {
        match[1]
        for line in lines
        if (match := re.match(r"^ +(?:-\w, )?--([a-z0-9-]+) {2,}\S", line))
        or (match := re.match(r"^ +(?:-\w, )?--([a-z0-9-]+) *$", line))
    }
    assert found == BOOLEAN


# -- moves ----------------------------------------------------------------------------------


def test_a_family_of_processes_with_shared_memory_and_pipes(
    engine: PodmanEngine, name: str
) -> None:
    flags = ("--network", "none", "-v", f"{name}:/data")
    engine.start("--name", name, *flags, *ENABLE, IMAGE, "python3", "-c", FAMILY)
    log = Path(podman("volume", "inspect", "-f", "{{.Mountpoint}}", name)) / "log"
    wait_for("counting", lambda: log.exists() and log.read_text().count("\n") > 50)
    move = Move(engine, name)
    move.leave()
    twin = move.arrive()
    before = log.read_text().splitlines()
    engine.runtime.restore(twin)
    engine.runtime.release_twin(move.migration)
    wait_for("counting on", lambda: log.read_text().count("\n") > len(before) + 50)
    numbers = [int(line) for line in log.read_text().splitlines()[:-1]]
    assert numbers == list(range(1, len(numbers) + 1))
    count = "import struct; print(struct.unpack_from('Q', open('/dev/shm/count','rb').read())[0])"
    assert int(podman("exec", name, "python3", "-c", count)) >= len(numbers)


def test_an_ordinary_user_on_a_read_only_root(engine: PodmanEngine, name: str) -> None:
    flags = (
        "--network",
        "none",
        "--user",
        "999:999",
        "--read-only",
        "--tmpfs",
        "/scratch:mode=1777",
    )
    script = 'open("/scratch/f","w").write("kept")\nimport time\nwhile True: time.sleep(1)'
    engine.start("--name", name, *flags, *ENABLE, IMAGE, "python3", "-c", script)
    wait_for("the file", lambda: podman("exec", name, "cat", "/scratch/f") == "kept")
    Move(engine, name).whole()
    assert podman("exec", name, "cat", "/scratch/f") == "kept"
    status = podman("exec", name, "cat", "/proc/1/status")
    assert re.search(r"^Uid:\s+999\s", status, re.M)
    assert re.search(r"^Seccomp:\s+2", status, re.M)
    refused = subprocess.run(["podman", "exec", name, "touch", "/new"], check=False)
    assert refused.returncode != 0


def test_files_of_the_root_come_along_exactly(engine: PodmanEngine, name: str) -> None:
    engine.start("--name", name, "--network", "none", *ENABLE, IMAGE, *SLEEP)
    podman("exec", name, "sh", "-c", "echo new >/etc/new; rm /etc/debian_version; chmod 700 /opt")
    Move(engine, name).whole()
    seen = podman(
        "exec", name, "sh", "-c", "cat /etc/new; ls /etc/debian_version; stat -c %a /opt; :"
    )
    assert seen.split() == ["new", "700"]


def test_settings_are_the_same(engine: PodmanEngine, name: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=yes\n")
    flags = [
        *("--network", "none", "--memory", "200m", "--cpus", "0.5", "--pids-limit", "77"),
        *("--cap-drop", "CHOWN", "--cap-add", "SYS_TIME", "--ulimit", "nofile=999:1000"),
        *("--ulimit", "core=0:0", "--ulimit", "nproc=900:1000"),
        *("--env-file", str(tmp_path / "env"), "-e", "SHELL_VALUE", "-e", "A=b c"),
        *("--hostname", "given", "--restart", "on-failure:3", "--stop-timeout", "3"),
        *("--add-host", "x:10.0.0.1", "--sysctl", "net.ipv4.ip_unprivileged_port_start=80"),
        *("--health-cmd", "true", "--health-interval", "disable", "--shm-size", "10m"),
        *("-v", "/nameless", "-w", "/tmp", "--annotation", "mine=1", "--pull=never"),
    ]
    os.environ["SHELL_VALUE"] = "from the shell"
    try:
        engine.start("--name", name, *flags, *ENABLE, IMAGE, *SLEEP)
    finally:
        del os.environ["SHELL_VALUE"]
    before = engine.runtime.inspect(name)
    assert not before.blockers
    Move(engine, name).whole()
    after = engine.runtime.inspect(name)
    assert after.expect == before.expect
    environment = after.expect["environment"]
    assert isinstance(environment, list)
    assert {"FROM_FILE=yes", "SHELL_VALUE=from the shell", "A=b c"} <= set(environment)
    assert [one.name for one in after.volumes] == [one.name for one in before.volumes]
    assert podman("exec", name, "hostname") == "given"


def test_a_restart_policy_still_works(engine: PodmanEngine, name: str) -> None:
    engine.start("--name", name, "--network", "none", "--restart", "always", *ENABLE, IMAGE, *REDIS)
    redis(name, "ping")
    Move(engine, name).whole()
    first = podman("inspect", "-f", "{{.State.Pid}}", name)
    assert first != "0"
    os.kill(int(first), signal.SIGKILL)
    wait_for(
        "a restart", lambda: podman("inspect", "-f", "{{.State.Pid}}", name) not in (first, "0")
    )
    assert redis(name, "ping") == "PONG"


def test_the_log_goes_on(engine: PodmanEngine, name: str) -> None:
    flags = ("--network", "none", "-v", f"{name}:/data")
    engine.start("--name", name, *flags, *ENABLE, IMAGE, "python3", "-c", COUNTER)
    wait_for("some log", lambda: "tick 20" in podman("logs", name))
    Move(engine, name).whole()
    last = int(podman("logs", "--tail", "1", name).split()[-1])
    wait_for("more log", lambda: f"tick {last + 20}" in podman("logs", name))
    lines = podman("logs", name).splitlines()
    assert lines == [f"tick {n}" for n in range(1, len(lines) + 1)]


def test_address_and_mac_are_the_same(
    engine: PodmanEngine, network: LinuxNetwork, name: str
) -> None:
    engine.start("--name", name, "--network", NETWORK, *ENABLE, IMAGE, *REDIS)
    before = engine.runtime.inspect(name)
    assert before.address.startswith("10.77.1.")
    assert not before.blockers
    link = engine.runtime.link(before.container)
    assert link is not None
    assert (link.address, link.mac) == (before.address, before.mac)
    moved = Move(engine, name).whole()
    after = engine.runtime.inspect(name)
    assert (after.address, after.mac) == (before.address, before.mac)
    link = engine.runtime.link(moved)
    assert link is not None
    ports = Path(f"/sys/class/net/{BRIDGE}/brif")
    assert link.device in {port.name for port in ports.iterdir()}
    network.claim(link.address, link.mac)
    done = subprocess.run(
        ["redis-cli", "-h", after.address, "ping"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() in ("PONG", "") or "refused" in done.stderr


def test_an_address_in_use_is_refused(
    engine: PodmanEngine, network: LinuxNetwork, name: str
) -> None:
    engine.start("--name", name, "--network", NETWORK, *ENABLE, IMAGE, *SLEEP)
    move = Move(engine, name)
    move.leave()
    flags = ("--network", NETWORK, "--ip", move.spec.address)
    engine.start("--name", f"{name}-2", *flags, IMAGE, *SLEEP)
    with pytest.raises(Unsupported, match=re.escape(move.spec.address)):
        engine.runtime.create_twin(move.spec, move.migration)
    assert name not in engine.runtime.names()


# -- the gate, and accidents ----------------------------------------------------------------


class Restoring:
    """A restore in another thread, which stops at the gate."""

    def __init__(self, engine: PodmanEngine, move: Move) -> None:
        gates.install(script=Path("/var/lib/porter/criu-gate"))
        self.twin = move.arrive()
        self.gate = gates.Gate(self.twin.images)
        self.gate.prepare()
        self.error: PorterError | None = None
        self._engine = engine
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._engine.runtime.restore(self.twin)
        except PorterError as error:
            self.error = error

    def end(self) -> PorterError | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.error


@pytest.fixture
def counting(engine: PodmanEngine, name: str) -> Move:
    """A counter that has left its host; its number is in a file on its volume."""
    flags = ("--network", "none", "--restart", "always", "-v", f"{name}:/data")
    engine.start("--name", name, *flags, *ENABLE, IMAGE, "python3", "-c", COUNTER)
    wait_for("counting", lambda: "tick 10" in podman("logs", name))
    move = Move(engine, name)
    move.leave()
    return move


def number(move: Move) -> int:
    place = engine_volume(move.spec.container_name)
    return int((place / "n").read_text() or 0)


def engine_volume(name: str) -> Path:
    return Path("/var/lib/containers/storage/volumes") / name / "_data"


def leftovers(container: str) -> list[str]:
    """Mounts, cgroups and processes that speak of a container."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    groups = [str(one) for one in Path("/sys/fs/cgroup").glob(f"**/*{container}*")]
    found = [one for one in mounts if container in one or "criu" in one]
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if container in words or any("criu" in os.path.basename(word) for word in words[:3]):
            found.append(" ".join(words)[:200])
    return found + groups


def test_tasks_wait_at_the_gate(engine: PodmanEngine, counting: Move) -> None:
    restoring = Restoring(engine, counting)
    assert restoring.gate.waiting(20)
    before = number(counting)
    assert engine.runtime.discover() == []
    assert engine.runtime.find_twin(counting.migration) == restoring.twin
    assert counting.spec.container_name in engine.runtime.names()
    time.sleep(0.3)
    assert number(counting) == before
    restoring.gate.open()
    assert restoring.end() is None
    wait_for("counting on", lambda: number(counting) > before + 10)
    engine.runtime.release_twin(counting.migration)
    assert [one.state for one in engine.runtime.discover()] == ["running"]


@pytest.mark.parametrize("refuse", [True, False])
def test_at_the_gate_it_can_be_discarded(
    engine: PodmanEngine, counting: Move, refuse: bool
) -> None:
    restoring = Restoring(engine, counting)
    assert restoring.gate.waiting(20)
    kept = number(counting)
    volume = engine_volume(counting.spec.container_name)
    watched = os.open(volume / "n", os.O_RDONLY)
    before = os.pread(watched, 20, 0)  # empty if it was frozen while it wrote
    if refuse:
        restoring.gate.refuse()
    engine.runtime.discard_twin(counting.migration)
    assert restoring.end() is not None
    assert os.pread(watched, 20, 0) == before
    os.close(watched)
    assert leftovers(restoring.twin.container) == []
    again = Restoring(engine, counting)
    again.gate.open()
    assert again.end() is None
    wait_for("counting on", lambda: number(counting) > kept + 10)


def kill_criu(seconds: float = 20) -> None:
    """SIGKILL the first CRIU that shows up."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "swrk" in words:
                os.kill(process.pid, signal.SIGKILL)
                return
    raise AssertionError("no CRIU came")


def test_a_killed_restore_is_an_error_and_can_be_repeated(
    engine: PodmanEngine, counting: Move
) -> None:
    killer = threading.Thread(target=kill_criu)
    killer.start()
    restoring = Restoring(engine, counting)
    killer.join()
    assert isinstance(restoring.end(), Permanent)
    engine.runtime.discard_twin(counting.migration)
    assert leftovers(restoring.twin.container) == []
    again = Restoring(engine, counting)
    again.gate.open()
    assert again.end() is None


def test_a_killed_dump_leaves_it_frozen_and_whole(engine: PodmanEngine, name: str) -> None:
    container = engine.run(name)
    redis(
        container, "eval", "for i=1,200000 do redis.call('set',i,i..string.rep('x',500)) end", "0"
    )
    engine.runtime.freeze(container)
    killer = threading.Thread(target=kill_criu)
    killer.start()
    images, work = engine.memory / "i", engine.memory / "w"
    with pytest.raises(Permanent, match="cannot dump"):
        engine.runtime.dump(container, images, work)
    killer.join()
    assert [one.state for one in engine.runtime.discover()] == ["paused"]
    assert not [one for one in leftovers(container) if "criu" in one]
    pid = podman("inspect", "-f", "{{.State.Pid}}", name)
    LinuxNetwork(ON_HOST).unlock(f"/proc/{pid}/ns/net")
    engine.runtime.dump(container, engine.memory / "i2", engine.memory / "w2")
    engine.runtime.thaw(container)
    assert redis(container, "dbsize") == "200000"
    shutil.rmtree(engine.memory)


ECHO = """
import os, socket
ballast = os.urandom(60_000_000)
listener = socket.create_server(("0.0.0.0", 7000))
while True:
    peer, _ = listener.accept()
    if os.fork(): peer.close(); continue
    for line in peer.makefile("rb"): peer.sendall(line)
    os._exit(0)
"""


@pytest.mark.parametrize("milliseconds", range(0, 120, 10))
def test_a_dump_killed_at_any_moment_harms_no_connection(
    engine: PodmanEngine, network: LinuxNetwork, name: str, milliseconds: int
) -> None:
    runtime, log = engine.runtime, engine.memory / "w" / "dump.log"
    container = engine.start(
        "--name", name, "--network", NETWORK, *ENABLE, IMAGE, "python3", "-c", ECHO
    )
    link = runtime.link(container)
    assert link is not None
    with closing(connected(link.address, 7000)) as client, client.makefile("rb") as answers:
        client.sendall(b"before\n")
        assert answers.readline() == b"before\n"
        runtime.freeze(container)
        network.cut(link)
        killer = threading.Thread(target=kill_dump, args=(log, milliseconds / 1000))
        killer.start()
        with suppress(Permanent):  # a fast machine may be done before
            runtime.dump(container, engine.memory / "i", log.parent)
        killer.join()
        network.unlock(link.netns)
        network.join(link)
        runtime.thaw(container)
        client.sendall(b"after\n")
        assert answers.readline() == b"after\n"
    shutil.rmtree(engine.memory)


def connected(address: str, port: int) -> socket.socket:
    """A connection to a server that is starting."""
    until = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection((address, port), timeout=20)
        except OSError:
            assert time.monotonic() < until, "nobody listens"
            time.sleep(0.05)


def kill_dump(log: Path, seconds: float) -> None:
    """SIGKILL the CRIU that began this log so many seconds ago."""
    wait_for("the dump", log.exists)
    time.sleep(seconds)
    with suppress(AssertionError):
        kill_criu(0.3)


def test_a_frozen_container_that_always_restarts_is_removed_for_good(
    engine: PodmanEngine, name: str
) -> None:
    flags = ("--network", "none", "--restart", "always", "-v", f"{name}:/data")
    container = engine.start("--name", name, *flags, *ENABLE, IMAGE, "python3", "-c", COUNTER)
    wait_for("counting", lambda: "tick 10" in podman("logs", name))
    engine.runtime.freeze(container)
    watched = os.open(engine_volume(name) / "n", os.O_RDONLY)
    before = os.pread(watched, 20, 0)
    start = time.monotonic()
    engine.runtime.remove(container, [name])
    assert time.monotonic() - start < 5
    time.sleep(0.5)
    assert os.pread(watched, 20, 0) == before
    os.close(watched)
    assert podman("ps", "-aq") == ""
    assert leftovers(container) == []


def test_nothing_is_left_of_a_move(engine: PodmanEngine, counting: Move) -> None:
    source = counting.spec.container
    assert leftovers(source) == []
    restoring = Restoring(engine, counting)
    restoring.gate.open()
    assert restoring.end() is None
    engine.runtime.release_twin(counting.migration)
    assert list(engine.memory.iterdir()) == []
    mounts = Path("/proc/self/mountinfo").read_text()
    assert "criu" not in mounts
    assert "checkpoint" not in mounts


# -- images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_only_missing_layers_travel(engine: PodmanEngine, name: str, form: str) -> None:
    context = engine.directory / "context"
    context.mkdir()
    (context / "hello").write_text(name)
    (context / "Containerfile").write_text(f"FROM {IMAGE}\nCOPY hello /hello\nENV A=b\n")
    tag = f"localhost/{name}:1"
    podman("build", "-q", "--format", form, "-t", tag, str(context))
    engine.start("--name", name, "--network", "none", *ENABLE, tag, *SLEEP)
    image = engine.runtime.inspect(name).image
    assert tag in image.names
    engine.runtime.remove(engine.runtime.inspect(name).container)
    place = engine.directory / "image"
    engine.runtime.export(image, [image.layers[-1]], place)
    assert sum(one.stat().st_size for one in place.rglob("*") if one.is_file()) < 1 << 20
    podman("rmi", "-f", tag)
    assert engine.runtime.missing(image) == (image.layers[-1],)
    engine.runtime.load(image, place)
    engine.runtime.load(image, place)
    assert engine.runtime.missing(image) == ()
    assert podman("image", "inspect", "-f", "{{.Id}}", tag) == image.id
    names = podman("image", "inspect", "-f", "{{json .RepoTags}}", image.id)
    assert names == f'["{tag}"]'
    assert podman("run", "--rm", "--network", "none", tag, "cat", "/hello") == name
    podman("rmi", "-f", tag)


def test_a_damaged_layer_is_refused(engine: PodmanEngine, name: str) -> None:
    context = engine.directory / "context"
    context.mkdir()
    (context / "hello").write_text("right")
    (context / "Containerfile").write_text(f"FROM {IMAGE}\nCOPY hello /hello\n")
    tag = f"localhost/{name}:1"
    podman("build", "-q", "-t", tag, str(context))
    engine.start("--name", name, "--network", "none", *ENABLE, tag, *SLEEP)
    image = engine.runtime.inspect(name).image
    engine.runtime.remove(engine.runtime.inspect(name).container)
    place = engine.directory / "image"
    engine.runtime.export(image, [image.layers[-1]], place)
    podman("rmi", "-f", tag)
    blob = next(one for one in place.rglob(image.layers[-1].removeprefix("sha256:")))
    blob.write_bytes(blob.read_bytes().replace(b"right", b"wrong"))
    with pytest.raises(Permanent):
        engine.runtime.load(image, place)
    assert engine.runtime.missing(image) == (image.layers[-1],)
