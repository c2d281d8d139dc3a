"""Large layers through stores: killed in the middle, resumed, whole, and in bounded memory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from porter.domain.errors import Permanent
from porter.store.base import StoreConfig
from porter.store.catalog import list_checkpoints, remove
from porter.store.model import PART
from porter.store.reader import CheckpointReader
from porter.store.registry import Store, open_blobs
from porter.store.segments import Pace
from porter.store.writer import CheckpointWriter
from tests.contracts.store_contracts import by_tickets, fresh
from tests.integration.test_store_clouds import FarBench, azure, gcs, native, s3, swift
from tests.integration.test_store_tunnel import connect, poured, read_all, swap, tunnel
from tests.unit.store.hosts import content, make_host

__all__ = ["azure", "gcs", "native", "s3", "swift"]  # Fixtures.

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
GB, MB = 1_000_000_000, 1_000_000
BOUND = 128 << 20
LONG = os.environ.get("PORTER_LONG") == "1"
ROOT = Path(__file__).parents[2]


def start(
    action: str, size: int, folder: Path, config: StoreConfig, *stop: int
) -> subprocess.Popen[str]:
    words = [action, str(size), str(folder), *map(str, stop)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.store.mover", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(config)))
    process.stdin.close()
    return process


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    assert process.wait() == 0
    found: dict[str, Any] = json.loads(line)
    return found


def kill(process: subprocess.Popen[str]) -> None:
    """Kill it once it is in the middle."""
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def check(size: int, folder: Path, config: StoreConfig) -> None:
    host = make_host(folder)
    (folder / "host.pem").write_bytes(host.pem)
    (folder / "host.crt").write_text(host.certificate)
    total, digest = -(-size // PART), blake3()
    for piece in content(size):
        digest.update(piece)
    kill(start("write", size, folder, config, size * 3 // 4))
    wrote = finish(start("write", size, folder, config))
    # Only what was under way is sent again; four parts are read back.
    assert wrote["parts"] <= total / 4 + 4 + 7
    kill(start("read", size, folder, config, size * 3 // 4))
    read = finish(start("read", size, folder, config))
    assert read["parts"] <= total / 4 + 7
    assert wrote["digest"] == read["digest"] == digest.hexdigest()
    saved = blake3(max_threads=2).update_mmap(folder / "saved")
    assert saved.hexdigest() == digest.hexdigest()
    (folder / "saved").unlink()
    print(f"{config.name}: {total} parts, second runs moved {wrote['parts']} and {read['parts']}")
    print(f"memory grew by {wrote['grown'] / MB:.0f} MB and {read['grown'] / MB:.0f} MB")
    assert wrote["grown"] < BOUND
    assert read["grown"] < BOUND
    with closing(open_blobs(config)) as store:
        remove(store, "big")
        assert list_checkpoints(store) == []
        assert list(store.list("data/big/")) == []


@pytest.fixture(params=["directory", "s3", "native", "azure", "gcs"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, frozenset[str]]]:
    """Each store, and what its stand-in lacks; empty."""
    if request.param == "directory":
        yield open_blobs(StoreConfig("d", (tmp_path / "store").as_uri())), frozenset()
        return
    far: FarBench = request.getfixturevalue(request.param)
    url = f"{far.config.url}/{fresh()}"
    store = open_blobs(StoreConfig("d", url, far.config.settings, far.config.secrets))
    yield store, far.lacks
    store.close()


def test_what_the_store_changes_is_caught(
    bench: tuple[Store, frozenset[str]], tmp_path: Path
) -> None:
    store, host = bench[0], make_host(tmp_path)
    with CheckpointWriter(store, "c", [host.certificate], tmp_path) as writer:
        writer.layer("memory", content(3 * PART))
        writer.close()
    key = next(iter(store.list("data/c/parts/"))).key
    data = store.get(key)
    for changed in (data[:-1] + bytes([data[-1] ^ 1]), data[: len(data) // 2]):
        store.put(key, changed)
        with CheckpointReader(store, "c", host.key) as reader:
            with pytest.raises(Permanent, match="other bytes"):
                reader.save("memory", tmp_path / "saved")
    store.remove(key)
    with CheckpointReader(store, "c", host.key) as reader:
        with pytest.raises(Permanent, match="the store lost it"):
            reader.save("memory", tmp_path / "saved")
    store.put(key, data)
    with CheckpointReader(store, "c", host.key) as reader:
        reader.save("memory", tmp_path / "saved")
    remove(store, "c")
    assert list(store.list("")) == []


def test_agents_with_tickets_only_follow_each_other(
    bench: tuple[Store, frozenset[str]], tmp_path: Path
) -> None:
    host, size = make_host(tmp_path), 8 * PART + 5
    with ExitStack() as stack:
        near, far = (stack.enter_context(closing(by_tickets(*bench))) for _ in range(2))
        writer = stack.enter_context(CheckpointWriter(near, "c", [host.certificate], tmp_path))

        def write() -> None:
            writer.layer("memory", content(size))
            writer.layer("files", [b"some"])
            writer.close({"n": 1})

        thread = threading.Thread(target=write)
        thread.start()
        with CheckpointReader(far, "c", host.key, writer.identity) as reader:
            read = {name: blake3(b"".join(reader.read(name))) for name in reader.follow()}
            assert {one.name: one.digest for one in reader.layers()} == {
                name: digest.hexdigest() for name, digest in read.items()
            }
            assert reader.meta == {"n": 1}
        thread.join()
    assert read["memory"].hexdigest() == blake3(b"".join(content(size))).hexdigest()


def test_a_tunnel_with_tickets_only(
    bench: tuple[Store, frozenset[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    size, far_digest = 24 * MB, list[bytes]()

    def handle(sock: socket.socket) -> None:
        far_digest.append(swap(sock, size, 2)[0])

    with ExitStack() as stack:
        ends = [stack.enter_context(closing(by_tickets(*bench))) for _ in range(2)]
        port, _ = stack.enter_context(tunnel(ends[0], ends[1], handle, Pace()))
        with connect(port) as sock:
            near_digest, seconds = swap(sock, size, 1)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b""
    assert (near_digest, far_digest) == (poured(size, 2), [poured(size, 1)])
    with capsys.disabled():
        name = type(bench[0]).__name__
        print(f"\ntunnel, {name} by tickets: {size / seconds / MB:.0f} MB/s each way")


def test_a_large_layer_through_a_directory(tmp_path: Path) -> None:
    check(5 * GB, tmp_path, StoreConfig("directory", (tmp_path / "store").as_uri()))


@pytest.mark.parametrize("name", ["s3", "native", "azure", "gcs"])
def test_a_layer_through_a_cloud(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    bench: FarBench = request.getfixturevalue(name)
    check(5 * GB if LONG else 64 * MB, tmp_path, bench.config)
