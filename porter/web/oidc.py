"""Logging in at an OpenID Connect issuer: authorization code flow with PKCE, state and nonce.

State, nonce and PKCE's verifier are derived from one secret that only the browser holds, in a
cookie: whoever brings a code back must be the browser that went away.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import logging
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet

from porter.domain.errors import Denied, Invalid, Transient

log = logging.getLogger(__name__)

BASIC = "client_secret_basic"

SCOPE = "openid profile email"
ALGORITHMS = frozenset(
    f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA", "Ed25519"}
"""An issuer signs with a key of its own: secrets that both sides know do not count."""
LEEWAY_S = 60
"""So far may clocks be apart."""
FRESH_S = 3600.0
AGAIN_S = 10.0
"""Keys are not fetched more often, whatever comes in."""
TIMEOUT = httpx.Timeout(10.0)
NAME_LENGTH = 255
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_BEGIN_AGAIN = "begin again at /login"


@dataclass(frozen=True)
class Identified:
    """Whom the issuer vouches for."""

    issuer: str
    subject: str
    name: str
    email: str


def derive(secret: str, purpose: str) -> str:
    """43 characters that tell nothing of the secret."""
    mac = hmac.new(secret.encode(), purpose.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


class Issuer:
    """One issuer and this control plane as its client. Calls block; safe to share by threads."""

    def __init__(self, url: str, client_id: str, secret: str, redirect_uri: str) -> None:
        """`secret` is empty for a public client. Raises Invalid for a URL that is not safe."""
        if not _safe(url):
            raise Invalid(
                f"cannot use {url!r} as PORTER_OIDC_ISSUER: it is no https URL",
                "set it to the issuer's URL, as its discovery document names it",
            )
        self.url = url
        self._client_id = client_id
        self._secret = secret
        self._redirect_uri = redirect_uri
        self._lock = threading.Lock()
        self._known: _Known | None = None

    def authorization_url(self, secret: str) -> str:
        """Where the browser that holds this secret goes. Raises Transient."""
        known = self._discover()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._client_id,
                "redirect_uri": self._redirect_uri,
                "scope": SCOPE,
                "state": derive(secret, "state"),
                "nonce": derive(secret, "nonce"),
                "code_challenge": create_s256_code_challenge(derive(secret, "verifier")),
                "code_challenge_method": "S256",
            }
        )
        endpoint = known.endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    def identify(self, answer: Mapping[str, str], secret: str) -> Identified:
        """Who has logged in, from what the browser brought back. Raises Denied or Transient.

        That `state` belongs to the secret is the caller's to check.
        """
        known = self._discover()
        self._check_sender(known, answer)
        tokens = self._redeem(known, answer.get("code", ""), derive(secret, "verifier"))
        access = str(tokens.get("access_token") or "")
        claims = self._claims(str(tokens.get("id_token") or ""), access, derive(secret, "nonce"))
        told = {**self._userinfo(known, access, claims["sub"]), **claims}
        email = str(told.get("email") or "")
        name = told.get("name") or told.get("preferred_username") or email or claims["sub"]
        return Identified(self.url, claims["sub"], str(name)[:NAME_LENGTH], email[:NAME_LENGTH])

    def _check_sender(self, known: _Known, answer: Mapping[str, str]) -> None:
        """An answer says which issuer it is of (RFC 9207), where that one promises to."""
        promised = bool(known.metadata.get("authorization_response_iss_parameter_supported"))
        if ("iss" in answer or promised) and answer.get("iss") != self.url:
            raise Denied("cannot log in: the answer is of another issuer", _BEGIN_AGAIN)
        if "error" in answer:
            why = "".join(c for c in answer["error"][:64] if c.isalnum() or c == "_")
            raise Denied(f"cannot log in: the issuer answered {why}", _BEGIN_AGAIN)

    def _redeem(self, known: _Known, code: str, verifier: str) -> dict[str, Any]:
        """The tokens that a code is good for, once."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Accept": "application/json"}
        ways = known.metadata.get("token_endpoint_auth_methods_supported", [BASIC])
        if self._secret and BASIC in ways:
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = self._client_id
            if self._secret:
                form["client_secret"] = self._secret
        return _ask("POST", known.endpoint("token_endpoint"), headers, form)

    def _claims(self, token: str, access: str, nonce: str) -> dict[str, Any]:
        """The ID token's claims, once all of it has been checked."""
        try:
            try:
                read = self._discover().read(token)
            except (JoseError, ValueError):
                # The issuer may have changed its keys.
                read = self._discover(AGAIN_S).read(token)
            claims = CodeIDToken(
                read.claims,
                read.header,
                {
                    "iss": {"essential": True, "value": self.url},
                    "aud": {"essential": True, "value": self._client_id},
                },
                {"nonce": nonce, "client_id": self._client_id, "access_token": access},
            )
            claims.validate(leeway=LEEWAY_S)
        except (JoseError, ValueError) as error:
            log.warning("refused an ID token of %s: %s", self.url, error)
            raise Denied(
                "cannot log in: the issuer's ID token is not valid", _BEGIN_AGAIN
            ) from error
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= NAME_LENGTH:
            raise Denied("cannot log in: the issuer names no subject", _BEGIN_AGAIN)
        return dict(claims)

    def _userinfo(self, known: _Known, access: str, subject: str) -> dict[str, Any]:
        """Name and address, where the ID token does not tell them."""
        if not access or "userinfo_endpoint" not in known.metadata:
            return {}
        headers = {"Authorization": f"Bearer {access}"}
        told = _ask("GET", known.endpoint("userinfo_endpoint"), headers)
        if told.get("sub") != subject:
            raise Denied("cannot log in: the issuer tells of somebody else", _BEGIN_AGAIN)
        return told

    def _discover(self, older_than: float = FRESH_S) -> _Known:
        """What the issuer says of itself, and its keys; fetched unless both are fresh."""
        with self._lock:
            known = self._known
            if known is not None and time.monotonic() - known.fetched < older_than:
                return known
            where = f"{self.url.rstrip('/')}/.well-known/openid-configuration"
            found = _ask("GET", where)
            if found.get("issuer") != self.url:
                raise Transient(
                    f"cannot log in: {where} is of the issuer {found.get('issuer')!r}",
                    "set PORTER_OIDC_ISSUER to exactly that",
                )
            known = _Known(found, KeySet([]), time.monotonic())
            listed = _ask("GET", known.endpoint("jwks_uri")).get("keys") or []
            self._known = replace(known, keys=KeySet(_keys(listed)))
            return self._known


