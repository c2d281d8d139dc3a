"""Signed receipts, and the public keys with which anybody can check them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from porter.domain.errors import Conflict
from porter.domain.identity import Permission
from porter.web.access import Caller, allowed
from porter.web.api.common import PROBLEMS, SECURED, Control

router = APIRouter(prefix="/v1", responses=PROBLEMS, dependencies=SECURED, tags=["receipts"])
MEDIA_TYPE = "application/jose"


@router.get(
    "/migrations/{migration_id}/receipt.jws",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
)
def get_signed(control: Control, caller: Caller, migration_id: str) -> Response:
    """The final receipt as a compact JWS (Ed25519). 409 while the migration has not ended."""
    move = control.moves.story(migration_id, projects=caller.projects()).migration
    if move.receipt is None or not move.state.final:
        raise Conflict(
            f"cannot sign the receipt of {migration_id}: the migration has not ended",
            "wait for its end",
        )
    return Response(control.signer.sign(move.receipt), media_type=MEDIA_TYPE)


@router.get("/keys", dependencies=[allowed(Permission.READ)])
def get_keys(control: Control) -> dict[str, Any]:
    """The public keys of signed receipts: a JSON Web Key Set."""
    return control.signer.keys()
