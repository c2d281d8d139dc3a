"""IPv4 packets: which flow they belong to, how they are shortened and summed. Pure functions."""

from __future__ import annotations

import ipaddress
import socket
import struct

_TCP, _UDP = 6, 17
_FIN_PSH = 0x09

Flow = tuple[int, bytes, bytes, bytes]


def flow_of(packet: bytes) -> Flow | None:
    """(protocol, source, destination, ports) of a packet; None if it is none or a fragment."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    start = (packet[0] & 15) * 4
    offset = struct.unpack_from("!H", packet, 6)[0]
    if offset & 0x3FFF or len(packet) < start:
        return None
    protocol = packet[9]
    ports = packet[start : start + 4] if protocol in (_TCP, _UDP) else b""
    return protocol, packet[12:16], packet[16:20], ports


def checksum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def fit(packet: bytes, mtu: int) -> bytes | None:
    """The packet as it can be sent: at most `mtu` bytes, with right checksums.

    What a host captures may be longer than any wire allows (joined segments), and not yet summed.
    A TCP packet is shortened: its sender repeats the rest. None if it cannot be shortened.
    """
    flow = flow_of(packet)
    if flow is None:
        return None
    start = (packet[0] & 15) * 4
    length = min(struct.unpack_from("!H", packet, 2)[0] or len(packet), len(packet))
    out = bytearray(packet[:length])
    if len(out) > mtu:
        if flow[0] != _TCP:
            return None
        out = out[:mtu]
        out[start + 13] &= ~_FIN_PSH
    struct.pack_into("!H", out, 2, len(out))
    struct.pack_into("!H", out, 10, 0)
    struct.pack_into("!H", out, 10, checksum(bytes(out[:start])))
    place = {_TCP: start + 16, _UDP: start + 6}.get(flow[0])
    if place is not None and len(out) >= place + 2:
        struct.pack_into("!H", out, place, 0)
        body = bytes(out[start:])
        pseudo = bytes(out[12:20]) + struct.pack("!BBH", 0, flow[0], len(body))
        struct.pack_into("!H", out, place, checksum(pseudo + body) or 0xFFFF)
    return bytes(out)


def destination(packet: bytes) -> str:
    return socket.inet_ntoa(packet[16:20])


def arp(operation: int, address: str, mac: str) -> bytes:
    """A gratuitous ARP frame to everybody: `address` is at `mac`. 1 is request, 2 is reply."""
    own, ip = bytes.fromhex(mac.replace(":", "")), ipaddress.IPv4Address(address).packed
    everybody = b"\xff" * 6
    target = everybody if operation == 2 else b"\0" * 6
    head = everybody + own + struct.pack("!H", 0x0806)
    return head + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + own + ip + target + ip
