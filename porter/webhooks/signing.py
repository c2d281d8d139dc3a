"""Secrets of webhooks and what is signed with them, as https://www.standardwebhooks.com says.

Sealed in the database lie the secret and those before it that still sign, each with its end.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from standardwebhooks import Webhook

from porter.vault import Vault

PREFIX = "whsec_"
MOST = 4
"""So many secrets sign at once at most: whoever rotates more often loses the oldest sooner."""


@dataclass(frozen=True)
class Secrets:
    """`current`, and former ones with the time at which they end, newest first."""

    current: str
    former: tuple[tuple[str, float], ...] = ()

    def good(self, now: float) -> list[str]:
        """Those that sign now, the current one first."""
        return [self.current, *(secret for secret, until in self.former if until > now)]

    def rotated(self, now: float, grace: float) -> Secrets:
        """A fresh one; what signed until now signs on for `grace` seconds. 0: all others end."""
        if grace <= 0:
            return Secrets(new_secret())
        rest = tuple(one for one in self.former if one[1] > now)
        return Secrets(new_secret(), ((self.current, now + grace), *rest)[: MOST - 1])


def new_secret() -> str:
    """256 random bits."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def seal(vault: Vault, webhook: str, kept: Secrets) -> str:
    content = {"secret": kept.current, "former": json.dumps(kept.former)}
    return vault.seal(_label(webhook), content)


def unseal(vault: Vault, webhook: str, sealed: str) -> Secrets:
    """Raises Permanent if the vault's key is another."""
    found: Mapping[str, str] = vault.open(_label(webhook), sealed)
    former = tuple((str(secret), float(until)) for secret, until in json.loads(found["former"]))
    return Secrets(found["secret"], former)


def _label(webhook: str) -> str:
    return f"webhook {webhook}"


def signed(kept: Secrets, message: str, body: str, now: float) -> dict[str, str]:
    """The three headers of an attempt at this time."""
    at = datetime.fromtimestamp(int(now), UTC)
    signatures = [Webhook(secret).sign(message, at, body) for secret in kept.good(now)]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
    }
