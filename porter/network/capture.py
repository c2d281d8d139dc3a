"""Catching a workload's packets on their way in, delivering them later, telling neighbours."""

from __future__ import annotations

import ctypes
import ipaddress
import os
import select
import socket
import struct
import threading
from collections.abc import Sequence

from porter.domain.errors import Permanent
from porter.network.packets import Flow, arp, destination, fit, flow_of

MAX_FLOWS = 4096
MAX_PACKET = 1500
"""Enough to wake a connection up; its sender repeats whatever is cut off."""
_ETH_P_IP = 0x0800
_SO_ATTACH_FILTER = 26
_PACKET_HOST = 0
_PACKET_TYPE = 0xFFFFF000 + 4
_ARP_AGAIN = (0.01, 0.03, 0.3, 1.0)
"""Seconds between announcements."""


def _only(address: str) -> bytes:
    """Classic BPF: IPv4 packets to this host's own MAC, for `address`; nothing else."""
    wanted = int(ipaddress.IPv4Address(address))
    code = (
        (0x20, 0, 0, _PACKET_TYPE),  # ld  packet type: what we send ourselves is not for us
        (0x15, 0, 3, _PACKET_HOST),  # jne → drop
        (0x20, 0, 0, 16),  # ld  destination
        (0x15, 0, 1, wanted),  # jne → drop
        (0x06, 0, 0, MAX_PACKET),
        (0x06, 0, 0, 0),
    )
    return b"".join(struct.pack("HBBI", *line) for line in code)


class Capture:
    """The newest packet of every flow to one address, from now until `stop`."""

    def __init__(self, address: str) -> None:
        program = ctypes.create_string_buffer(_only(address))
        self._address = ipaddress.IPv4Address(address).packed
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        try:
            fprog = struct.pack("HL", len(program.raw) // 8, ctypes.addressof(program))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
            self._socket.setblocking(False)
        except OSError as error:
            self._socket.close()
            raise Permanent(f"cannot catch packets for {address}: {error.strerror}") from error
        self._flows: dict[Flow, bytes] = {}
        self._wake, self._waker = os.pipe()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"hold-{address}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket.fileno(), self._wake], [], [])
            self._drain()
            if self._wake in ready:
                return

    def _drain(self) -> None:
        while True:
            try:
                packet, sender = self._socket.recvfrom(MAX_PACKET)
            except BlockingIOError:
                return
            flow = flow_of(packet)
            # Before the filter was in place, others' packets may have got in.
            if flow is None or flow[2] != self._address or sender[2] != _PACKET_HOST:
                continue
            if sender[0] == "lo":
                continue
            self._flows.pop(flow, None)  # the newest goes to the end
            if len(self._flows) < MAX_FLOWS:
                self._flows[flow] = packet

    def stop(self) -> list[bytes]:
        """End catching; the newest packet of every flow, oldest first. Again: the same list."""
        if not self._stopped:
            self._stopped = True
            os.write(self._waker, b"x")
            self._thread.join()
            self._socket.close()
            os.close(self._wake)
            os.close(self._waker)
        return list(self._flows.values())


def deliver(packets: Sequence[bytes], mtu: int) -> int:
    """Send packets as they are, from their own source. How many went out.

    One that cannot be sent is left out: its sender will repeat it, which was the case anyway.
    """
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as out:
        for packet in packets:
            ready = fit(packet, mtu)
            if ready is None:
                continue
            try:
                out.sendto(ready, (destination(ready), 0))
            except OSError:
                continue
            sent += 1
    return sent


class Announcer:
    """Tells neighbours where an address is, several times: a frame may be lost, and nobody
    acknowledges it. A newer announcement of an address ends the older one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, threading.Event] = {}

    def announce(self, address: str, places: Sequence[tuple[str, str]]) -> None:
        """`address` is at these (interface, MAC). At once, then again in the background."""
        stop = threading.Event()
        with self._lock:
            self.silence(address)
            self._running[address] = stop
        senders = [_Sender(name, address, mac) for name, mac in places]
        for one in senders:
            one.send()
        threading.Thread(
            target=self._repeat, args=(senders, stop), name=f"announce-{address}", daemon=True
        ).start()

    def silence(self, address: str) -> None:
        """Stop announcing: it may no longer be true."""
        earlier = self._running.pop(address, None)
        if earlier is not None:
            earlier.set()

    @staticmethod
    def _repeat(senders: Sequence[_Sender], stop: threading.Event) -> None:
        for delay in _ARP_AGAIN:
            if stop.wait(delay):
                break
            for one in senders:
                one.send()
        for one in senders:
            one.close()


class _Sender:
    """Gratuitous ARP frames for one address on one interface."""

    def __init__(self, interface: str, address: str, mac: str) -> None:
        self._frames = (arp(1, address, mac), arp(2, address, mac))
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.bind((interface, 0))
        except OSError as error:
            self.close()
            raise Permanent(
                f"cannot announce {address} on {interface}: {error.strerror}"
            ) from error

    def send(self) -> None:
        for frame in self._frames:
            try:
                self._socket.send(frame)
            except OSError:
                return  # the interface went away or is down: nobody there can listen

    def close(self) -> None:
        self._socket.close()
