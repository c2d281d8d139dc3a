"""How checkpoints travel: frames over several parallel streams.

A frame is a small header (msgpack map) and a payload of at most 8 MiB uncompressed. The sender
spreads frames over streams; the receiver may see them in any order, and twice. Kinds of frames,
by `header["t"]`:

- `nodes`: a batch of a tree's nodes, with the contents of small files:
  {"t","tree","head","raw","codec","hash"}. The unpacked payload is a msgpack list of nodes
  (`trees.Node`) of `head` bytes, then the contents of its inline files one after the other.
- `chunk`: bytes of a larger file or CRIU image: {"t","tree","path","offset","raw","codec","hash"}.

`tree` is a string, `path` bytes (relative, without `..`; file names are bytes in Linux). `raw` is
the count of uncompressed bytes and `hash` their blake3 (32 bytes). `codec` is `none`, `zstd` or
`zero` (the range is a hole; no payload). Whoever carries frames looks at none of this.

The last word is the manifest, sent on the control stream: counts and the root digest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from porter.domain.container import Tree

IMAGES = "images"
"""Name of the tree that holds CRIU's images."""


class Frames(Protocol):
    """Where a sender puts its frames. Thread-safe; blocks for back-pressure.

    The payload is immutable once handed over, and may be kept until it is on the wire.
    """

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None: ...


@dataclass(frozen=True)
class Manifest:
    """What was sent.

    `digest` is the hex blake3 over the sorted blake3 hashes of all frames, each taken over the
    msgpack list [t, tree, path, offset, head, raw, hash] of its header (nil for what it lacks):
    both sides compute it by themselves and compare. It covers every byte, name, owner, mode, time
    and attribute, because each frame's hash covers its payload. `chunks` counts frames of both
    kinds; `memory_bytes` and `file_bytes` are uncompressed bytes of CRIU's images and of the trees;
    `wire_bytes` are headers and payloads as handed to `Frames`.
    """

    digest: str
    chunks: int
    memory_bytes: int
    file_bytes: int
    wire_bytes: int


class Sender(Protocol):
    """The source's half of one checkpoint."""

    def send(
        self,
        dump: Callable[[], None],
        images: Path,
        trees: tuple[Tree, ...],
        frames: Frames,
        progress: Callable[[int], None],
    ) -> Manifest:
        """Run `dump` and ship what it writes while it writes it, and the trees beside it.

        The page images are consumed: what was sent of them no longer takes up memory.
        `progress` hears the running total of uncompressed bytes shipped, from several threads.
        Raises what `dump` raises, or what stopped the transfer; always returns only after `dump`
        has ended, so nothing touches the container or `images` any more.
        """
        ...


class Receiver(Protocol):
    """The target's half. `frame` is called from several threads."""

    def frame(self, header: dict[str, Any], payload: bytes | memoryview) -> None:
        """Verify and write one frame. Paths are hostile input: nothing outside the trees is
        touched. Raises Permanent on a wrong hash, an unknown tree or a path that escapes."""
        ...

    def finish(self, manifest: Manifest) -> str:
        """All frames have arrived: make the trees exactly the source's, durably.

        Compares digests, sets sizes, links, owners, modes, attributes and times, removes what was
        not sent, and waits until the files (not CRIU's images) are on the disk. Returns the
        digest; Permanent if frames are missing or it differs from the manifest's."""
        ...
