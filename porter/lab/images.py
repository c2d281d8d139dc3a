"""The test image, and how it gets into a lab host's own store."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from porter.domain.errors import Permanent
from porter.lab.run import run

IMAGE = "localhost/porter-test:latest"
CACHE = Path("/var/cache/porter")
ARCHIVE = CACHE / "images" / "porter-test.oci.tar"
TEMPLATE = CACHE / "template"
# Of a store, what describes images and layers; the rest belongs to one engine on one host.
_METADATA = ("overlay-images", "overlay-layers", "overlay-containers")


def check() -> None:
    """Raise `Permanent` unless the test image was built."""
    if not (TEMPLATE / "id").exists() or not ARCHIVE.exists():
        raise Permanent(
            f"cannot load {IMAGE}: it has not been built on this machine", "run 'make setup'"
        )


def image_id() -> str:
    """The image's id, the same on every host."""
    check()
    return (TEMPLATE / "id").read_text().strip()


def is_blank(containers: Path) -> bool:
    """Whether no engine has used this host's store yet."""
    return not (containers / "storage").exists()


def preload(containers: Path) -> None:
    """Put the image into a blank store, in a fraction of the time that importing takes.

    Layers are read-only to every engine, so their files are linked, not copied; what engines
    write to is copied. Stopped half-way, the store is still blank.
    """
    check()
    source, new = TEMPLATE / "storage", containers / "storage.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    for name in _METADATA:
        if (source / name).exists():
            run(["cp", "-a", str(source / name), str(new)], f"load {IMAGE}")
    layers = str(source / "overlay")
    linked = subprocess.run(["cp", "-al", layers, str(new)], capture_output=True, check=False)
    if linked.returncode != 0:
        # Links do not cross file systems.
        shutil.rmtree(new / "overlay", ignore_errors=True)
        run(["cp", "-a", "--reflink=auto", layers, str(new)], f"load {IMAGE}")
    new.rename(containers / "storage")
