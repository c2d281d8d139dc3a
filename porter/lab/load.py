"""A client of a Redis: fills it, writes on one connection without end, and checks what is there.

It runs beside the workload's other clients, so it needs nothing but the standard library:

    load.py fill   HOST PORT --bytes N           fill with values that only depend on their number
    load.py write  HOST PORT --rate R …          write at that rate until the stop file appears
    load.py verify HOST PORT --bytes N --log F   read everything back and compare

`write` opens one connection and never another: a reset, a wrong answer or silence for two minutes
is a failure. Every verb prints one JSON object; exit code 1 and {"error": …} if something is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

SILENCE_S = 120.0
BATCH = 200
_FIRST = "Ada Ben Cleo Dev Ema Finn Gül Hana Ivo Jun Kaya Lea Mio Noor Ola Pia Quin Ruth Sam Teo"
_LAST = "Adler Brandt Costa Dubois Eriksen Fischer Garcia Horvat Ito Jansen Kowalski Lopez Moreau"
_STREETS = "Harbour Mill Station Church Garden Market Forest Castle River Bridge School Spring"
_THINGS = "kettle lamp chair notebook tent bicycle jacket speaker backpack drill camera monitor"
_ADJECTIVES = "blue compact solid light folding quiet warm spare wooden wireless classic portable"


class Broken(Exception):
    """Something is not as it must be; the message says what."""


# -- values ---------------------------------------------------------------------------------


def order(number: int) -> bytes:
    """The JSON document of one order. The same number always gives the same bytes."""
    dice = random.Random(number)
    pick = dice.choice
    items: list[dict[str, Any]] = [
        {
            "sku": f"{dice.getrandbits(40):010x}",
            "title": f"{pick(_WORDS['adjectives'])} {pick(_WORDS['things'])}",
            "quantity": 1 + int(dice.random() * 4),
            "price": round(dice.random() * 250, 2),
            "batch": f"{dice.getrandbits(128):032x}",
        }
        for _ in range(6 + int(dice.random() * 10))
    ]
    document = {
        "id": number,
        "placed_at": 1_700_000_000 + number * 7 + int(dice.random() * 7),
        "customer": {
            "name": f"{pick(_WORDS['first'])} {pick(_WORDS['last'])}",
            "street": f"{pick(_WORDS['streets'])} Street {1 + int(dice.random() * 200)}",
            "session": f"{dice.getrandbits(256):064x}",
        },
        "items": items,
        "total": round(sum(item["price"] * item["quantity"] for item in items), 2),
        "note": "leave it with the neighbours, please" if dice.random() < 0.2 else None,
    }
    return json.dumps(document, ensure_ascii=False).encode()


_WORDS = {
    "first": _FIRST.split(),
    "last": _LAST.split(),
    "streets": _STREETS.split(),
    "things": _THINGS.split(),
    "adjectives": _ADJECTIVES.split(),
}


def filling(size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of `fill` for so many bytes of values."""
    number = done = 0
    while done < size:
        value = order(number)
        yield b"order:%d" % number, value
        number, done = number + 1, done + len(value)


def short(value: bytes) -> str:
    """What the log keeps of a value."""
    return hashlib.blake2b(value, digest_size=16).hexdigest()


