"""The audit trail: entries of which each holds the hash of the one before it.

Whoever changes, removes or moves an entry must give new hashes to all that follow. Only the end can
be cut off unseen, or everything be written anew: against that helps an anchor, the number and hash
of an entry that was written down elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from porter.domain.errors import Invalid

GENESIS = "0" * 64
"""What stands in the first entry for the hash of the one before."""
_ANCHOR = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Entry:
    """Who did what to what, from where, and how it ended. Never bodies, never secrets."""

    at: float
    """Seconds since the epoch, UTC."""
    actor: str
    """The principal's id; `anonymous` for a caller that could not be told."""
    actor_kind: str
    origin: str
    """Address of the client."""
    action: str
    """Method and template of the route."""
    target: str
    project: str
    outcome: str
    """The answer's HTTP status; `aborted` where none was given."""
    request: str
    details: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
    previous: str = GENESIS
    hash: str = ""

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of everything but the hash itself."""
        content = asdict(self)
        del content["hash"]
        return hashlib.sha256(canonical(content)).hexdigest()


@dataclass(frozen=True)
class Anchor:
    """An entry's number and hash, kept where whoever writes the trail cannot reach."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class Fault(StrEnum):
    CHANGED = "changed"
    MISSING = "missing"
    REORDERED = "reordered"
    CUT = "cut"
    """Entries at the end are missing: the anchor lies behind it."""
    REWRITTEN = "rewritten"
    """The hashes fit each other, but not what is known from elsewhere."""


@dataclass(frozen=True)
class Finding:
    seq: int
    fault: Fault
    message: str


def canonical(content: dict[str, Any]) -> bytes:
    """The bytes that are hashed: JSON with sorted keys, no spaces, ASCII only."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def follow(head: Anchor | None, entry: Entry) -> Entry:
    """The entry as it stands in the trail behind its head."""
    seq, previous = (head.seq, head.hash) if head else (0, GENESIS)
    placed = replace(entry, seq=seq + 1, previous=previous)
    return replace(placed, hash=placed.digest())


def parse_anchor(text: str) -> Anchor:
    """`SEQ:HASH`. Raises Invalid."""
    found = _ANCHOR.fullmatch(text)
    if found is None:
        raise Invalid(
            f"cannot read the anchor {text[:80]!r}", "write it as `porter audit head` prints it"
        )
    return Anchor(int(found[1]), found[2])


class Check:
    """Reads a trail from its first entry on; afterwards `head` is the last one read."""

    def __init__(self, anchors: Iterable[Anchor] = ()) -> None:
        self._anchors = {anchor.seq: anchor.hash for anchor in anchors}
        self._met: set[int] = set()
        self.head = Anchor(0, GENESIS)
        self.count = 0

    def read(self, entries: Iterable[Entry]) -> Iterator[Finding]:
        """What is wrong, as it is found."""
        for entry in entries:
            yield from self._entry(entry)
            self.count += 1
            self.head = Anchor(entry.seq, entry.hash)
        for seq in sorted(self._anchors.keys() - self._met):
            yield Finding(
                seq,
                Fault.CUT if seq > self.head.seq else Fault.MISSING,
                f"entry {seq} is known from elsewhere, and is not here",
            )

    def _entry(self, entry: Entry) -> Iterator[Finding]:
        seq, expected = entry.seq, self.head.seq + 1
        if entry.digest() != entry.hash:
            yield Finding(seq, Fault.CHANGED, f"entry {seq} does not fit its hash")
        if seq < expected:
            yield Finding(seq, Fault.REORDERED, f"entry {seq} stands behind {self.head.seq}")
        elif seq > expected:
            gone = (
                f"entry {expected}" if seq == expected + 1 else f"entries {expected} to {seq - 1}"
            )
            yield Finding(expected, Fault.MISSING, f"{gone} not here")
        elif entry.previous != self.head.hash:
            yield Finding(seq, Fault.CHANGED, f"entry {seq} does not follow the one before it")
        if seq in self._anchors:
            self._met.add(seq)
            if self._anchors[seq] != entry.hash:
                yield Finding(
                    seq, Fault.REWRITTEN, f"entry {seq} is not the one known from elsewhere"
                )
