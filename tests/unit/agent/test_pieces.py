"""The small parts: frames, journal, network view, sockets, strays, admission, images."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from porter.agent.journal import Journal, Record
from porter.agent.network_view import corrected
from porter.agent.peer_client import PeerAddress, dial
from porter.agent.peer_tls import client_context, handshake, host_of, server_context
from porter.agent.peer_wire import MAX_PAYLOAD, Wire
from porter.agent.sockets import parse
from porter.agent.strays import end_strays, working_in
from porter.domain.errors import Conflict, Denied, Permanent, PorterError, Transient
from porter.domain.handover import Source, Target
from porter.domain.workload import Image
from porter.protocol import codec
from porter.protocol.joining import Network, Route
from porter.protocol.messages import (
    Check,
    Command,
    Kind,
    Query,
    Reserve,
    Result,
    ShipImage,
    ShippedImage,
)
from tests.unit.agent.ca import Authority
from tests.unit.agent.fakes import WORKLOAD, spec_of
from tests.unit.agent.nodes import Pair

# -- frames -----------------------------------------------------------------------------------


def _wires(place: Path) -> tuple[Wire, Wire]:
    authority = Authority(place / "ca")
    a, b = authority.host("h-a"), authority.host("h-b")
    left, right = socket.socketpair()
    made: list[ssl.SSLSocket] = []
    thread = threading.Thread(
        target=lambda: made.append(handshake(server_context(b), right)), daemon=True
    )
    thread.start()
    client = handshake(client_context(a), left, "h-b")
    thread.join(5)
    assert host_of(made[0]) == "h-a"
    return Wire(client, "h-b"), Wire(made[0], "h-a")


@pytest.mark.parametrize("size", [0, 1, 20_000, MAX_PAYLOAD])
def test_frames_arrive(tmp_path: Path, size: int) -> None:
    left, right = _wires(tmp_path)
    payload = b"x" * size
    thread = threading.Thread(target=left.send, args=({"t": "chunk", "path": b"\xff"}, payload))
    thread.start()
    header, got = right.receive()
    thread.join()
    assert header == {"t": "chunk", "path": b"\xff"}
    assert bytes(got) == payload
    left.close()
    right.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff\xff" + b"\0" * 8,
        b"\0\0\0\1" + b"\xff" * 8,
        b"\0\0\0\1" + b"\0" * 8 + b"\xc1",
        b"\0\0\0\1" + b"\0" * 8 + b"\x01",
    ],
)
def test_hostile_frames_are_refused(tmp_path: Path, raw: bytes) -> None:
    left, right = _wires(tmp_path)
    left._sock.sendall(raw)
    with pytest.raises(Permanent, match="cannot read from host h-a"):
        right.receive()
    left.close()
    right.close()


def test_the_end_of_a_connection_is_transient(tmp_path: Path) -> None:
    left, right = _wires(tmp_path)
    left.close()
    with pytest.raises(Transient):
        right.receive()
    with pytest.raises(Transient):
        right.send({"t": "x"}, b"y" * 8_000_000)
    right.close()


# -- journal ----------------------------------------------------------------------------------


def test_the_journal_remembers(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    command = Command("c1", Kind.QUERY, "m", {"migration": "m"})
    assert journal.begin(command) is None
    assert journal.begin(command) is None
    assert journal.interrupted() == [command]
    journal.finish("c1", Result(output={"a": 1}))
    record = Record("m", "web", "source", 2, Source.FROZEN, note="why")
    journal.put(record)
    journal.close()

    journal = Journal(tmp_path / "j")
    assert journal.begin(command) == Result(output={"a": 1})
    assert journal.interrupted() == []
    [(operation, result, since)] = journal.undelivered()
    assert (operation, result) == ("c1", Result(output={"a": 1}))
    journal.delivered("c1", since)
    assert journal.undelivered() == []
    assert journal.get("m") == record
    assert journal.unsettled() == [record]
    journal.close()


# -- network view -----------------------------------------------------------------------------


def test_own_records_are_newer_than_the_routes(pair: Pair) -> None:
    spec = spec_of(pair.a.host.containers["one"])
    network = Network(
        1, "10.77.0.0/16", "10.77.1.0/24", (Route("10.77.2.0/24", "b"), Route("10.77.1.5/32", "b"))
    )
    plain = Route("10.77.2.0/24", "b")

    def routes(role: str, state: str) -> tuple[Route, ...]:
        record = Record("m", "web", role, 1, state, spec=spec, peer_address="c")
        return corrected(network, [record]).routes

    assert routes("source", Source.GONE) == (plain, Route("10.77.1.5/32", "c"))
    assert routes("source", Source.FROZEN) == (plain,)
    assert routes("target", Target.RUNNING) == (plain,)
    assert routes("target", Target.ACCEPTED) == network.routes


# -- sockets and strays -----------------------------------------------------------------------


def test_counts_established_connections_with_others() -> None:
    table = (
        "  sl  local_address rem_address   st\n"
        "   0: 0501A84D:18EB 0901A84D:D431 01 00000000:00000000\n"
        "   1: 0501A84D:18EB 00000000:0000 0A 00000000:00000000\n"
        "   2: 0100007F:18EB 0100007F:D431 01 00000000:00000000\n"
    )
    assert parse(table, "") == {"0501A84D:18EB 0901A84D:D431"}


def test_left_over_tools_are_waited_for_then_killed(tmp_path: Path) -> None:
    tool = tmp_path / "criu"
    tool.symlink_to("/bin/sleep")
    images = tmp_path / "images"
    images.mkdir()
    with subprocess.Popen([tool, "60"], cwd=images) as stray:
        with subprocess.Popen([tool, "60"], cwd="/") as other:
            assert working_in(images) == {stray.pid: "criu"}
            start = time.monotonic()
            assert end_strays(images, 0.2) == [f"criu ({stray.pid})"]
            assert time.monotonic() - start < 4
            assert stray.wait(5) == -9
            assert other.poll() is None
            other.kill()


# -- admission --------------------------------------------------------------------------------


def _reserve(pair: Pair) -> PeerAddress:
    pair.prepare()
    return PeerAddress("host-b", "127.0.0.1", pair.b.port)


def test_only_the_source_with_its_token_is_admitted(pair: Pair) -> None:
    to = _reserve(pair)
    stranger = Authority(pair.a.host.place.parent / "ca2").host("host-a")
    with pytest.raises(Denied, match="token is wrong"):
        dial(pair.a.credentials, to, "control", "m1", "guess")
    with pytest.raises(Denied, match="no part in this migration"):
        dial(pair.b.credentials, to, "control", "m1", "secret")
    with pytest.raises(Denied, match="no part"):
        dial(pair.a.credentials, to, "control", "m2", "secret")
    with pytest.raises(Conflict, match="no control connection"):
        dial(pair.a.credentials, to, "data", "m1", "secret")
    with pytest.raises(Denied, match="cannot serve"):
        dial(pair.a.credentials, to, "dance", "m1", "secret")
    with pytest.raises(Transient, match="cannot reach"):
        dial(stranger, to, "control", "m1", "secret")
    other = PeerAddress("host-x", "127.0.0.1", pair.b.port)
    with pytest.raises(Transient, match="cannot reach"):
        dial(pair.a.credentials, other, "control", "m1", "secret")


def test_garbage_at_the_port_is_harmless(pair: Pair) -> None:
    for raw in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1000, b""):
        with socket.create_connection(("127.0.0.1", pair.b.port)) as sock:
            sock.sendall(raw)
    assert pair.hand_over(pair.prepare()) is not None
    assert pair.assert_one_runs() == "host-b"


# -- before the handover ----------------------------------------------------------------------


def _ship(pair: Pair) -> ShippedImage:
    image = Image("sha256:config", ("web:1",), ("layer-a", "layer-b"), 1000)
    order = ShipImage("m1", image, image.layers, "host-b", "127.0.0.1", pair.b.port, "secret")
    return codec.load(ShippedImage, pair.a.do(Kind.SHIP_IMAGE, order))


def test_ships_missing_layers_once(pair: Pair) -> None:
    spec = spec_of(pair.a.host.containers["one"])
    pair.b.host.layers.add("layer-a")
    reserve = Reserve("m1", WORKLOAD, 2, spec, "host-a", "secret")
    reserved = pair.b.do(Kind.RESERVE, reserve)
    assert reserved["missing_layers"] == ["layer-b"]
    shipped = _ship(pair)
    assert shipped.image_bytes == len("layer-b") * 1000
    assert 0 < shipped.wire_bytes < shipped.image_bytes
    assert pair.b.host.layers == {"layer-a", "layer-b"}
    assert _ship(pair).image_bytes == 0
    for node in (pair.a, pair.b):
        assert list(node.settings.state.glob("image-*")) == []
    assert pair.b.do(Kind.RESERVE, reserve)["missing_layers"] == []


def test_a_failed_load_is_told(pair: Pair) -> None:
    _reserve(pair)
    pair.b.host.layers.clear()
    pair.b.host.fail["load"] = Permanent("cannot load: no space")
    with pytest.raises(PorterError, match="no space"):
        _ship(pair)
    assert list(pair.b.settings.state.glob("image-*")) == []


def test_check_tells_blockers_and_missing_layers(pair: Pair) -> None:
    from porter.agent.facts import Facts

    facts = Facts(pair.a.context.parts, "127.0.0.1", lambda: 1).gather()
    check = Check(spec_of(pair.a.host.containers["one"]), facts)
    checked = pair.b.do(Kind.CHECK, check)
    assert [blocker["code"] for blocker in checked["blockers"]] == ["too-old"]
    assert checked["missing_layers"] == ["layer-a", "layer-b"]


def test_refused_before_reserved_stays_refused(pair: Pair) -> None:
    state = pair.b.state(Kind.REFUSE)
    assert state is not None
    assert state.state == Target.REFUSED
    spec = spec_of(pair.a.host.containers["one"])
    with pytest.raises(Conflict, match="refused"):
        pair.b.do(Kind.RESERVE, Reserve("m1", WORKLOAD, 2, spec, "host-a", "secret"))


def test_aborted_before_begun_stays_aborted(pair: Pair) -> None:
    order = pair.prepare()
    state = pair.a.state(Kind.ABORT, Query("m1"))
    assert state is not None
    assert state.state == Source.ABORTED
    report = pair.hand_over(order)
    assert report is not None
    assert report.state == Source.ABORTED
    assert pair.assert_one_runs() == "host-a"
