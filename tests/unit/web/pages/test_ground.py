"""What every page stands on, without a browser."""

from __future__ import annotations

import re

import httpx
import pytest

from porter.web.pages import files
from tests.unit.web.conftest import Serving


def test_pages_are_for_people_who_are_logged_in(serving: Serving) -> None:
    with serving.client(token=None) as nobody:
        answer = nobody.get("/hosts?site=onprem")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/login?next=%2Fhosts%3Fsite%3Donprem"
        assert answer.headers["cache-control"] == "no-store"
        piece = nobody.get("/hosts", headers={"HX-Request": "true"})
        assert (piece.status_code, piece.headers["hx-redirect"]) == (204, "/login")


def test_pages_are_not_kept_and_files_are_for_ever(serving: Serving) -> None:
    with serving.client() as reader:
        page = reader.get("/hosts")
        assert page.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        paths = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        assert paths
        for path in paths:
            answer = reader.get(path)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
        changed = re.sub("/static/.", "/static/x", paths[0])
        assert reader.get(changed).status_code == 404
        for outside in ("../ground.py", "..%2fground.py", "vendor/.stamp"):
            assert reader.get(f"/static/0/{outside}").status_code == 404


def test_refusals_are_pages(serving: Serving) -> None:
    with serving.client() as reader:
        answer = reader.get("/hosts/nope")
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "What to do" in answer.text
        assert "&#39;nope&#39;" in answer.text


def test_a_page_carries_its_request_id_to_the_api(serving: Serving) -> None:
    with serving.client() as reader:
        answer = reader.get("/sites", headers={"X-Request-Id": "from-me"})
        assert answer.headers["x-request-id"] == "from-me"


def test_a_page_shows_what_its_reader_may_see(serving: Serving) -> None:
    token = httpx.post(
        f"{serving.url}/v1/tokens",
        json={"name": "reader", "scopes": ["read"], "project": "other"},
        headers={"Authorization": "Bearer the-api-token"},
        trust_env=False,
    )
    assert token.status_code == 201, token.text
    with serving.client(token.json()["token"]) as reader:
        assert reader.get("/").status_code == 200
        assert "Verify rights" not in reader.get("/sites/onprem").text
    with serving.client() as root:
        assert "Verify rights" in root.get("/sites/onprem").text


def test_without_the_files_of_others_pages_work_and_say_so(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "VENDOR", ("vendor/never-fetched.js",))
    with serving.client() as reader:
        answer = reader.get("/hosts")
    assert answer.status_code == 200
    assert "front-end files are missing" in answer.text
    assert "vendor/" not in answer.text
