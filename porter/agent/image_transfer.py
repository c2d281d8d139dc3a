"""Shipping an image's missing layers from host to host, before anything is frozen."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import zstandard

from porter.agent.context import Context
from porter.agent.journal import Record
from porter.agent.peer_client import PeerAddress, raise_refusal
from porter.agent.peer_wire import MAX_PAYLOAD, Wire
from porter.domain.errors import Permanent
from porter.protocol import codec
from porter.protocol.messages import ShipImage, ShippedImage

_PIECE = 4 * 1024 * 1024
_LEVEL = 1
_PREFIX = "image-"


def ship_image(
    context: Context, order: ShipImage, progress: Callable[[int, int], None]
) -> ShippedImage:
    """Source: send what the target lacks of an image. Repeating it sends only what is missing then.

    `progress` hears bytes done and in all.
    """
    to = PeerAddress(order.target_host, order.peer_address, order.peer_port)
    wire, welcome = context.dial(to, "image", order, image=codec.dump(order.image))
    try:
        missing = [str(layer) for layer in welcome.get("missing", ())]
        size = 0
        if missing:
            with _scratch(context.settings.state) as directory:
                context.parts.images.export(order.image, missing, directory)
                size = _send_files(wire, directory, progress)
        wire.send({"t": "end"})
        done, _ = wire.receive()
        raise_refusal(done)
        return ShippedImage(image_bytes=size, wire_bytes=wire.wire_bytes)
    finally:
        wire.close()


def receive_image(context: Context, record: Record, wire: Wire) -> None:
    """Target: take an image in. Errors reach the source through the server's error frame."""
    if record.spec is None:
        raise Permanent("cannot take the image: the reservation does not say which")
    image = record.spec.image
    with context.live.activity(f"{_PREFIX}{record.migration}", lambda _: wire.cut()):
        missing = context.parts.images.missing(image)
        wire.send({"t": "welcome", "missing": list(missing)})
        with _scratch(context.settings.state) as directory:
            _receive_files(wire, directory)
            if missing:
                context.parts.images.load(image, directory)
        wire.send({"t": "done"})


def clear_scratch(state: Path) -> None:
    """Remove what an interrupted transfer left behind."""
    for left in state.glob(f"{_PREFIX}*"):
        shutil.rmtree(left)


@contextmanager
def _scratch(state: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=state) as name:
        yield Path(name)


def _send_files(wire: Wire, directory: Path, progress: Callable[[int, int], None]) -> int:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    done = 0
    packer = zstandard.ZstdCompressor(level=_LEVEL)
    for path in files:
        name = path.relative_to(directory).as_posix()
        with path.open("rb") as source:
            while piece := source.read(_PIECE):
                wire.send({"t": "piece", "path": name, "raw": len(piece)}, packer.compress(piece))
                done += len(piece)
                progress(done, total)
    return total


def _receive_files(wire: Wire, directory: Path) -> None:
    unpacker = zstandard.ZstdDecompressor()
    while True:
        header, payload = wire.receive()
        if header.get("t") == "end":
            return
        size = int(header.get("raw", 0))
        if not 0 < size <= MAX_PAYLOAD:
            raise Permanent(f"cannot take the image: a piece of {size} bytes is out of bounds")
        path = _inside(directory, str(header.get("path")))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            out.write(_unpacked(unpacker, payload, size))


def _unpacked(unpacker: zstandard.ZstdDecompressor, payload: memoryview, size: int) -> bytes:
    try:
        return unpacker.decompress(payload, max_output_size=size, read_across_frames=False)
    except zstandard.ZstdError as error:
        raise Permanent(f"cannot take the image: {error}") from error


def _inside(directory: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise Permanent(f"cannot take the image: the path {name!r} leads outside")
    return directory.joinpath(*parts)
