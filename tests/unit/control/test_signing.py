"""Signed receipts: what is proven, and what is refused."""

from __future__ import annotations

import base64
import json
import stat
import threading
from pathlib import Path

import pytest

from porter.domain.errors import Invalid, Permanent
from porter.signing import TYPE, Signer, open_signer, read_keys, verify

RECEIPT = {"id": "m1", "workload": "shop", "from": "onprem", "to": "cloud", "reason": "é"}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return open_signer(tmp_path / "state" / "receipt-key.pem")


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path, made = tmp_path / "receipt-key.pem", list[str]()
    barrier = threading.Barrier(6)

    def run() -> None:
        barrier.wait()
        made.append(open_signer(path).kid)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert len(set(made)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["receipt-key.pem"]
    path.write_text("nonsense")
    with pytest.raises(Invalid, match="no Ed25519 key"):
        open_signer(path)


def test_what_was_signed_is_proven_with_the_public_key_alone(signer: Signer) -> None:
    told = json.dumps(signer.keys())
    assert '"d"' not in told
    signed = signer.sign(RECEIPT)
    assert signed == signer.sign(RECEIPT)
    assert verify(f"{signed}\n", read_keys(told)) == RECEIPT
    header = json.loads(base64.urlsafe_b64decode(signed.split(".")[0] + "=="))
    assert header == {"alg": "Ed25519", "typ": TYPE, "kid": signer.kid}


def test_forgeries_are_refused(signer: Signer, tmp_path: Path) -> None:
    keys = read_keys(json.dumps(signer.keys()))
    header, payload, proof = signer.sign(RECEIPT).split(".")
    other = open_signer(tmp_path / "other.pem")

    def named(**changes: object) -> str:
        return b64(
            json.dumps({"alg": "Ed25519", "typ": TYPE, "kid": signer.kid} | changes).encode()
        )

    borrowed = other.sign(RECEIPT).split(".")
    forged = {
        "another payload": f"{header}.{b64(b'{}')}.{proof}",
        "one character": f"{header}.{payload[:-2]}{'A' if payload[-2] != 'A' else 'B'}"
        f"{payload[-1]}.{proof}",
        "cut off": f"{header}.{payload}.{proof[:-4]}",
        "no signature": f"{header}.{payload}.",
        "two parts": f"{header}.{payload}",
        "empty": "",
        "no text of ours": "é.é.é",
        "header is no object": f"{b64(b'[]')}.{payload}.{proof}",
        "alg none": f"{named(alg='none')}.{payload}.",
        "alg none, signed": f"{named(alg='none')}.{payload}.{proof}",
        "alg HS256": f"{named(alg='HS256')}.{payload}.{proof}",
        "another type": f"{named(typ='JWT')}.{payload}.{proof}",
        "crit": f"{named(crit=['x'], x=1)}.{payload}.{proof}",
        "key within": f"{named(jwk=other.keys()['keys'][0])}.{payload}.{borrowed[2]}",
        "another key": other.sign(RECEIPT),
        "another key under our name": f"{named()}.{borrowed[1]}.{borrowed[2]}",
    }
    for what, text in forged.items():
        with pytest.raises(Permanent, match="cannot trust this receipt") as refused:
            verify(text, keys)
        assert str(refused.value).count("\n") == 0, what


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "1", '{"keys": 1}', '{"keys": [1]}', '{"keys": [{"kty": "OKP"}]}']
)
def test_what_are_no_keys(text: str) -> None:
    with pytest.raises(Invalid, match="JSON Web Key Set"):
        read_keys(text)
