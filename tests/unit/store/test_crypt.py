"""Seals open in their own place only, and keys for their own host only."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from porter.domain.errors import Denied, Invalid, Permanent
from porter.store import crypt
from tests.unit.store.hosts import make_host

KEY = crypt.new_key()


@pytest.mark.parametrize(
    ("checkpoint", "layer", "number", "last", "key"),
    [
        ("c", "memory", 3, True, KEY),
        ("c", "memory", 4, False, KEY),
        ("c", "files", 3, False, KEY),
        ("d", "memory", 3, False, KEY),
        ("c", "memory", 3, False, crypt.new_key()),
    ],
    ids=["last", "number", "layer", "checkpoint", "key"],
)
def test_a_part_opens_in_its_place_only(
    checkpoint: str, layer: str, number: int, last: bool, key: bytes
) -> None:
    blob = crypt.PartSeal(KEY, "c", "memory").seal(crypt.new_salt(), 3, False, b"text")
    assert crypt.PartSeal(KEY, "c", "memory").open(3, False, blob) == b"text"
    with pytest.raises(Permanent):
        crypt.PartSeal(key, checkpoint, layer).open(number, last, blob)


@pytest.mark.parametrize("size", [0, 5, crypt.SALT, crypt.OVERHEAD - 1])
def test_what_is_too_short_is_refused(size: int) -> None:
    with pytest.raises(Permanent):
        crypt.PartSeal(KEY, "c", "memory").open(0, True, bytes(size))
    with pytest.raises(Permanent):
        crypt.unseal(KEY, ("manifest", "c"), bytes(size))


def test_the_same_text_never_looks_the_same() -> None:
    assert crypt.seal(KEY, ("index", 1), b"x") != crypt.seal(KEY, ("index", 1), b"x")
    place = crypt.PartSeal(KEY, "c", "memory")
    one, other = (place.seal(crypt.new_salt(), 0, True, b"x") for _ in range(2))
    assert one[crypt.SALT :] != other[crypt.SALT :]


def test_small_seals_are_bound_to_their_place() -> None:
    blob = crypt.seal(KEY, ("index", "c", 1), b"x")
    assert crypt.unseal(KEY, ("index", "c", 1), blob) == b"x"
    for place in (("index", "c", 2), ("index", "d", 1), ("manifest", "c", 1)):
        with pytest.raises(Permanent):
            crypt.unseal(KEY, place, blob)


def test_a_wrapped_key_is_for_one_host_and_checkpoint(tmp_path: Path) -> None:
    host, other = make_host(tmp_path), make_host(tmp_path, "other")
    blob = crypt.wrap(KEY, "c", crypt.public_key(host.certificate))
    assert crypt.unwrap(blob, "c", host.key) == KEY
    cases = [
        (blob, "c", other.key),
        (blob, "d", host.key),
        (blob[:-1], "c", host.key),
        (blob[:10], "c", host.key),
        (b"", "c", host.key),
        (blob[:70] + bytes([blob[70] ^ 1]) + blob[71:], "c", host.key),
    ]
    for data, name, key in cases:
        with pytest.raises(Denied):
            crypt.unwrap(data, name, key)


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["rsa", "p384"],
)
def test_only_p256_certificates_will_do(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, tmp_path: Path
) -> None:
    issued = x509.load_pem_x509_certificate(make_host(tmp_path).certificate.encode())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "h")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(issued.not_valid_before_utc)
        .not_valid_after(issued.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(Invalid, match="P-256"):
        crypt.public_key(certificate)
