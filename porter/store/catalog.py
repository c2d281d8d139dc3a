"""Which checkpoints a store holds; removing them; letting further hosts read them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec

from porter.store import crypt, model
from porter.store.base import Blobs
from porter.store.parts import patiently
from porter.store.reader import load_key

_PARALLEL = 8


class State(StrEnum):
    OPEN = "open"
    """Being written, or its writer was lost."""
    CLOSED = "closed"
    REMOVING = "removing"
    """A removal was interrupted: `remove` finishes it."""


@dataclass(frozen=True)
class Listed:
    name: str
    state: State
    readers: tuple[str, ...]
    """Fingerprints of the keys it is wrapped for."""


def list_checkpoints(blobs: Blobs) -> list[Listed]:
    """All checkpoints by name, the unfinished ones too. Reads no data."""
    found: dict[str, set[str]] = {}
    for blob in blobs.list(model.CATALOG):
        name, _, what = blob.key[len(model.CATALOG) :].partition("/")
        found.setdefault(name, set()).add(what)
    return [_listed(name, whats) for name, whats in sorted(found.items())]


def _listed(name: str, whats: set[str]) -> Listed:
    state = State.CLOSED if "manifest" in whats else State.OPEN
    if "removing" in whats:
        state = State.REMOVING
    keys = sorted(what.partition("/")[2] for what in whats if what.startswith("keys/"))
    return Listed(name, state, tuple(keys))


def remove(blobs: Blobs, name: str) -> None:
    """Remove a checkpoint, the manifest first: what is half removed can never be read as whole.
    Absent is success; interrupted, the next call finishes it."""
    model.check_name(name)
    removing = f"{model.CATALOG}{name}/removing"
    patiently(lambda: blobs.put(removing, b"1"))
    patiently(lambda: blobs.remove(model.manifest_key(name)))
    with ThreadPoolExecutor(_PARALLEL) as threads:
        for prefix in (f"data/{name}/", f"{model.CATALOG}{name}/keys/"):
            keys = [blob.key for blob in blobs.list(prefix)]
            for _ in threads.map(lambda key: patiently(lambda: blobs.remove(key)), keys):
                pass
    patiently(lambda: blobs.remove(removing))


def finish_removals(blobs: Blobs) -> list[str]:
    """Finish what was interrupted; the names of what is gone now."""
    names = [one.name for one in list_checkpoints(blobs) if one.state is State.REMOVING]
    for name in names:
        remove(blobs, name)
    return names


def rewrap(
    blobs: Blobs,
    name: str,
    private_key: ec.EllipticCurvePrivateKey | bytes,
    recipients: Sequence[crypt.Recipient],
) -> None:
    """Let further hosts read a checkpoint that we can read. No data is touched."""
    keys = [crypt.public_key(one) for one in recipients]
    key = load_key(blobs, model.check_name(name), private_key)
    for one in keys:
        where = model.wrapped_key(name, crypt.fingerprint(one))
        wrapped = crypt.wrap(key, name, one)
        patiently(lambda where=where, wrapped=wrapped: blobs.put(where, wrapped))  # type: ignore[misc]
