"""Signatures that the reference library takes, and those that it refuses."""

from __future__ import annotations

import base64
import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from porter.domain.errors import Permanent
from porter.vault import Vault
from porter.webhooks.signing import MOST, Secrets, new_secret, seal, signed, unseal

BODY = json.dumps({"id": "7", "type": "io.porter.migration.succeeded", "data": "grün"})


def test_the_reference_library_takes_them() -> None:
    secret = new_secret()
    headers = signed(Secrets(secret), "wh1-7", BODY, time.time())
    assert Webhook(secret).verify(BODY.encode(), headers)["id"] == "7"
    assert headers["webhook-id"] == "wh1-7"
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32


def test_forged_expired_and_foreign_ones_are_refused() -> None:
    secret, now = new_secret(), time.time()
    hook, headers = Webhook(secret), signed(Secrets(secret), "wh1-7", BODY, now)
    wrong = [
        (BODY.replace("succeeded", "failed"), headers),
        (BODY, headers | {"webhook-id": "wh1-8"}),
        (BODY, headers | {"webhook-timestamp": str(int(now) + 1)}),
        (BODY, headers | {"webhook-signature": "v1," + base64.b64encode(b"x" * 32).decode()}),
        (BODY, signed(Secrets(secret), "wh1-7", BODY, now - 301)),
        (BODY, signed(Secrets(secret), "wh1-7", BODY, now + 301)),
        (BODY, signed(Secrets(new_secret()), "wh1-7", BODY, now)),
    ]
    hook.verify(BODY, headers)
    for body, told in wrong:
        with pytest.raises(WebhookVerificationError):
            hook.verify(body, told)


def test_after_a_rotation_both_sign_for_a_while() -> None:
    now = time.time()
    first = Secrets(new_secret())
    second = first.rotated(now, 60)
    for at, old in ((now, True), (now + 61, False)):
        headers = signed(second, "wh1-7", BODY, at)
        # Not the library's clock, which is now, but whether it is among the signatures.
        headers["webhook-timestamp"] = str(int(at))
        assert len(headers["webhook-signature"].split()) == (2 if old else 1)
    headers = signed(second, "wh1-7", BODY, now)
    for secret in (first.current, second.current):
        Webhook(secret).verify(BODY, headers)


def test_a_rotation_without_grace_ends_all_others() -> None:
    now = time.time()
    turned = Secrets(new_secret()).rotated(now, 60).rotated(now, 0)
    assert turned.good(now) == [turned.current]


def test_few_sign_at_once() -> None:
    now, kept = time.time(), Secrets(new_secret())
    for _ in range(10):
        kept = kept.rotated(now, 60)
    assert len(kept.good(now)) == MOST


def test_secrets_are_sealed_for_their_webhook() -> None:
    vault, kept = Vault(b"key"), Secrets(new_secret()).rotated(time.time(), 60)
    sealed = seal(vault, "wh1", kept)
    assert unseal(vault, "wh1", sealed) == kept
    for secret in (kept.current, kept.former[0][0]):
        assert secret not in sealed
        assert secret.removeprefix("whsec_") not in sealed
    with pytest.raises(Permanent):
        unseal(vault, "wh2", sealed)
    with pytest.raises(Permanent):
        unseal(Vault(b"another"), "wh1", sealed)