def batches(items: Iterable[Any], size: int = BATCH) -> Iterator[list[Any]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


# -- Redis ----------------------------------------------------------------------------------


class Redis:
    """One connection, opened once."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(SILENCE_S)
        self._answers: BinaryIO = self._socket.makefile("rb")

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    @property
    def name(self) -> str:
        """Both ends of the connection: equal names mean one and the same connection."""
        here, there = self._socket.getsockname(), self._socket.getpeername()
        return f"{here[0]}:{here[1]} → {there[0]}:{there[1]}"

    def send(self, *words: bytes) -> None:
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            parts += (b"$%d\r\n" % len(word), word, b"\r\n")
        self._socket.sendall(b"".join(parts))

    def answer(self) -> Any:
        """The next answer. Broken if the server closed, or says that something is wrong."""
        line = self._answers.readline()
        if not line.endswith(b"\r\n"):
            raise Broken("the connection was closed by the server")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._bytes(int(rest))
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        raise Broken(f"the server answered {line!r}")

    def _bytes(self, size: int) -> bytes:
        data = self._answers.read(size + 2)
        if len(data) != size + 2:
            raise Broken("the connection was closed by the server in the middle of an answer")
        return data[:-2]

    def call(self, *words: bytes) -> Any:
        self.send(*words)
        return self.answer()


# -- verbs ----------------------------------------------------------------------------------


def fill(redis: Redis, size: int) -> dict[str, Any]:
    """Put the filling in."""
    keys = done = 0
    for batch in batches(filling(size)):
        redis.send(b"MSET", *(part for pair in batch for part in pair))
        if redis.answer() != b"OK":
            raise Broken("the server did not take a batch of values")
        keys += len(batch)
        done += sum(len(value) for _, value in batch)
    return {"keys": keys, "bytes": done}


class Writer:
    """Writes orders at a steady rate and keeps book of every one that was acknowledged."""

    def __init__(self, redis: Redis, rate: float, log: Path, status: Path) -> None:
        self.redis = redis
        self.pause = 1.0 / rate
        self.log = log
        self.status = status
        self.acknowledged = 0
        self.longest_gap = 0.0
        self.gap_at = 0.0
        self.begun = time.monotonic()
        self.before = self.begun

    def run(self, stop: Path) -> dict[str, Any]:
        """Until the stop file is there."""
        told = 0.0
        due = self.begun
        with self.log.open("w") as log:
            while True:
                number = 1_000_000_000 + self.acknowledged
                key, value = b"write:%d" % self.acknowledged, order(number)
                if self.redis.call(b"SET", key, value) != b"OK":
                    raise Broken(f"the server did not take {key!r}")
                now = self._acknowledge()
                log.write(f"{key.decode()} {short(value)}\n")
                if now - told > 0.1:
                    told = now
                    self._tell(self.numbers())
                    if stop.exists():
                        return self.numbers()
                # What the freeze held up is not made up for in a burst.
                due = max(due + self.pause, now - 0.05)
                if due > now:
                    time.sleep(due - now)

    def _acknowledge(self) -> float:
        now = time.monotonic()
        if now - self.before > self.longest_gap:
            self.longest_gap, self.gap_at = now - self.before, time.time()
        self.before = now
        self.acknowledged += 1
        return now

    def numbers(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.begun
        return {
            "connection": self.redis.name,
            "acknowledged": self.acknowledged,
            "seconds": round(seconds, 3),
            "rate": round(self.acknowledged / max(0.001, seconds - self.longest_gap), 1),
            "longest_gap_ms": round(self.longest_gap * 1000, 1),
            "longest_gap_at": self.gap_at,
        }

    def _tell(self, numbers: dict[str, Any]) -> None:
        new = self.status.with_name(self.status.name + ".new")
        new.write_text(json.dumps(numbers))
        new.replace(self.status)


def verify(redis: Redis, size: int, log: Path) -> dict[str, Any]:
    """Read the filling and every acknowledged write back; Broken if one differs.

    The digest of what should be there is made from the numbers alone, never from the server.
    """
    expected, found = hashlib.blake2b(), hashlib.blake2b()
    keys = 0
    for batch in batches(filling(size)):
        values = redis.call(b"MGET", *(key for key, _ in batch))
        for (key, value), got in zip(batch, values, strict=True):
            expected.update(key + value)
            found.update(key + (got or b""))
            keys += 1
    writes = _verify_writes(redis, log)
    answer = {
        "keys": keys,
        "writes": writes,
        "expected": expected.hexdigest(),
        "found": found.hexdigest(),
    }
    if answer["expected"] != answer["found"]:
        raise Broken(f"the digest of {keys} values differs from what was written")
    return answer


def _verify_writes(redis: Redis, log: Path) -> int:
    count = 0
    with log.open() as lines:
        for batch in batches(line.split() for line in lines):
            values = redis.call(b"MGET", *(key.encode() for key, _ in batch))
            for (key, wanted), got in zip(batch, values, strict=True):
                if got is None or short(got) != wanted:
                    what = "is gone" if got is None else "has another value"
                    raise Broken(f"the acknowledged write {key} {what}")
                count += 1
    return count


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("fill", "write", "verify"))
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--status", type=Path)
    parser.add_argument("--stop", type=Path)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; prints JSON and returns the exit code."""
    given = _arguments(argv)
    try:
        with Redis(given.host, given.port) as redis:
            if given.verb == "fill":
                answer = fill(redis, given.bytes)
            elif given.verb == "write":
                answer = Writer(redis, given.rate, given.log, given.status).run(given.stop)
            else:
                answer = verify(redis, given.bytes, given.log)
    except (Broken, OSError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
