"""How fast one sender and one receiver are, and what is left on the wire.

    python -m benchmarks.transfer [--megabytes 512] [--link 125]

Fills a real Redis with JSON values, takes its memory as it lies in the process, and measures what
each effort makes of it per core; then sends it, and 20 000 small files, to a receiver in another
process over a Unix socket, optionally limited to a link's speed. Needs root and redis-server.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgpack

from porter.checkpoint.base import Manifest
from porter.checkpoint.codec import CHUNK, Effort, hash_of, pack
from porter.checkpoint.receiver import StateReceiver
from porter.checkpoint.sender import StateSender
from porter.domain.container import Tree

_STREAMS = 4
_FRAME = struct.Struct("!II")


def value(chance: random.Random, words: list[str]) -> bytes:
    """One session as a shop might keep it: names, numbers, prose and a random token."""
    cart = [
        {"sku": chance.randint(1, 10**6), "qty": chance.randint(1, 9)}
        for _ in range(chance.randint(0, 8))
    ]
    session = {
        "user": chance.choice(words) + "@example.com",
        "ts": chance.randint(1_600_000_000, 1_760_000_000),
        "cart": cart,
        "bio": " ".join(chance.choices(words, k=chance.randint(5, 40))),
        "tok": f"{chance.getrandbits(256):064x}",
    }
    return json.dumps(session).encode()


def redis_memory(directory: Path, megabytes: int) -> Path:
    """A file with the anonymous memory of a Redis that holds so many megabytes of values."""
    chance = random.Random(3)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(5000)]
    path, image = str(directory / "redis.sock"), directory / "pages-1.img"
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", ""],
        cwd=directory,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not Path(path).exists():
            time.sleep(0.05)
        _fill(path, megabytes << 20, chance, words)
        _copy_memory(server.pid, image)
    finally:
        server.kill()
        server.wait()
        Path(path).unlink(missing_ok=True)
    return image


def _fill(path: str, wanted: int, chance: random.Random, words: list[str]) -> None:
    with socket.socket(socket.AF_UNIX) as redis:
        redis.connect(path)
        done = number = 0
        while done < wanted:
            batch = bytearray()
            for _ in range(500):
                key, what = b"sess:%d" % number, value(chance, words)
                batch += b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n" % (len(key), key)
                batch += b"$%d\r\n%s\r\n" % (len(what), what)
                number, done = number + 1, done + len(what)
            redis.sendall(batch)
            left = 500 * len(b"+OK\r\n")
            while left:
                left -= len(redis.recv(left))


def _copy_memory(pid: int, image: Path) -> None:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory, image.open("wb") as out:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw\S+ 0+ 00:00 0 +(\[heap\])?$", line)
            if found:
                at, end = int(found[1], 16), int(found[2], 16)
                memory.seek(at)
                while at < end and (data := memory.read(min(1 << 20, end - at))):
                    out.write(data)
                    at += len(data)


def efforts(image: Path) -> None:
    """Print what each effort makes of every fourth chunk, by one core's own time."""
    print(f"\n{'effort':10} {'ratio':>6} {'MB/s per core':>14}")
    buffer = bytearray(CHUNK)
    for effort in Effort:
        raw = wire = 0
        spent = 0.0
        with image.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                started = time.thread_time()
                hash_of(memoryview(buffer)[:count])
                wire += len(pack(buffer, count, effort)[1])
                spent += time.thread_time() - started
                raw += count
                file.seek(3 * CHUNK, 1)
        print(f"{effort.name.lower():10} {raw / max(wire, 1):6.3f} {raw / spent / 1e6:14.0f}")


class SocketFrames:
    """Frames over some sockets, at most `link` bytes per second altogether (0: unlimited)."""

    def __init__(self, sockets: list[socket.socket], link: int) -> None:
        self._free = list(sockets)
        self._link = link
        self._next = time.monotonic()
        self._ready = threading.Condition()

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
        packed = msgpack.packb(header)
        with self._ready:
            self._ready.wait_for(lambda: self._free)
            stream = self._free.pop()
            now = max(self._next, time.monotonic())
            self._next = now + (len(payload) / self._link if self._link else 0)
        time.sleep(max(0.0, self._next - time.monotonic()))
        stream.sendall(_FRAME.pack(len(packed), len(payload)) + packed)
        stream.sendall(payload)
        with self._ready:
            self._free.append(stream)
            self._ready.notify()