@dataclass(frozen=True)
class _Known:
    """An issuer's discovery document and keys. `fetched`: on the monotonic clock."""

    metadata: dict[str, Any]
    keys: KeySet
    fetched: float

    def endpoint(self, name: str) -> str:
        found = str(self.metadata.get(name) or "")
        if not _safe(found):
            raise Transient(
                f"cannot log in: the issuer's {name} is no https URL", "ask whoever runs it"
            )
        return found

    def read(self, token: str) -> jwt.Token:
        """The token, if one of the keys has signed it. Raises JoseError or ValueError."""
        offered = self.metadata.get("id_token_signing_alg_values_supported", ["RS256"])
        return jwt.decode(token, self.keys, sorted(ALGORITHMS.intersection(offered)))


def _keys(listed: list[dict[str, Any]]) -> list[Key]:
    """Those that can verify signatures. Others, and ones of new kinds, are passed over."""
    found: list[Key] = []
    for one in listed:
        if one.get("use", "sig") == "sig" and one.get("kty") in ("RSA", "EC", "OKP"):
            with contextlib.suppress(JoseError, ValueError):
                found.append(JWKRegistry.import_key(one))
    return found


def _safe(url: str) -> bool:
    """https, or this very machine."""
    parts = urlsplit(url)
    return (parts.scheme == "https" and bool(parts.hostname)) or _here(url)


def _here(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK


@cache
def _trust() -> ssl.SSLContext:
    """Reading the authorities' certificates takes longer than asking."""
    return httpx.create_ssl_context()


def _ask(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the issuer answers. Raises Transient if it does not, Denied if it refuses."""
    try:
        # A proxy of the surroundings has no business between us and this machine.
        with httpx.Client(verify=_trust(), timeout=TIMEOUT, trust_env=not _here(url)) as client:
            answer = client.request(method, url, headers=headers, data=form)
            found = answer.json() if answer.content else {}
    except (httpx.HTTPError, ValueError) as error:
        raise Transient(
            f"cannot log in: the issuer does not answer ({type(error).__name__})",
            "try again; see that PORTER_OIDC_ISSUER can be reached from the control plane",
        ) from error
    if answer.is_server_error or not isinstance(found, dict):
        raise Transient(f"cannot log in: the issuer answered {answer.status_code}", "try again")
    if not answer.is_success:
        # Its description may hold what was sent: only the code of the error is told.
        log.warning("%s %s: %s %.64s", method, url, answer.status_code, found.get("error"))
        raise Denied("cannot log in: the issuer refuses", _BEGIN_AGAIN)
    return found
