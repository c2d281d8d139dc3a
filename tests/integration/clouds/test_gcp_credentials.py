"""Real credentials over real TLS: what is sent where, and what is told when they are refused."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import credentials, jwt

from porter.domain.errors import Denied
from porter.domain.site import SiteKind
from porter.lab.clouds.gcp.server import Google
from porter.providers.base import Provider, SiteConfig
from porter.providers.registry import open_site

pytestmark = pytest.mark.integration
ACCOUNT = "porter@porter-lab.iam.gserviceaccount.com"


@dataclass
class Secure:
    """Google behind TLS, with a token service of its own."""

    url: str = ""
    public: bytes = b""
    """The key that vouches for the account; none once it is revoked."""
    google: Google = field(default_factory=lambda: Google("porter-lab", "europe-west1"))
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Paths and what they were authorised with."""

    def good(self, sent: str) -> bool:
        """google-cloud-compute signs tokens itself; the plain session has one from /token."""
        if sent == "good":
            return True
        try:
            return bool(jwt.decode(sent, self.public)["iss"] == ACCOUNT)
        except (ValueError, KeyError):
            return False

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, Any]]:
        raw = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if handler.path == "/token":
            if not self.public:
                return 400, {"error": "invalid_grant", "error_description": "hush"}
            return 200, {"access_token": "good", "expires_in": 3600, "token_type": "Bearer"}
        sent = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        self.seen.append((handler.path, sent))
        if not self.good(sent):
            return 401, {"error": {"code": 401, "message": "Invalid Credentials"}}
        found = self.google.answer(handler.command, handler.path, raw)
        return found.status, found.body


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    place = Secure()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            status, body = place.answer(self)
            told = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        do_POST = do_GET

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    # google-auth asks in the background where an account may be used, always of Google itself.
    refresh = "_maybe_start_regional_access_boundary_refresh"
    monkeypatch.setattr(credentials.CredentialsWithRegionalAccessBoundary, refresh, lambda *_: None)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    place.url = f"https://127.0.0.1:{server.server_port}"
    yield place
    server.shutdown()
    server.server_close()
    thread.join()
    assert place.google.violations == []


@pytest.fixture
def key(secure: Secure) -> str:
    """A service account's key file."""
    private = rsa.generate_private_key(65537, 2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secure.public = private.public_key().public_bytes(
        encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    pem = private.private_bytes(encoding, form, serialization.NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "porter-lab",
            "private_key_id": "1",
            "private_key": pem,
            "client_email": ACCOUNT,
            "token_uri": f"{secure.url}/token",
        }
    )


def opened(secure: Secure, secrets: dict[str, str]) -> Provider:
    names = ("endpoint", "dns_endpoint", "resourcemanager_endpoint", "iam_endpoint")
    settings = {"project": "porter-lab", **dict.fromkeys(names, secure.url)}
    return open_site(SiteConfig("gcp:x", SiteKind.GCP, "europe-west1", settings, secrets))


def use(provider: Provider) -> None:
    assert provider.hosts is not None
    assert provider.dns is not None
    assert provider.rights is not None
    assert provider.hosts.find("p-key") is None
    assert provider.rights.check()[0].granted
    with pytest.raises(Exception, match="cannot find a zone"):
        provider.dns.record("shop.example.test")


@pytest.mark.parametrize("way", ["secret", "environment"])
def test_every_call_is_authorised(
    secure: Secure, key: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "environment":
        (tmp_path / "key.json").write_text(key)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    use(opened(secure, {"service_account_json": key} if way == "secret" else {}))
    assert {path.split("/")[1] for path, _ in secure.seen} == {"compute", "dns", "v1"}
    assert all(secure.good(sent) for _, sent in secure.seen)


def test_a_revoked_key_is_denied_and_not_quoted(secure: Secure, key: str) -> None:
    secure.public = b""
    provider = opened(secure, {"service_account_json": key})
    assert provider.hosts is not None
    assert provider.dns is not None
    assert provider.rights is not None
    with pytest.raises(Denied, match="check the credentials"):
        provider.hosts.find("p-key")
    with pytest.raises(Denied, match="no valid Google credentials") as caught:
        provider.dns.record("shop.example.test")
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert provider.rights.check()[0].granted is False


def test_no_credentials_at_all_are_told(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    def none(**_: Any) -> Any:
        raise DefaultCredentialsError("none found")

    # The chain's last link would ask the metadata server, which is not on loopback.
    monkeypatch.setattr(cast(Any, google.auth), "default", none)
    provider = opened(secure, {})
    assert provider.hosts is not None
    with pytest.raises(Denied, match="service_account_json"):
        provider.hosts.find("p-key")
