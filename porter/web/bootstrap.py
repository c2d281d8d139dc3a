"""What a new machine fetches to become a host: Porter itself, as it is installed here."""

from __future__ import annotations

import functools
import gzip
import importlib.metadata
import io
import re
import tarfile
import time
from pathlib import Path

from fastapi import APIRouter, Request, Response

import porter
from porter.db.registry import TokenUnknown
from porter.pki import Authority
from porter.wiring import ControlPlane

router = APIRouter()
_PACKAGE = Path(porter.__file__).resolve().parent
_REQUIREMENTS = _PACKAGE.parent / "requirements.txt"


@router.get("/bootstrap")
def bootstrap(request: Request) -> Response:
    """A tar of Porter's sources with its pinned requirements; `porter/bootstrap.sh` in it installs
    them. For whoever holds a join token that is not spent yet."""
    control: ControlPlane = request.app.state.control
    authority: Authority = request.app.state.authority
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    secret, _, pin = token.strip().partition(".")
    if scheme.lower() != "bearer" or pin != authority.pin:
        raise TokenUnknown(
            "cannot hand out Porter: the request carries no join token of this control plane",
            "send `Authorization: Bearer TOKEN`; `porter host token` makes one",
        )
    control.registry.check_token(secret, time.time())
    return Response(bundle(), media_type="application/gzip")


@functools.cache
def bundle() -> bytes:
    """The tar, compressed; the same bytes for the same sources."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(_PACKAGE.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    executable = bool(path.stat().st_mode & 0o100)
                    name = f"porter/{path.relative_to(_PACKAGE)}"
                    _add(tar, name, path.read_bytes(), 0o755 if executable else 0o644)
            _add(tar, "requirements.txt", requirements().encode(), 0o644)
    return packed.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def requirements() -> str:
    """The pinned requirements with hashes; where Porter was installed without that file, the
    versions that run here."""
    if _REQUIREMENTS.is_file():
        return _REQUIREMENTS.read_text()
    return "".join(f"{name}=={version}\n" for name, version in sorted(_installed("porter").items()))


def _installed(root: str) -> dict[str, str]:
    """Everything that a distribution needs and that is installed, by name."""
    found: dict[str, str] = {}
    waiting = [root]
    while waiting:
        for line in importlib.metadata.requires(waiting.pop()) or []:
            name = re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower().replace("_", "-")
            if name in found:
                continue
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # of an extra, or for another system
            waiting.append(name)
    return found
