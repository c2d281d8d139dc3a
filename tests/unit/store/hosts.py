"""Hosts with certificates, and content to move, for tests of layers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import CertificateSigningRequestBuilder, Name

from porter.pki import open_authority


@dataclass(frozen=True)
class Host:
    key: ec.EllipticCurvePrivateKey
    certificate: str

    @property
    def pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def make_host(folder: Path, name: str = "target") -> Host:
    """A host as one that has joined: its certificate comes from a control plane's authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    wish = CertificateSigningRequestBuilder().subject_name(Name([])).sign(key, hashes.SHA256())
    pem = wish.public_bytes(serialization.Encoding.PEM).decode()
    return Host(key, open_authority(folder / "ca").host_certificate(pem, name).pem)


def content(size: int, seed: int = 0, piece: int = 1 << 20) -> Iterator[bytes]:
    """Content that compresses, but not to nothing: a third of it is random. The same for the same
    seed, each MiB of it different."""
    dice = random.Random(seed)
    noise = dice.randbytes(piece // 3)
    number = 0
    while size > 0:
        word = b"%d/%d " % (seed, number)
        shift = number * 7919 % len(noise)
        page = noise[shift:] + noise[:shift] + word * (piece * 2 // 3 // len(word) + 8)
        yield page[: min(piece, size)]
        size -= piece
        number += 1
