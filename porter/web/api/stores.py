"""/v1/stores: add, check, remove."""

from __future__ import annotations

import secrets
import time
from http import HTTPStatus

from fastapi import APIRouter

from porter.db.base import StoreRecord
from porter.db.database import rehearsing
from porter.domain.errors import NotFound, Permanent
from porter.domain.identity import Permission
from porter.store.base import StoreConfig
from porter.store.registry import open_blobs
from porter.web.access import allowed
from porter.web.api.common import PROBLEMS, SECURED, Control
from porter.web.api.paging import Paged
from porter.web.api.schemas.sites import StoreIn, StoreOut

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["stores"])
READ, ADMIN = [allowed(Permission.READ)], [allowed(Permission.ADMIN)]


@router.get("/stores", dependencies=READ)
def list_stores(control: Control, paged: Paged) -> list[StoreOut]:
    """The oldest first: it is the one that is used unless another is named."""
    page = paged.cut(control.store_book.all(), lambda record: record.name)
    return [_out(record) for record in page]


@router.post("/stores", status_code=HTTPStatus.CREATED, dependencies=ADMIN)
def add_store(control: Control, body: StoreIn) -> StoreOut:
    """Add an object store or directory. Its settings are checked, it is not asked: see `verify`."""
    hidden = {key: value.get_secret_value() for key, value in body.secrets.items()}
    open_blobs(StoreConfig(body.name, body.url, body.settings, hidden))
    sealed = control.vault.seal(f"store {body.name}", hidden)
    return _out(control.store_book.add(body.name, body.url, body.settings, sealed, time.time()))


@router.delete("/stores/{name}", status_code=HTTPStatus.NO_CONTENT, dependencies=ADMIN)
def remove_store(control: Control, name: str) -> None:
    """Forget a store and its credentials. 409 while a checkpoint is in it."""
    control.store_book.remove(name, time.time())


@router.post("/stores/{name}/verify", status_code=HTTPStatus.NO_CONTENT, dependencies=ADMIN)
def verify(control: Control, name: str) -> None:
    """Write, read, list and remove a small blob there. Raises what went wrong."""
    store, key = control.stores.open(name), f"verify/{secrets.token_hex(8)}"
    if rehearsing.get() is not None:
        return
    content = secrets.token_bytes(64)
    store.put(key, content)
    try:
        if store.get(key) != content:
            raise Permanent(f"cannot use the store {name}: it gave back other bytes")
        if key not in {blob.key for blob in store.list("verify/")}:
            raise Permanent(f"cannot use the store {name}: it does not list what it holds")
    finally:
        store.remove(key)
    try:
        store.get(key)
    except NotFound:
        return
    raise Permanent(f"cannot use the store {name}: it keeps what was removed")


def _out(record: StoreRecord) -> StoreOut:
    return StoreOut(
        name=record.name,
        url=record.url,
        settings=record.settings,
        credentials="stored" if record.sealed else "environment",
    )
