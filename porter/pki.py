"""The control plane's own certificate authority: it vouches for hosts and for its listener."""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from porter.domain.errors import Invalid

CA_YEARS = 20
LEAF_YEARS = 5
CONTROL = "porter-control"
"""Stands in every listener's certificate, whatever the address it is reached at."""
URI = "porter:host:"
BOTH_SIDES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass(frozen=True)
class Issued:
    """A host certificate and how it is recognised again."""

    pem: str
    serial: str
    fingerprint: str


def write_private(path: Path, content: bytes) -> None:
    """Write a secret so that nobody else ever can read it, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


class Authority:
    """Issues certificates. Made by `open_authority`."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @property
    def pem(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def pin(self) -> str:
        """SHA-256 of the certificate, by which an agent knows it before it trusts anything."""
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        return hashlib.sha256(der).hexdigest()

    def host_certificate(self, csr_pem: str, host: str) -> Issued:
        """A certificate for a host's own key. What the request says of names is ignored.

        Raises Invalid for a request that cannot be read or is not signed by its key.
        """
        request = read_request(csr_pem)
        names = [x509.UniformResourceIdentifier(f"{URI}{host}"), x509.DNSName(host)]
        return self._issue(request.public_key(), host, names)  # type: ignore[arg-type]

    def listener(self, names: Sequence[str]) -> tuple[bytes, bytes]:
        """A fresh key and certificate chain (PEM) for the agents' listener."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative: list[x509.GeneralName] = [x509.DNSName(CONTROL)]
        for name in dict.fromkeys(names):
            try:
                alternative.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternative.append(x509.DNSName(name))
        issued = self._issue(key.public_key(), CONTROL, alternative)
        return _pem_key(key), (issued.pem + self.pem).encode()

    def _issue(
        self, key: ec.EllipticCurvePublicKey, common: str, names: Sequence[x509.GeneralName]
    ) -> Issued:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(common))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            # Hosts' clocks may lag behind ours a little.
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365 * LEAF_YEARS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(BOTH_SIDES), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            serial=f"{certificate.serial_number:x}",
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        )


def read_request(csr_pem: str) -> x509.CertificateSigningRequest:
    """A certificate signing request, its signature checked. Raises Invalid."""
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        valid = request.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise Invalid("cannot join: the certificate request cannot be read") from error
    if not valid:
        raise Invalid("cannot join: the certificate request is not signed by its own key")
    return request


def key_fingerprint(csr_pem: str) -> str:
    """SHA-256 of the public key in a request."""
    der = (
        read_request(csr_pem)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return hashlib.sha256(der).hexdigest()


def _make(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Porter CA")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * CA_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def open_authority(folder: Path) -> Authority:
    """The authority kept in a folder; made there the first time, once even if several ask."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate_path, key_path = folder / "ca.pem", folder / "ca-key.pem"
    with (folder / ".ca.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not certificate_path.exists():
            certificate, key = _make(datetime.now(UTC))
            write_private(key_path, _pem_key(key))
            # The certificate last: where it is, its key is too.
            write_private(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
    certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
    loaded = serialization.load_pem_private_key(key_path.read_bytes(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise Invalid(f"cannot use {key_path}: it holds no elliptic curve key")
    return Authority(certificate, loaded)
