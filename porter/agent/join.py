"""Becoming a host: a one-time token pins the control plane's CA; the private key stays here."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from porter.agent.control import raise_for, verified_context
from porter.agent.peer_tls import Credentials
from porter.domain.errors import Denied, Invalid, Transient
from porter.domain.host import HostFacts
from porter.protocol import codec
from porter.protocol.joining import Join, Joined

_IDENTITY = "identity.json"
_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Identity:
    """Who this host is to the control plane."""

    host: str
    url: str
    credentials: Credentials


def load(state: Path) -> Identity | None:
    """The identity of an earlier join, if there was one."""
    try:
        known = json.loads((state / _IDENTITY).read_text())
    except FileNotFoundError:
        return None
    host = str(known["host"])
    return Identity(host, str(known["url"]), _files(state, host))


def join(url: str, token: str, name: str, site: str, facts: HostFacts, state: Path) -> Identity:
    """Join the control plane at `url` and keep what it gives us in `state`.

    Raises Denied for a token that is wrong, used or expired, Transient if nobody answers.
    """
    secret, _, pin = token.partition(".")
    if not secret or len(pin) != 64:
        raise Invalid("cannot join: the token is malformed", "copy the whole token")
    ca_pem = _pinned_ca(url, pin.lower())
    key = _key(state / "key.pem")
    wish = Join(token=token, name=name, site=site, csr_pem=_csr(key, name), facts=facts)
    joined = _post(url, ca_pem, wish)
    _check(joined, key, pin.lower())
    _write(state / "ca.pem", joined.ca_pem.encode())
    _write(state / "cert.pem", joined.certificate_pem.encode())
    # Last: with this file in place, the others are whole.
    _write(state / _IDENTITY, json.dumps({"host": joined.host, "url": url}).encode())
    return Identity(joined.host, url, _files(state, joined.host))


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    """This host's key. Kept from the first try on: if an answer to a join is lost, the control
    plane knows the key again and does not call the token used."""
    if path.exists():
        known = serialization.load_pem_private_key(path.read_bytes(), None)
        if isinstance(known, ec.EllipticCurvePrivateKey):
            return known
    key = ec.generate_private_key(ec.SECP256R1())
    _write(path, _pem(key))
    return key


def _files(state: Path, host: str) -> Credentials:
    return Credentials(host, state / "key.pem", state / "cert.pem", state / "ca.pem")


def _pinned_ca(url: str, pin: str) -> str:
    """The CA that the token names. Fetched from whoever answers, believed only by its hash."""
    try:
        with httpx.Client(verify=False, timeout=_TIMEOUT_S, trust_env=False) as client:
            answer = client.get(f"{url}/agent/v1/ca")
    except httpx.TransportError as error:
        raise _unreachable(url, error) from error
    raise_for(answer, "join")
    if _fingerprint(answer.text) != pin:
        raise Denied(
            f"cannot join: whoever answers at {url} is not the control plane that made the token",
            "check the address; make a new token if the control plane was set up anew",
        )
    return answer.text


def _post(url: str, ca_pem: str, wish: Join) -> Joined:
    try:
        context = verified_context(ca_pem)
        with httpx.Client(verify=context, timeout=_TIMEOUT_S, trust_env=False) as client:
            answer = client.post(f"{url}/agent/v1/join", json=codec.dump(wish))
    except httpx.TransportError as error:
        raise _unreachable(url, error) from error
    raise_for(answer, "join")
    return codec.load(Joined, answer.json())


def _check(joined: Joined, key: ec.EllipticCurvePrivateKey, pin: str) -> None:
    if _fingerprint(joined.ca_pem) != pin:
        raise Denied("cannot join: the control plane answered with another CA than the token's")
    certificate = x509.load_pem_x509_certificate(joined.certificate_pem.encode())
    try:
        certificate.verify_directly_issued_by(
            x509.load_pem_x509_certificate(joined.ca_pem.encode())
        )
    except (InvalidSignature, ValueError, TypeError) as error:
        raise Denied("cannot join: the certificate given to us is not signed by the CA") from error
    if certificate.public_key() != key.public_key():
        raise Denied("cannot join: the certificate given to us is for another key")


def _fingerprint(pem: str) -> str:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise Denied("cannot join: the answer holds no certificate", "check the URL") from error
    der = certificate.public_bytes(serialization.Encoding.DER)
    return hashlib.sha256(der).hexdigest()


def _csr(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> None:
    """Readable by root only, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.rename(path)


def _unreachable(url: str, error: Exception) -> Transient:
    return Transient(f"cannot reach the control plane at {url}: {error}", "check that it runs")
