"""The peer: Podman's own checkpoint, a plain copy, Podman's own restore."""

from __future__ import annotations

import subprocess
import sys

from porter.domain.errors import Permanent
from porter.lab.fleet import Fleet

ARCHIVE = "/var/lib/containers/peer.tar"
PORT = 9000
MAC = '{{(index .NetworkSettings.Networks "porter").MacAddress}}'
SEND = """
import socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
with open(sys.argv[3], "rb") as file:
    peer.sendfile(file)
"""
RECEIVE = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
peer, _ = listener.accept()
buffer = memoryview(bytearray(1 << 20))
with open(sys.argv[3], "wb", buffering=0) as file:
    while count := peer.recv_into(buffer):
        file.write(buffer[:count])
"""


def _checkpoint(fleet: Fleet, host: str, name: str, compress: str, *flags: str) -> None:
    words = ("--tcp-established", "--compress", compress, "--export", ARCHIVE)
    fleet.podman(host, "container", "checkpoint", *flags, *words, name, timeout=180)


def archive_mb(fleet: Fleet, name: str, host: str, compress: str) -> float:
    """Size of the archive that Podman would send with this compression; the container runs on."""
    _checkpoint(fleet, host, name, compress, "--leave-running")
    size = fleet.lab.exec(host, ["stat", "-c", "%s", ARCHIVE], timeout=20).stdout
    fleet.lab.exec(host, ["rm", "-f", ARCHIVE], timeout=20)
    return int(size) / 1e6


def copy(fleet: Fleet, here: str, there: str) -> None:
    """The archive over one plain TCP stream: no encryption, no copies in user space to send."""
    address = fleet.lab.address(there)
    receive = [sys.executable, "-c", RECEIVE, address, str(PORT), ARCHIVE]
    receiver = fleet.lab.popen(there, receive, text=True, stdout=subprocess.PIPE)
    assert receiver.stdout is not None
    receiver.stdout.readline()
    send = [sys.executable, "-c", SEND, address, str(PORT), ARCHIVE]
    sent = fleet.lab.exec(here, send, timeout=180)
    receiver.communicate(timeout=180)
    if sent.returncode or receiver.returncode:
        raise Permanent(f"cannot copy the peer's archive: {sent.stderr}")


def move(fleet: Fleet, name: str, address: str, here: str, there: str) -> None:
    """Checkpoint, copy, restore, flip the address; then remove the stopped source."""
    mac = fleet.podman(here, "inspect", "-f", MAC, name)
    _checkpoint(fleet, here, name, "none")
    copy(fleet, here, there)
    _network(fleet, here, f"yield_to({address!r}, {fleet.lab.address(there)!r})")
    words = ("--tcp-established", "--import", ARCHIVE)
    fleet.podman(there, "container", "restore", *words, timeout=180)
    _network(fleet, there, f"claim({address!r}, {mac!r})")
    fleet.podman(here, "rm", "-f", name)
    for host in (here, there):
        fleet.lab.exec(host, ["rm", "-f", ARCHIVE], timeout=20)


def _network(fleet: Fleet, host: str, call: str) -> None:
    """What the peer's user would do by hand with `ip` and `arping`, as fast as Porter does it."""
    code = f"from porter.network.linux import LinuxNetwork as N; N({fleet.lab.address(host)!r})"
    done = fleet.lab.exec(host, [sys.executable, "-c", f"{code}.{call}"], timeout=20)
    if done.returncode:
        raise Permanent(f"cannot flip the address on {host}: {done.stderr.strip()}")


def bytes_sent(fleet: Fleet, host: str) -> int:
    """Bytes that left the host on its link, headers included."""
    counter = ["cat", "/sys/class/net/eth0/statistics/tx_bytes"]
    return int(fleet.lab.exec(host, counter, timeout=10, check=True).stdout)
