"""Keys and seals of a checkpoint: AES-256-GCM under keys derived from one random key.

No key seals two different texts with the same nonce, whatever crashes: parts use a key of their
layer and of the run that wrote them, with the part's number as nonce; all else is sealed under a
fresh key each time. The salts stand before the sealed text.
"""

from __future__ import annotations

import os

import msgpack
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from porter.domain.errors import Denied, Invalid, Permanent

KEY = 32
SALT = 16
OVERHEAD = SALT + 16
_NONCE = 12
Recipient = str | x509.Certificate
"""A host's certificate, as PEM or parsed. Its key is on the curve P-256."""


def new_key() -> bytes:
    return os.urandom(KEY)


def new_salt() -> bytes:
    return os.urandom(SALT)


def derive(key: bytes, salt: bytes, *purpose: object) -> bytes:
    """A key for one purpose, and for no other."""
    info = b"porter checkpoint 1" + bytes(msgpack.packb(purpose))
    return HKDF(hashes.SHA256(), KEY, salt, info).derive(key)


def identity(key: bytes) -> str:
    """Names a checkpoint's key without telling it: who knows this cannot be given another."""
    return derive(key, b"", "identity").hex()


class PartSeal:
    """Seals and opens the parts of one layer. Thread-safe."""

    def __init__(self, key: bytes, checkpoint: str, layer: str) -> None:
        self._key = key
        self._bound = (checkpoint, layer)
        self._ciphers: dict[bytes, AESGCM] = {}

    def seal(self, salt: bytes, number: int, last: bool, text: bytes) -> bytes:
        """`salt` belongs to this run of the writer; a number is sealed once in a run."""
        nonce = number.to_bytes(_NONCE, "big")
        return salt + self._cipher(salt).encrypt(nonce, text, self._aad(number, last))

    def open(self, number: int, last: bool, blob: bytes) -> bytes:
        """Raises Permanent if these are not the bytes sealed for this very place."""
        nonce = number.to_bytes(_NONCE, "big")
        try:
            return self._cipher(blob[:SALT]).decrypt(nonce, blob[SALT:], self._aad(number, last))
        except InvalidTag as error:
            raise Permanent(f"cannot open part {number} of {self._bound[1]}: forged") from error

    def _cipher(self, salt: bytes) -> AESGCM:
        cipher = self._ciphers.get(salt)
        if cipher is None:
            # A forger's salts must not fill the memory.
            if len(self._ciphers) > 64:
                self._ciphers.clear()
            cipher = self._ciphers[salt] = AESGCM(derive(self._key, salt, "part", self._bound))
        return cipher

    def _aad(self, number: int, last: bool) -> bytes:
        return bytes(msgpack.packb((*self._bound, number, last)))


def seal(key: bytes, place: tuple[str | int, ...], text: bytes) -> bytes:
    """Seal something small for one place: `("manifest", checkpoint)` …"""
    salt = new_salt()
    aad = bytes(msgpack.packb(place))
    return salt + AESGCM(derive(key, salt, "seal")).encrypt(bytes(_NONCE), text, aad)


def unseal(key: bytes, place: tuple[str | int, ...], blob: bytes) -> bytes:
    """Raises Permanent if it was not sealed with this key for this place."""
    cipher = AESGCM(derive(key, blob[:SALT], "seal"))
    try:
        return cipher.decrypt(bytes(_NONCE), blob[SALT:], bytes(msgpack.packb(place)))
    except (InvalidTag, ValueError) as error:
        what = " ".join(str(word) for word in place)
        raise Permanent(f"cannot open {what}: the store holds other bytes than written") from error


# -- for whom: ephemeral ECDH on P-256, HKDF, AES-GCM ---------------------------------------


def public_key(recipient: Recipient) -> ec.EllipticCurvePublicKey:
    """Of a certificate. Raises Invalid if it has none on P-256."""
    try:
        certificate = (
            x509.load_pem_x509_certificate(recipient.encode())
            if isinstance(recipient, str)
            else recipient
        )
    except ValueError as error:
        raise Invalid("cannot encrypt for a host: its certificate cannot be read") from error
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("cannot encrypt for a host: its key is not on the curve P-256")
    return key


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Under which the key wrapped for this one is found."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(_point(key))
    return digest.finalize().hex()


def wrap(key: bytes, checkpoint: str, to: ec.EllipticCurvePublicKey) -> bytes:
    """The checkpoint's key, for one recipient's eyes."""
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    point = _point(ephemeral.public_key())
    shared = ephemeral.exchange(ec.ECDH(), to)
    cipher = AESGCM(derive(shared, point, "wrap", _point(to)))
    return point + cipher.encrypt(bytes(_NONCE), key, checkpoint.encode())


def unwrap(blob: bytes, checkpoint: str, private: ec.EllipticCurvePrivateKey) -> bytes:
    """Raises Denied if it was not wrapped for this key and checkpoint."""
    size = 65
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), blob[:size])
        shared = private.exchange(ec.ECDH(), point)
        cipher = AESGCM(derive(shared, blob[:size], "wrap", _point(private.public_key())))
        return cipher.decrypt(bytes(_NONCE), blob[size:], checkpoint.encode())
    except (InvalidTag, ValueError) as error:
        raise Denied(f"cannot open {checkpoint}: its key was not wrapped for this host") from error


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
