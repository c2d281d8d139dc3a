"""How checkpoints travel: frames over several parallel streams.

A frame is a small header (msgpack map) and a payload. The sender spreads frames over streams; the
receiver may see them in any order. Kinds of frames, by `header["t"]`:

- `file`: one node of a tree: {"t","tree","path","kind","mode","uid","gid","mtime_ns","xattrs",
  "size","link","rdev"}; the payload is empty, contents follow as chunks.
- `chunk`: bytes of a file or CRIU image: {"t","tree","path","offset","raw","codec","hash"};
  codec is `none` or `zstd`; hash is blake3 (32 bytes) of the uncompressed bytes.

The last word is the manifest, sent on the control stream: every file with size and root digest.
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
    """Where a sender puts its frames. Thread-safe; blocks for back-pressure."""

    def send(self, header: dict[str, Any], payload: bytes | memoryview = b"") -> None: ...


@dataclass(frozen=True)
class Manifest:
    """What was sent. `digest` is the hex blake3 over all (tree, path, offset, chunk hash) and node
    headers in sorted order: both sides compute it by themselves and compare."""

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

        `progress` hears the count of uncompressed bytes shipped. Raises what `dump` raises.
        """
        ...


class Receiver(Protocol):
    """The target's half. `frame` is called from several threads."""

    def frame(self, header: dict[str, Any], payload: bytes | memoryview) -> None:
        """Verify and write one frame. Paths are hostile input: nothing outside the trees is
        touched. Raises Permanent on a wrong hash, an unknown tree or a path that escapes."""
        ...

    def finish(self, manifest: Manifest) -> str:
        """All frames have arrived: set owners, modes and times of directories, compare digests.

        Returns the digest; Permanent if it differs from the manifest's."""
        ...
