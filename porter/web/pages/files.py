"""Style sheets and scripts, under addresses that hold their content's hash and so never change."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from porter.web.errors import problem

ROOT = Path(__file__).with_name("static")
VENDOR = ("vendor/htmx.min.js", "vendor/uPlot.iife.min.js", "vendor/uPlot.min.css")
"""Fetched at set-up by web/assets.sh."""
FOREVER = "public, max-age=31536000, immutable"
router = APIRouter(include_in_schema=False)


class File(NamedTuple):
    body: bytes
    kind: str
    address: str


@cache
def _files() -> dict[str, File]:
    """All of them, read once: only what is listed here is ever served."""
    found = {}
    for path in sorted(ROOT.rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if not path.is_file() or path.name.startswith("."):
            continue
        body = path.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:16]
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        found[name] = File(body, kind, f"/static/{digest}/{name}")
    return found


def address(name: str) -> str:
    """Where the file of that name is served; KeyError if there is none."""
    return _files()[name].address


def complete() -> bool:
    """Whether the files of others, which set-up fetches, are there. Pages work without them."""
    return all(name in _files() for name in VENDOR)


@router.get("/static/{digest}/{name:path}")
def static(request: Request, digest: str, name: str) -> Response:
    """One file. Needs no login: every Porter has the same."""
    file = _files().get(name)
    if file is None or file.address != request.url.path:
        return problem(
            HTTPStatus.NOT_FOUND,
            f"cannot find {request.url.path}: there is no such file in this version",
            "load the page again",
        )
    headers = {"Cache-Control": FOREVER, "X-Content-Type-Options": "nosniff"}
    return Response(file.body, media_type=file.kind, headers=headers)
