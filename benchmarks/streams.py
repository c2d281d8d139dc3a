"""How fast frames go from agent to agent over TLS, both in this process, over loopback.

    python -m benchmarks.streams [--megabytes 800]

One stream and four, alternately; medians. The processor time is that of both ends together.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

from porter.agent.peer_client import DataStreams
from porter.agent.peer_tls import (
    client_context,
    handshake,
    server_context,
    size_buffers,
    tune,
)
from porter.agent.peer_wire import Wire
from tests.unit.agent.ca import Authority

CHUNK = 1 << 20
ROUNDS = 3


def read(wire: Wire) -> None:
    while wire.receive()[0]["t"] != "end":
        pass
    wire.close()


def connect(place: Path, listener: socket.socket, count: int) -> tuple[DataStreams, list]:
    """Streams to readers in threads of their own."""
    authority = Authority(place)
    client = client_context(authority.host("h-a"))
    server = server_context(authority.host("h-b"))
    wires: list[Wire] = []
    readers: list[threading.Thread] = []
    for _ in range(count):
        near = socket.socket()
        size_buffers(near)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        tune(near)

        def serve(far: socket.socket = far) -> None:
            read(Wire(handshake(server, far), "h-a"))

        readers.append(threading.Thread(target=serve))
        readers[-1].start()
        wires.append(Wire(handshake(client, near, "h-b"), "h-b"))
    return DataStreams(wires), readers


def measure(count: int, megabytes: int) -> tuple[float, float]:
    """MB per second, and processor seconds per GB."""
    with tempfile.TemporaryDirectory() as place, socket.socket() as listener:
        size_buffers(listener)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        frames, readers = connect(Path(place), listener, count)
        chunk = os.urandom(CHUNK)
        header = {"t": "chunk", "tree": "images", "path": b"pages-1.img", "hash": bytes(32)}
        start, used = time.perf_counter(), time.process_time()

        def send() -> None:
            for n in range(megabytes // count):
                frames.send({**header, "offset": n * CHUNK, "raw": CHUNK}, chunk)

        senders = [threading.Thread(target=send) for _ in range(count)]
        for thread in senders:
            thread.start()
        for thread in senders:
            thread.join()
        frames.finish()
        for thread in readers:
            thread.join()
        took, used = time.perf_counter() - start, time.process_time() - used
        frames.close()
    size = megabytes // count * count * CHUNK
    return size / took / 1e6, used / size * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megabytes", type=int, default=800)
    megabytes = parser.parse_args().megabytes
    results: dict[int, list[tuple[float, float]]] = {1: [], 4: []}
    for _ in range(ROUNDS):
        for count, found in results.items():
            found.append(measure(count, megabytes))
    for count, found in results.items():
        speed = statistics.median(one[0] for one in found)
        worst = min(one[0] for one in found)
        cpu = statistics.median(one[1] for one in found)
        print(f"{count} streams: {speed:.0f} MB/s (worst {worst:.0f}), {cpu:.2f} CPU s per GB")


if __name__ == "__main__":
    main()
