"""Passing images from host to host by digest, only the layers that are missing.

An uncompressed layer's digest is its diff id, so the engine that loads finds the layers it already
has by name and never opens the files that were left out.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from porter.domain.errors import Permanent
from porter.domain.workload import Image
from porter.runtimes.podman_cli import Podman
from porter.runtimes.remembered import RUN

_LIMIT = 1800.0
_OCI = "application/vnd.oci."


class PodmanImages:
    """`Images` by podman's own save and pull of directories."""

    def __init__(self, podman: Podman, storage: Path) -> None:
        self._podman = podman
        self._storage = storage

    def present(self, reference: str) -> str:
        """The id of the image that a name means here; "" if there is none."""
        image = self._podman.image(reference)
        return str(image["Id"]) if image else ""

    def missing(self, image: Image) -> tuple[str, ...]:
        """Diff ids of the layers this host lacks; empty if the whole image is present."""
        if self.present(image.id):
            return ()
        here = self._layers_here()
        lacking = tuple(layer for layer in image.layers if layer not in here)
        # The configuration is lacking at least; a caller who sees () would ship nothing at all.
        return lacking or image.layers[-1:]

    def _layers_here(self) -> set[str]:
        ids = self._podman.run("images", "-a", "-q", "--no-trunc").split()
        found: set[str] = set()
        for one in dict.fromkeys(ids):
            info = self._podman.image(one.removeprefix("sha256:"))
            found.update(((info or {}).get("RootFS") or {}).get("Layers") or [])
        return found

    def export(self, image: Image, layers: Sequence[str], directory: Path) -> None:
        """Write manifest, configuration and just these layers into an empty directory.

        The format follows the image's own manifest: a conversion would change its id.
        """
        known = self._podman.image(image.id)
        if known is None:
            raise Permanent(f"cannot export image {image.id[:12]}: it is not on this host")
        oci = str(known.get("ManifestType", "")).startswith(_OCI)
        if directory.exists() and any(directory.iterdir()):
            raise Permanent(f"cannot export into {directory}: it is not empty", "empty it")
        shutil.rmtree(directory, ignore_errors=True)  # podman wants to make it itself
        kind = "oci-dir" if oci else "docker-dir"
        save = ("save", "-q", "--format", kind, "--uncompressed", "-o", str(directory), image.id)
        self._podman.run(*save, limit=_LIMIT)
        layout = Layout(directory)
        layout.check(image)
        wanted = set(layers)
        for digest in layout.layer_digests():
            if digest not in wanted:
                layout.blob(digest).unlink(missing_ok=True)

    def load(self, image: Image, directory: Path) -> None:
        """Take in what `export` wrote; verifies digests and sets all names."""
        layout = Layout(directory)
        layout.check(image)
        if not self.present(image.id):
            with _alias(directory) as alias:
                kind = "oci" if layout.oci else "dir"
                self._podman.run("pull", "-q", f"{kind}:{alias}", limit=_LIMIT)
        self._name(image)
        if self.present(image.id) != image.id:
            raise Permanent(f"cannot load image {image.id[:12]}: the engine gave it another id")

    def _name(self, image: Image) -> None:
        for name in image.names:
            if self.present(name) != image.id:
                self._podman.run("tag", image.id, name)
        info = self._podman.image(image.id) or {}
        for name in info.get("RepoTags") or []:
            if name not in image.names and "porter-image-" in name:
                self._podman.run("untag", image.id, name)


@contextmanager
def _alias(directory: Path) -> Iterator[Path]:
    """Another path to the directory, for the engine names what it pulls after the path.

    Only lower-case letters, digits and single dashes: anything else may be no image name.
    """
    work = RUN / f"porter-image-{secrets.token_hex(8)}"
    work.mkdir(parents=True, mode=0o700)
    alias = work / "layout"
    try:
        alias.symlink_to(directory)
        yield alias
    finally:
        alias.unlink(missing_ok=True)
        work.rmdir()


class Layout:
    """A directory in OCI layout or in podman's plain `dir` format."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.oci = (directory / "index.json").exists()
        self.manifest = self._manifest()

    def _manifest(self) -> dict[str, Any]:
        try:
            if not self.oci:
                return dict(json.loads((self.directory / "manifest.json").read_text()))
            index = json.loads((self.directory / "index.json").read_text())
            digest = str(index["manifests"][0]["digest"])
            return dict(json.loads(self.blob(digest).read_text()))
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise Permanent(
                f"cannot read the image in {self.directory}: {error}", "export it again"
            ) from error

    def blob(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        if not value.isalnum():
            raise Permanent(f"cannot read the image: {digest} is no digest")
        if self.oci:
            return self.directory / "blobs" / algorithm / value
        return self.directory / value

    def layer_digests(self) -> list[str]:
        return [str(one["digest"]) for one in self.manifest.get("layers", [])]

    def check(self, image: Image) -> None:
        """The layout must be of exactly this image. Contents are verified by the engine."""
        config = str((self.manifest.get("config") or {}).get("digest", ""))
        if config.removeprefix("sha256:") != image.id or self.layer_digests() != [*image.layers]:
            raise Permanent(
                f"cannot use the exported image: it is not {image.id[:12]} as it was inspected",
                "pull the image on the target and try again",
            )
