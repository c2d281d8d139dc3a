"""What every host network must do. On a lab host the same tests hold Linux to it."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from porter.domain.container import Link
from porter.domain.errors import Unsupported
from porter.network.packets import fit, flow_of
from porter.protocol.joining import Network, Route
from tests.contracts.networks import HERE, NETWORKS, OTHER_HOST, SUBNET, THIRD_HOST, Wire

MAC = "02:00:00:00:00:09"
ADDRESS = "10.77.1.9"
PLAN = Network(1, SUBNET, "10.77.1.0/24", (Route("10.77.2.0/24", OTHER_HOST),))


@pytest.fixture(params=NETWORKS, ids=lambda make: make.__name__)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    make: Callable[[], Wire] = request.param
    made = make()
    made.network.apply(PLAN)
    yield made
    made.clear()


def udp(source: str, target: str, port: int = 7, body: bytes = b"hello") -> bytes:
    head = struct.pack("!HHHH", port, 7000, 8 + len(body), 0) + body
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(head), 1, 0, 64, 17, 0)
    packet += socket.inet_aton(source) + socket.inet_aton(target) + head
    ready = fit(packet, 1400)
    assert ready is not None
    return ready


def test_routes_are_exactly_as_told(wire: Wire) -> None:
    assert wire.via("10.77.2.5") == OTHER_HOST
    assert wire.via("10.77.3.5") == ""
    routes = (Route("10.77.3.0/24", OTHER_HOST), Route("10.77.3.7/32", THIRD_HOST))
    for _ in range(2):
        wire.network.apply(Network(2, SUBNET, "10.77.1.0/24", routes))
        assert wire.via("10.77.2.5") == ""
        assert wire.via("10.77.3.5") == OTHER_HOST
        assert wire.via("10.77.3.7") == THIRD_HOST


def test_a_host_that_is_no_neighbour_is_refused(wire: Wire) -> None:
    far = Network(2, SUBNET, "10.77.1.0/24", (Route("10.77.9.0/24", "198.51.100.1"),))
    with pytest.raises(Unsupported, match=r"198\.51\.100\.1"):
        wire.network.apply(far)


def test_it_answers_only_for_what_it_claimed(wire: Wire) -> None:
    assert not wire.answers(ADDRESS)
    for _ in range(2):
        wire.network.claim(ADDRESS, MAC)
        assert wire.answers(ADDRESS)
        assert not wire.answers("10.77.1.10")
        assert wire.network.owned() == {ADDRESS}
    for _ in range(2):
        wire.network.disown(ADDRESS)
        assert not wire.answers(ADDRESS)
        assert wire.network.owned() == set()


def test_a_claimed_address_is_here_whosever_range_it_is_from(wire: Wire) -> None:
    wire.network.claim("10.77.2.9", MAC)
    assert wire.via("10.77.2.9") == ""
    assert wire.via("10.77.2.10") == OTHER_HOST
    # A plan that has not heard of the move yet does not take it away again.
    old = (*PLAN.routes, Route("10.77.2.9/32", THIRD_HOST))
    wire.network.apply(Network(2, SUBNET, "10.77.1.0/24", old))
    assert wire.via("10.77.2.9") == ""
    assert wire.answers("10.77.2.9")


def test_a_yielded_address_is_passed_on(wire: Wire) -> None:
    wire.network.claim(ADDRESS, MAC)
    for _ in range(2):
        wire.network.yield_to(ADDRESS, OTHER_HOST)
        assert not wire.answers(ADDRESS)
        assert wire.via(ADDRESS) == OTHER_HOST
        assert wire.network.owned() == set()
    # The plan does not know yet: it stays as it is.
    wire.network.apply(PLAN)
    assert wire.via(ADDRESS) == OTHER_HOST


def test_the_plan_takes_over_when_it_has_caught_up(wire: Wire) -> None:
    wire.network.claim(ADDRESS, MAC)
    wire.network.yield_to(ADDRESS, OTHER_HOST)
    routes = (*PLAN.routes, Route(f"{ADDRESS}/32", OTHER_HOST))
    wire.network.apply(Network(2, SUBNET, "10.77.1.0/24", routes))
    assert wire.via(ADDRESS) == OTHER_HOST
    routes = (*PLAN.routes, Route(f"{ADDRESS}/32", THIRD_HOST))
    wire.network.apply(Network(3, SUBNET, "10.77.1.0/24", routes))
    assert wire.via(ADDRESS) == THIRD_HOST
    wire.network.apply(PLAN)
    assert wire.via(ADDRESS) == ""


def test_an_address_comes_back(wire: Wire) -> None:
    wire.network.claim(ADDRESS, MAC)
    wire.network.yield_to(ADDRESS, OTHER_HOST)
    wire.network.claim(ADDRESS, MAC)
    assert wire.answers(ADDRESS)
    assert wire.via(ADDRESS) == ""


def test_a_cut_link_carries_nothing_until_it_is_joined(wire: Wire) -> None:
    link = wire.attach(ADDRESS, MAC)
    wire.network.claim(ADDRESS, MAC)
    wire.send(udp(wire.client, ADDRESS))
    assert wire.received(1) == 1
    wire.network.cut(link)
    wire.network.cut(link)
    wire.send(udp(wire.client, ADDRESS))
    assert wire.received(0) == 0
    assert wire.answers(ADDRESS)
    wire.network.join(link)
    wire.network.join(link)
    wire.send(udp(wire.client, ADDRESS))
    assert wire.received(1) == 1


def test_cutting_what_is_gone_is_no_error(wire: Wire) -> None:
    wire.network.cut(Link("no-such-link", "/no/such/netns", ADDRESS, MAC))


def test_held_packets_are_the_newest_of_every_flow(wire: Wire) -> None:
    wire.network.claim(ADDRESS, MAC)
    held = wire.network.hold(ADDRESS)
    for port in (1, 2, 3, 2):
        wire.send(udp(wire.client, ADDRESS, port, b"%d" % port))
    wire.send(udp(wire.client, ADDRESS, 1, b"newest"))
    wire.send(udp(wire.client, "10.77.1.10", 9))
    wire.settle(held, 5)
    packets = held.stop()
    assert held.stop() == packets
    assert [flow_of(one) for one in packets] == [
        flow_of(udp(wire.client, ADDRESS, port)) for port in (3, 2, 1)
    ]
    assert packets[-1].endswith(b"newest")
    assert packets[0][16:20] == ipaddress.IPv4Address(ADDRESS).packed


def test_replayed_packets_arrive(wire: Wire) -> None:
    wire.attach(ADDRESS, MAC)
    wire.network.claim(ADDRESS, MAC)
    wire.network.replay([udp(wire.client, ADDRESS, 1), udp(wire.client, ADDRESS, 2)])
    assert wire.received(2) == 2
    wire.network.replay([])


def test_a_lock_is_removed_from_a_namespace(wire: Wire) -> None:
    link = wire.attach(ADDRESS, MAC)
    wire.network.claim(ADDRESS, MAC)
    wire.lock(link.netns)
    wire.send(udp(wire.client, ADDRESS))
    assert wire.received(0) == 0
    for _ in range(2):
        wire.network.unlock(link.netns)
        assert not wire.locked(link.netns)
    wire.send(udp(wire.client, ADDRESS))
    assert wire.received(1) == 1
    wire.network.unlock("/no/such/namespace")


def test_claiming_is_quick(wire: Wire) -> None:
    start = time.monotonic()
    for _ in range(10):
        wire.network.claim(ADDRESS, MAC)
    assert (time.monotonic() - start) / 10 < 0.1
    assert HERE
