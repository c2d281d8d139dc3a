"""Secrets at rest: one key file opens what the database keeps sealed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from porter.domain.errors import Permanent
from porter.pki import write_private

_VERSION = "v1:"
_NONCE = 12


class Vault:
    """AES-256-GCM under one key. Thread-safe. What is sealed is bound to its label."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(hashlib.sha256(b"porter seal" + key).digest())
        self._derive = hashlib.sha256(b"porter derive" + key).digest()

    def seal(self, label: str, content: Mapping[str, str]) -> str:
        """Text that only `open` with the same label can read; empty for nothing."""
        if not content:
            return ""
        nonce = secrets.token_bytes(_NONCE)
        plain = json.dumps(dict(content)).encode()
        return (
            _VERSION
            + base64.b64encode(
                nonce + self._aead.encrypt(nonce, plain, _VERSION.encode() + label.encode())
            ).decode()
        )

    def open(self, label: str, sealed: str) -> dict[str, str]:
        """What was sealed. Raises Permanent if the key is another or the text was changed."""
        if not sealed:
            return {}
        try:
            raw = base64.b64decode(sealed.removeprefix(_VERSION), validate=True)
            plain = self._aead.decrypt(
                raw[:_NONCE], raw[_NONCE:], _VERSION.encode() + label.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise Permanent(
                f"cannot read the stored credentials of {label}: they were sealed with another key",
                "restore PORTER_SECRET_KEY_FILE, or store the credentials again",
            ) from error
        found: dict[str, str] = json.loads(plain)
        return found

    def derive(self, label: str) -> str:
        """A secret that belongs to this label, the same every time; never stored."""
        mac = hmac.new(self._derive, label.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac[:24]).decode().rstrip("=")


def open_vault(path: Path) -> Vault:
    """The vault with the key in this file, made on first use, readable by its owner only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        write_private(fresh, secrets.token_bytes(32))
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            pass  # another replica was quicker: its key counts
        finally:
            fresh.unlink()
    return Vault(path.read_bytes())
