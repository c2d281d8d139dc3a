"""Whatever is killed, and whenever: exactly one copy runs in the end, and nothing is lost.

A victim dies by SIGKILL at a moment seen from outside: in the agents' journals and in CRIU's and
the engine's processes. Everything restarts by itself (the lab's init and `porter up` supervise);
nobody helps. The client's one connection must have lived through it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from porter.lab.fleet import Fleet, wait_until
from tests.e2e.conftest import FAMILY, HOSTS, clean, network_is_unlocked, settle
from tests.moments import handover_state

pytestmark = pytest.mark.e2e
BALLAST = "import os; ballast = os.urandom(40_000_000)\n"
"""Makes the transfer last long enough to die in the middle of it."""


def criu_pids(fleet: Fleet, host: str) -> list[int]:
    """CRIU's processes on a host, as this machine numbers them."""
    init = fleet.lab.init_pid(host)
    namespace = os.readlink(f"/proc/{init}/ns/pid")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            if b"criu" in line and os.readlink(entry / "ns/pid") == namespace:
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked
    return found


def supervised(fleet: Fleet, what: str) -> list[int]:
    return [int((fleet.state / "run" / f"{what}.pid").read_text())]


VICTIMS: dict[str, Callable[[Fleet], list[int]]] = {
    "source agent": lambda fleet: [fleet.lab.agent_pid("onprem")],
    "target agent": lambda fleet: [fleet.lab.agent_pid("cloud")],
    "worker": lambda fleet: supervised(fleet, "worker"),
    "api": lambda fleet: supervised(fleet, "web"),
    "criu dumping": lambda fleet: criu_pids(fleet, "onprem"),
    "criu restoring": lambda fleet: criu_pids(fleet, "cloud"),
}


def source_is(*states: str) -> Callable[[Fleet, str], bool]:
    return lambda fleet, name: handover_state(fleet, "onprem", name) in states


def target_is(*states: str) -> Callable[[Fleet, str], bool]:
    return lambda fleet, name: handover_state(fleet, "cloud", name) in states


def later(moment: Callable[[Fleet, str], bool], seconds: float) -> Callable[[Fleet, str], bool]:
    """The same moment and a while more."""

    def test(fleet: Fleet, name: str) -> bool:
        if not moment(fleet, name):
            return False
        time.sleep(seconds)
        return True

    return test


FROZEN = source_is("frozen", "handed_over", "gone")
MOMENTS: dict[str, Callable[[Fleet, str], bool]] = {
    "reserved": target_is("reserved"),
    "frozen": FROZEN,
    "in the transfer": later(FROZEN, 0.8),
    "accepted": target_is("accepted", "running"),
    "handed over": source_is("handed_over", "gone"),
    "after the pivot": source_is("gone"),
}
CASES = [
    *(("source agent", moment) for moment in ("frozen", "in the transfer", "handed over")),
    *(("target agent", moment) for moment in ("reserved", "in the transfer", "accepted")),
    *(("worker", moment) for moment in ("reserved", "in the transfer", "after the pivot")),
    *(("api", moment) for moment in ("reserved", "in the transfer", "after the pivot")),
]


def kill(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended by itself
    return bool(pids)


def prove(fleet: Fleet, name: str, asking: Any) -> dict[str, Any]:
    """One copy runs, its state and its client's connection are whole, no traces are left."""
    last = settle(fleet, name)
    owner = "cloud" if last["state"] == "succeeded" else "onprem"
    wait_until(f"{name} to run on {owner} only", lambda: fleet.running(name, HOSTS) == [owner])
    time.sleep(1)
    report = asking.report()
    assert not report["last"]["broken"]
    assert report["first"]["secret"] == report["last"]["secret"]
    lines = fleet.podman(owner, "exec", name, "cat", "/data/journal.log").split()
    assert [int(line) for line in lines] == list(range(len(lines)))
    assert len(lines) >= report["last"]["number"]
    network_is_unlocked(fleet, owner, name)
    for host in HOSTS:
        wait_until(f"{host} to be clean", lambda host=host: not leftovers(fleet, host))
    receipt: dict[str, Any] = fleet.json("migration", "show", last["id"])
    if last["state"] != "succeeded":
        assert last["reason"], "a rolled back migration says why"
    return receipt


def leftovers(fleet: Fleet, host: str) -> str:
    try:
        clean(fleet, host)
    except AssertionError as error:
        return str(error)
    return ""


def begin(fleet: Fleet, name: str, client: Any) -> Any:
    program = BALLAST + FAMILY
    options = ("-v", f"{name}:/data")
    address = fleet.run("onprem", name, "python3", "-u", "-c", program, options=options)
    asking = client("ask.py", address, "7000")
    time.sleep(0.5)
    fleet.porter("migrate", name, "--to", "cloud", "--detach")
    return asking


def await_moment(fleet: Fleet, name: str, moment: Callable[[Fleet, str], bool]) -> None:
    deadline = time.monotonic() + 60
    while not moment(fleet, name):
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.002)


@pytest.mark.parametrize(("victim", "moment"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_killed(fleet: Fleet, name: str, client: Any, victim: str, moment: str) -> None:
    asking = begin(fleet, name, client)
    await_moment(fleet, name, MOMENTS[moment])
    assert kill(VICTIMS[victim](fleet))
    prove(fleet, name, asking)


@pytest.mark.parametrize(
    ("victim", "wait"),
    [("criu dumping", 0.0), ("criu dumping", 0.15), ("criu restoring", 0.0)],
    ids=["dump-start", "dump-middle", "restore"],
)
def test_criu_killed(fleet: Fleet, name: str, client: Any, victim: str, wait: float) -> None:
    asking = begin(fleet, name, client)
    await_moment(fleet, name, lambda fleet, _: bool(VICTIMS[victim](fleet)))
    time.sleep(wait)
    kill(VICTIMS[victim](fleet))
    prove(fleet, name, asking)
