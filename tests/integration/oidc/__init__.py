"""The tests' OpenID Connect provider: npm's oidc-provider, as a process of its own."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx

HERE = Path(__file__).parent
BUILD = HERE.parents[2] / "build" / "oidc"
CLIENT_ID, CLIENT_SECRET = "porter", "a-secret-of-the-tests"


@dataclass(frozen=True)
class Provider:
    issuer: str

    def environment(self, folder: Path) -> dict[str, str]:
        """Settings with which a control plane uses it."""
        secret = folder / "client-secret"
        secret.write_text(f"{CLIENT_SECRET}\n")
        return {
            "PORTER_OIDC_ISSUER": self.issuer,
            "PORTER_OIDC_CLIENT_ID": CLIENT_ID,
            "PORTER_OIDC_CLIENT_SECRET_FILE": str(secret),
        }

    def log_in(self, browser: httpx.Client, begin: str, name: str) -> str:
        """Walk through its pages from where Porter sends the browser; where it is sent back to."""
        where, form = begin, dict[str, str]()
        for _ in range(12):
            answer = browser.post(where, data=form) if form else browser.get(where)
            form = {}
            if answer.is_redirect:
                where = urljoin(where, answer.headers["location"])
                if not where.startswith(self.issuer):
                    return where
                continue
            assert answer.status_code == 200, answer.text
            where, form = _form(where, answer.text, name)
        raise AssertionError(f"no end of the provider's pages: {where}")


def _form(where: str, page: str, name: str) -> tuple[str, dict[str, str]]:
    action = re.search(r'<form[^>]* action="([^"]+)"', page)
    assert action, page
    form = {}
    for found in re.findall(r"<input[^>]*>", page):
        given = dict(re.findall(r'(\w+)="([^"]*)"', found))
        if "name" in given:
            form[given["name"]] = unescape(given.get("value", ""))
    known = {"login": name, "password": "anything"}
    return urljoin(where, unescape(action[1])), form | {k: v for k, v in known.items() if k in form}


@contextlib.contextmanager
def provider(redirect_uri: str) -> Iterator[Provider]:
    """Fetched first if it is not there yet."""
    subprocess.run([HERE / "setup.sh"], check=True, timeout=240)
    client = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uri": redirect_uri,
    }
    process = subprocess.Popen(
        ["node", str(BUILD / "provider.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"{json.dumps(client)}\n")
        process.stdin.flush()
        issuer = process.stdout.readline().strip()
        assert issuer, "the provider did not start"
        yield Provider(issuer)
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
