"""ID tokens of an issuer that lies: each claim, the signature and the sender are checked."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from porter.domain.errors import Denied, Invalid, Transient
from porter.web.login import local
from porter.web.oidc import Identified, Issuer, derive

CLIENT, SECRET, BACK = "porter", "a-client-secret-of-the-tests", "http://127.0.0.1:1/login/callback"
BROWSER = "b" * 43
"""The browser's login secret."""


class Liar(ThreadingHTTPServer):
    """An issuer that answers as it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"})
        self.reset()

    def reset(self) -> None:
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.signer: Any = None
        self.raw: str | None = None
        self.metadata: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {"sub": "ann", "name": "Ann"}
        self.seen: list[tuple[str, dict[str, str], dict[str, str]]] = []

    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/me",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["ES256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }

    def token(self) -> dict[str, Any]:
        now = int(time.time())
        access = "an-access-token"
        half = hashlib.sha256(access.encode()).digest()[:16]
        claims = {
            "iss": self.url,
            "sub": "ann",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": derive(BROWSER, "nonce"),
            "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "ES256", "kid": "k1", **self.header}
        signed = self.raw
        if signed is None:
            signed = jwt.encode(header, claims, self.signer or self.key, [header["alg"]])
        return {"access_token": access, "token_type": "Bearer", "id_token": signed}


class Handler(BaseHTTPRequestHandler):
    server: Liar

    def do_GET(self) -> None:
        self.answer(
            {
                "/.well-known/openid-configuration": self.server.document,
                "/keys": lambda: {"keys": [{"kty": "new"}, self.server.key.as_dict(private=False)]},
                "/me": lambda: self.server.userinfo,
            }[self.path]()
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.seen.append((self.path, dict(parse_qsl(body)), dict(self.headers)))
        self.answer(self.server.token())

    def answer(self, found: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def running() -> Iterator[Liar]:
    with Liar() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture
def liar(running: Liar) -> Liar:
    running.reset()
    return running


def identify(liar: Liar, issuer: Issuer | None = None, **changes: str) -> Identified:
    issuer = issuer or Issuer(liar.url, CLIENT, SECRET, BACK)
    return issuer.identify({"code": "c", "iss": liar.url, **changes}, BROWSER)


def test_the_way_there_and_back(liar: Liar) -> None:
    issuer = Issuer(liar.url, CLIENT, SECRET, BACK)
    asked = parse_qs(urlsplit(issuer.authorization_url(BROWSER)).query)
    assert asked["scope"] == ["openid profile email"]
    assert asked["code_challenge_method"] == ["S256"]
    assert identify(liar, issuer) == Identified(liar.url, "ann", "Ann", "")
    ((_, form, headers),) = liar.seen
    challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
    told = base64.urlsafe_b64encode(challenge).decode().rstrip("=")
    assert asked["code_challenge"] == [told]
    assert "client_secret" not in form
    basic = base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode()
    assert basic == f"{CLIENT}:{SECRET}"
    # What goes over the wire is never the browser's secret itself.
    assert BROWSER not in str(asked) + str(form)


def test_a_public_client_names_itself(liar: Liar) -> None:
    identify(liar, Issuer(liar.url, CLIENT, "", BACK))
    ((_, form, headers),) = liar.seen
    assert form["client_id"] == CLIENT
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": [CLIENT, "other"]},
        {"aud": [CLIENT, "other"], "azp": "other"},
        {"azp": "other"},
        {"aud": None},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"exp": "never"},
        {"iat": int(time.time()) + 3600},
        {"iat": None},
        {"nbf": int(time.time()) + 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"at_hash": "of-another-token"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
    ],
    ids=lambda claims: "-".join(claims),
)
def test_each_claim_is_checked(liar: Liar, claims: dict[str, Any]) -> None:
    liar.claims = claims
    liar.userinfo["sub"] = claims.get("sub", "ann")
    with pytest.raises(Denied):
        identify(liar)


def test_a_foreign_signature_is_refused(liar: Liar) -> None:
    liar.signer = ECKey.generate_key("P-256", {"kid": "k1"})
    with pytest.raises(Denied, match="not valid"):
        identify(liar)


@pytest.mark.parametrize("listed", [["ES256"], ["ES256", "HS256", "none"]])
def test_what_both_sides_know_signs_nothing(liar: Liar, listed: list[str]) -> None:
    liar.metadata["id_token_signing_alg_values_supported"] = listed
    liar.header, liar.signer = {"alg": "HS256"}, OctKey.import_key(SECRET)
    with pytest.raises(Denied, match="not valid"):
        identify(liar)
    claims = liar.token()["id_token"].split(".")[1]
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    for raw in (f"{none}.{claims}.", "", "a.b.c", "nothing"):
        liar.raw = raw
        with pytest.raises(Denied, match="not valid"):
            identify(liar)


def test_the_issuer_may_change_its_key(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer(liar.url, CLIENT, SECRET, BACK)
    identify(liar, issuer)
    old = liar.key
    liar.key = ECKey.generate_key("P-256", {"kid": "k2", "use": "sig", "alg": "ES256"})
    liar.header = {"kid": "k2"}
    with pytest.raises(Denied):
        identify(liar, issuer)  # it has just been asked for its keys
    monkeypatch.setattr("porter.web.oidc.AGAIN_S", 0.0)
    assert identify(liar, issuer).subject == "ann"
    liar.key = old


def test_the_sender_is_checked(liar: Liar) -> None:
    with pytest.raises(Denied, match="another issuer"):
        identify(liar, iss="https://evil.example")
    issuer = Issuer(liar.url, CLIENT, SECRET, BACK)
    with pytest.raises(Denied, match="another issuer"):
        issuer.identify({"code": "c"}, BROWSER)
    with pytest.raises(Denied, match="login_required"):
        identify(liar, error="login_required")
    assert not liar.seen


def test_userinfo_of_somebody_else_is_refused(liar: Liar) -> None:
    liar.userinfo = {"sub": "bob", "name": "Bob"}
    with pytest.raises(Denied, match="somebody else"):
        identify(liar)


def test_the_id_token_counts_more_than_userinfo(liar: Liar) -> None:
    liar.claims = {"name": "Ann of the token"}
    assert identify(liar).name == "Ann of the token"


def test_a_document_of_another_issuer_is_not_used(liar: Liar) -> None:
    liar.metadata["issuer"] = "https://evil.example"
    with pytest.raises(Transient, match="evil"):
        identify(liar)


def test_endpoints_elsewhere_must_be_https(liar: Liar) -> None:
    liar.metadata["token_endpoint"] = "http://evil.example/token"
    with pytest.raises(Transient, match="token_endpoint"):
        identify(liar)


def test_an_issuer_that_is_away_is_no_refusal() -> None:
    with pytest.raises(Transient, match="does not answer"):
        Issuer("http://127.0.0.1:1", CLIENT, SECRET, BACK).authorization_url(BROWSER)


@pytest.mark.parametrize("url", ["", "http://login.example", "ftp://127.0.0.1", "login.example"])
def test_only_https_issuers(url: str) -> None:
    with pytest.raises(Invalid):
        Issuer(url, CLIENT, SECRET, BACK)


@pytest.mark.parametrize("path", ["/", "/hosts?site=lab#x", "/a//b", "/a:b", "/%2F%2Fx", "/ x"])
def test_paths_that_stay(path: str) -> None:
    assert local(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "//x",
        "///x",
        "/\\x",
        "\\/x",
        "https://x",
        "javascript:1",
        "/\n/x",
        "/\t/x",
        "/\x00",
    ],
)
def test_paths_that_lead_away(path: str) -> None:
    assert local(path) == "/"