def _receive(
    sockets: list[socket.socket], images: Path, trees: tuple[Tree, ...], pipe: Connection
) -> None:
    receiver = StateReceiver(images, trees)

    def stream(connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            while sizes := file.read(_FRAME.size):
                header, payload = _FRAME.unpack(sizes)
                receiver.frame(msgpack.unpackb(file.read(header)), file.read(payload))

    threads = [threading.Thread(target=stream, args=(one,)) for one in sockets]
    for thread in threads:
        thread.start()
    manifest: Manifest = pipe.recv()
    for thread in threads:
        thread.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send((receiver.finish(manifest), time.process_time(), peak >> 10))


def transfer(name: str, images: Path, trees: tuple[Tree, ...], target: Path, link: int) -> None:
    """Send to another process and print the time until it has finished, and the wire's bytes."""
    new_images = target / "images"
    new_images.mkdir(parents=True)
    there = tuple(Tree(tree.name, target / f"tree-{n}") for n, tree in enumerate(trees))
    for tree in there:
        tree.path.mkdir()
    pairs = [socket.socketpair() for _ in range(_STREAMS)]
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_only_theirs(pairs), args=(new_images, there, theirs)
    )
    process.start()
    for _, other in pairs:
        other.close()
    started, spent = time.monotonic(), time.process_time()
    frames = SocketFrames([one for one, _ in pairs], link)
    manifest = StateSender(link or None).send(
        lambda: None, images, trees, frames, lambda done: None
    )
    for one, _ in pairs:
        one.close()
    mine.send(manifest)
    spent = time.process_time() - spent
    digest, spent_there, peak = mine.recv()
    if digest != manifest.digest:
        raise SystemExit(f"{name}: digests differ")
    took = time.monotonic() - started
    process.join()
    raw = manifest.memory_bytes + manifest.file_bytes
    wire = manifest.wire_bytes
    print(
        f"{name:12} {raw / 1e6:8.0f} MB {wire / 1e6:8.1f} MB on the wire (1/{raw / wire:.2f}) "
        f"{took:6.2f} s {raw / took / 1e6:6.0f} MB/s {manifest.chunks} frames, processor "
        f"{spent:.2f} + {spent_there:.2f} s, receiver's peak {peak} MB"
    )


def _only_theirs(pairs: list[tuple[socket.socket, socket.socket]]) -> Callable[..., None]:
    def run(images: Path, trees: tuple[Tree, ...], pipe: Connection) -> None:
        for mine, _ in pairs:
            mine.close()
        _receive([other for _, other in pairs], images, trees, pipe)

    return run


def small_files(directory: Path, count: int = 20_000) -> Tree:
    """A tree of so many files of 1 to 4 KB in 200 directories."""
    chance = random.Random(1)
    for number in range(200):
        (directory / str(number)).mkdir(parents=True)
    for number in range(count):
        line = b'{"id": %d, "value": "%x"}\n' % (number, chance.getrandbits(256))
        (directory / str(number % 200) / f"{number}.json").write_bytes(
            line * chance.randrange(12, 45)
        )
    return Tree("volume:files", directory)


def main() -> None:
    """Run everything and print it."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", type=int, default=512, help="values in Redis")
    arguments.add_argument("--link", type=int, default=0, help="MB/s; 0 is unlimited")
    chosen = arguments.parse_args()
    memory = Path(tempfile.mkdtemp(prefix="porter-bench-", dir="/dev/shm"))
    disk = Path(tempfile.mkdtemp(prefix="porter-bench-", dir="/var/tmp"))
    try:
        (memory / "source").mkdir()
        image = redis_memory(memory / "source", chosen.megabytes)
        efforts(image)
        link = chosen.link * 1_000_000
        print()
        transfer("memory", image.parent, (), memory / "target", link)
        (memory / "none").mkdir()
        tree = small_files(disk / "files")
        transfer("small files", memory / "none", (tree,), disk / "target", link)
    finally:
        shutil.rmtree(memory)
        shutil.rmtree(disk)


if __name__ == "__main__":
    main()
