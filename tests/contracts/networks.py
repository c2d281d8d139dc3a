"""Networks to hold to the contract: the fake anywhere, Linux where a lab host runs the tests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from porter.domain.container import Link
from porter.network.base import Held
from porter.network.fake import FakeHeld, FakeNetwork
from porter.network.linux import BRIDGE, LinuxNetwork

ON_HOST = os.environ.get("PORTER_ON_HOST", "")
"""The underlay address of the lab host on which these tests run; empty elsewhere."""
HERE, CLIENT = "172.31.7.1", "172.31.7.254"
OTHER_HOST = f"{HERE.rpartition('.')[0]}.201"
THIRD_HOST = f"{HERE.rpartition('.')[0]}.202"
SUBNET = "10.77.0.0/16"


class Wire(Protocol):
    """A host's network, a client on its underlay, and workloads behind it."""

    network: Any
    client: str

    def via(self, address: str) -> str:
        """The other host to which the address's packets go on; "" if they stay."""
        ...

    def answers(self, address: str) -> bool:
        """Whether neighbours on the underlay are told that the address is here."""
        ...

    def attach(self, address: str, mac: str) -> Link:
        """A workload that counts the datagrams it gets."""
        ...

    def send(self, packet: bytes) -> None:
        """A datagram from the client to a workload."""
        ...

    def received(self, expected: int) -> int:
        """How many datagrams the workload got since the last question."""
        ...

    def settle(self, held: Held, packets: int) -> None:
        """Wait until this many have been caught."""
        ...

    def lock(self, netns: str) -> None: ...

    def locked(self, netns: str) -> bool: ...

    def clear(self) -> None: ...


class FakeWire:
    """`FakeNetwork`: tests say what arrives."""

    def __init__(self) -> None:
        self.network = FakeNetwork(HERE, {OTHER_HOST, THIRD_HOST})
        self.client = CLIENT
        self._link: Link | None = None
        self._got = 0

    def via(self, address: str) -> str:
        return self.network.via(address)

    def answers(self, address: str) -> bool:
        return self.network.answers(address)

    def attach(self, address: str, mac: str) -> Link:
        self._link = Link("veth1", "/fake/netns", address, mac)
        return self._link

    def send(self, packet: bytes) -> None:
        self.network.arrive(packet)
        link = self._link
        blocked = self.network.down | self.network.locked
        if link is not None and not blocked & {link.device, link.netns}:
            self._got += 1

    def received(self, expected: int) -> int:
        got, self._got = self._got + len(self.network.delivered), 0
        self.network.delivered.clear()
        return got

    def settle(self, held: Held, packets: int) -> None:
        assert isinstance(held, FakeHeld)
        assert len(held.packets) == packets

    def lock(self, netns: str) -> None:
        self.network.locked.add(netns)

    def locked(self, netns: str) -> bool:
        return netns in self.network.locked

    def clear(self) -> None:
        """Nothing outlives the fixture."""


class LinuxWire:
    """`LinuxNetwork` on a lab host. The client is a namespace on a veth of its own, which plays
    the underlay; the workload another, on the bridge."""

    def __init__(self) -> None:
        self.client = CLIENT
        self._counter: socket.socket | None = None
        self.clear()
        run("ip netns add client")
        run("ip link add under0 type veth peer name eth0 netns client")
        run(f"ip addr add {HERE}/24 dev under0")
        run("ip link set under0 up")
        run("ip -n client link set eth0 up")
        run(f"ip -n client addr add {CLIENT}/24 dev eth0")
        run(f"ip -n client route add {SUBNET} dev eth0")
        self.network = LinuxNetwork(HERE)

    def via(self, address: str) -> str:
        found = json.loads(run(f"ip -j route get {address} from {HERE}"))
        return str(found[0].get("gateway", ""))

    def answers(self, address: str) -> bool:
        run("ip -n client neigh flush dev eth0")
        with socket_in("client", ("0.0.0.0", 0)) as asking:
            asking.sendto(b"", (address, 9))
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            if "lladdr" in run(f"ip -n client neigh show {address}"):
                return True
            time.sleep(0.02)
        return False

    def attach(self, address: str, mac: str) -> Link:
        run("ip netns add work")
        run("ip link add work0 type veth peer name eth0 netns work")
        run(f"ip -n work link set eth0 address {mac} up")
        run("ip -n work link set lo up")
        run(f"ip link set work0 master {BRIDGE} up")
        run(f"ip -n work addr add {address}/16 dev eth0")
        run("ip -n work route add default via 10.77.0.1")
        self._counter = socket_in("work", (address, 7000))
        return Link("work0", "/run/netns/work", address, mac)

    def send(self, packet: bytes) -> None:
        with socket_in("client", None) as sender:
            sender.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
        time.sleep(0.05)  # sent is not yet arrived, and the next one must not overtake it

    def received(self, expected: int) -> int:
        assert self._counter is not None
        got = 0
        self._counter.settimeout(2 if expected else 0.3)
        try:
            while True:
                self._counter.recv(2000)
                got += 1
                self._counter.settimeout(2 if got < expected else 0.2)
        except TimeoutError:
            return got

    def settle(self, held: Held, packets: int) -> None:
        time.sleep(0.3)  # whatever was sent has passed the wire by now

    def lock(self, netns: str) -> None:
        chain = "chain {0} {{ type filter hook {0} priority 0; policy drop; }}"
        chains = "\n".join(chain.format(hook) for hook in ("input", "output"))
        rules = f"table inet CRIU-77 {{\n{chains}\n}}\n"
        enter = ("nsenter", f"--net={netns}")
        subprocess.run([*enter, "nft", "-f", "-"], input=rules, text=True, check=True)
        old = (
            "*filter\n:CRIU - [0:0]\n-A CRIU -j DROP\n-A INPUT -j CRIU\n-A OUTPUT -j CRIU\nCOMMIT\n"
        )
        for tool in ("iptables-restore", "ip6tables-restore"):
            subprocess.run([*enter, tool, "--noflush"], input=old, text=True, check=True)
        run(f"nsenter --net={netns} ip link set lo down")

    def locked(self, netns: str) -> bool:
        seen = run(f"nsenter --net={netns} nft list ruleset")
        lo = run(f"nsenter --net={netns} ip -br link show lo")
        return "CRIU" in seen or "DOWN" in lo

    def clear(self) -> None:
        if self._counter is not None:
            self._counter.close()
        for name in ("client", "work"):
            run(f"ip netns del {name}", check=False)
        for name in ("under0", "work0", f"{BRIDGE}p", BRIDGE):
            run(f"ip link del {name}", check=False)
        for proto in ("77", "78", "79"):
            run(f"ip route flush proto {proto}", check=False)
        run("nft delete table ip porter", check=False)


def run(line: str, check: bool = True) -> str:
    argv = line.split()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert not check or done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


def socket_in(netns: str, address: tuple[str, int] | None) -> socket.socket:
    """A socket made inside a namespace: raw for sending, or datagram on `address`."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(Path("/run/netns") / netns, os.O_RDONLY)
    try:
        setns(there)
        if address is None:
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(address)
        return made
    finally:
        setns(home)
        os.close(there)
        os.close(home)


def setns(handle: int) -> None:
    """Enter a network namespace with this thread (`os.setns` came with Python 3.12)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")


NETWORKS: list[Callable[[], Wire]] = [LinuxWire if ON_HOST else FakeWire]
