"""Receipts that prove themselves: signed with the control plane's key, checked with its public one.

A signed receipt is a compact JWS (RFC 7515) over the receipt's JSON, with Ed25519 (RFC 8037). Its
header names the key by its thumbprint (RFC 7638).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from porter.domain.errors import Invalid, Permanent
from porter.pki import write_private

ALGORITHM = "Ed25519"
"""The name that RFC 9864 gave to EdDSA with this curve; that of EdDSA at large is deprecated."""
TYPE = "porter-receipt+jws"


class Signer:
    """Signs with one key. Made by `open_signer`."""

    def __init__(self, key: OKPKey) -> None:
        self._key = key
        self.kid = key.thumbprint()

    def sign(self, receipt: Mapping[str, Any]) -> str:
        """The same receipt is always the same text."""
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": self.kid}
        payload = json.dumps(receipt, ensure_ascii=False, separators=(",", ":")).encode()
        return jws.serialize_compact(header, payload, self._key, algorithms=[ALGORITHM])

    def keys(self) -> dict[str, Any]:
        """The public half, as a JSON Web Key Set."""
        public = self._key.as_dict(private=False)
        told = {"kid": self.kid, "use": "sig", "alg": ALGORITHM}
        return {"keys": [{name: public[name] for name in ("kty", "crv", "x")} | told]}


def open_signer(path: Path) -> Signer:
    """The signer with the key in this file, made on first use, readable by its owner only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_private(fresh, pem)
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            pass  # another replica was quicker: its key counts
        finally:
            fresh.unlink()
    try:
        return Signer(OKPKey.import_key(path.read_bytes()))
    except (JoseError, ValueError) as error:
        raise Invalid(f"cannot use {path}: it holds no Ed25519 key") from error


def read_keys(text: str) -> KeySet:
    """The keys of a JWKS. Raises Invalid."""
    try:
        return KeySet.import_key_set(json.loads(text))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(
            "cannot read the keys: they are no JSON Web Key Set", "get them: porter receipt keys"
        ) from error


def verify(signed: str, keys: KeySet) -> dict[str, Any]:
    """The receipt within, if one of the keys signed it. Raises Permanent that says why not."""
    wrong = "cannot trust this receipt"
    parts = signed.strip().split(".")
    if len(parts) != 3 or not all(parts):
        raise Permanent(f"{wrong}: it is no whole signed receipt", "get it again")
    try:
        found = jws.deserialize_compact(signed.strip(), _of(signed, keys), algorithms=[ALGORITHM])
        receipt = json.loads(found.payload)
    except LookupError as error:
        raise Permanent(
            f"{wrong}: none of the keys given signed it", "use the keys of who issued it"
        ) from error
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise Permanent(f"{wrong}: it was changed, or cut off, or forged") from error
    if found.protected.get("typ") != TYPE or not isinstance(receipt, dict):
        raise Permanent(f"{wrong}: what was signed is no receipt")
    return receipt


def _of(signed: str, keys: KeySet) -> OKPKey:
    """The key that the header names. Raises LookupError."""
    header = jws.extract_compact(signed.strip().encode()).headers()
    for key in keys.keys:
        if isinstance(key, OKPKey) and header.get("kid") in (key.kid, key.thumbprint()):
            return key
    raise LookupError(header.get("kid"))
