"""Packets: told apart, shortened, summed."""

from __future__ import annotations

import random
import socket
import struct

import pytest

from porter.network.firewall import rules
from porter.network.linux import free_range
from porter.network.packets import arp, checksum, fit, flow_of
from porter.protocol.joining import Network, Route

TCP, UDP, ICMP = 6, 17, 1


def packet(protocol: int, body: bytes, fragment: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, fragment, 64, protocol, 0)
    return head + socket.inet_aton("10.99.0.1") + socket.inet_aton("10.77.1.5") + body


def tcp(data: bytes, flags: int = 0x18) -> bytes:
    return packet(TCP, struct.pack("!HHIIBBHHH", 4000, 80, 1, 2, 0x50, flags, 100, 0, 0) + data)


def is_right(raw: bytes) -> bool:
    body = raw[20:]
    pseudo = raw[12:20] + struct.pack("!BBH", 0, raw[9], len(body))
    return checksum(raw[:20]) == 0 and checksum(pseudo + body) == 0


def test_flows_are_told_apart() -> None:
    assert flow_of(tcp(b"a")) == flow_of(tcp(b"b"))
    assert flow_of(tcp(b"a")) != flow_of(packet(UDP, tcp(b"a")[20:]))
    assert flow_of(packet(ICMP, b"12345678")) == flow_of(packet(ICMP, b"87654321"))


@pytest.mark.parametrize("raw", [b"", b"\x45" * 10, b"\x60" + bytes(60), packet(UDP, b"x" * 9, 3)])
def test_what_is_no_whole_packet_has_no_flow(raw: bytes) -> None:
    assert flow_of(raw) is None
    assert fit(raw, 1400) is None


@pytest.mark.parametrize("size", [0, 1, 7, 1360])
def test_sums_are_made_right(size: int) -> None:
    ready = fit(tcp(random.Random(size).randbytes(size)), 1400)
    assert ready is not None
    assert len(ready) == 40 + size
    assert is_right(ready)


def test_joined_segments_are_shortened() -> None:
    ready = fit(tcp(b"x" * 20000, flags=0x19), 1400)
    assert ready is not None
    assert len(ready) == 1400
    assert struct.unpack_from("!H", ready, 2)[0] == 1400
    assert ready[33] == 0x10
    assert is_right(ready)


def test_a_datagram_cannot_be_shortened() -> None:
    assert fit(packet(UDP, struct.pack("!HHHH", 1, 2, 3000, 0) + b"x" * 2992), 1400) is None


def test_padding_of_short_frames_is_cut_off() -> None:
    ready = fit(tcp(b"") + bytes(6), 1400)
    assert ready is not None
    assert len(ready) == 40


def test_an_announcement_is_gratuitous() -> None:
    frame = arp(2, "10.77.1.5", "02:50:54:52:00:01")
    assert frame[:6] == b"\xff" * 6
    assert frame[28:32] == frame[38:42] == socket.inet_aton("10.77.1.5")
    assert frame[22:28] == bytes.fromhex("025054520001")


def test_the_filter_names_every_network_of_the_fabric() -> None:
    text = rules("10.77.0.0/16", ["10.99.0.0/24", "10.99.0.3"])
    assert "elements = { 10.77.0.0/16, 10.99.0.0/24, 10.99.0.3 }" in text


@pytest.mark.parametrize(
    ("away", "free"),
    [
        ([], "10.77.1.0/24"),
        (["10.77.2.9/32", "10.77.2.0/24"], "10.77.1.0/24"),
        (["10.77.1.1/32"], "10.77.1.2-10.77.1.254"),
        (["10.77.1.1/32", "10.77.1.200/32", "10.77.1.3/32"], "10.77.1.4-10.77.1.199"),
        (["10.77.1.254/32"], "10.77.1.1-10.77.1.253"),
    ],
)
def test_addresses_of_workloads_that_left_are_not_given_again(away: list[str], free: str) -> None:
    routes = tuple(Route(prefix, "10.99.0.3") for prefix in away)
    assert free_range(Network(1, "10.77.0.0/16", "10.77.1.0/24", routes)) == free
