"""`porter price` against a stub of the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter.cli import app as app_module
from porter.cli import client
from porter.cli.main import COMMANDS, main

QUOTE = {
    "site": "aws:eu-west-1",
    "item": "t3.medium",
    "amount": "0.0456",
    "currency": "USD",
    "unit": "hour",
    "as_of": "2026-11-23T10:00:00+00:00",
    "source": "aws price list",
    "terms": "on_demand",
}
UNKNOWN = {**QUOTE, "item": "x9.huge", "amount": None, "as_of": "", "source": "no price is known"}
MOVING = {
    "bytes": 500_000_000,
    "amount": "0.025",
    "currency": "EUR",
    "as_of": "2026-11-01",
    "source": "/etc/porter/prices.toml",
}
COMPARISON = {
    "workload": "shop",
    "host": "rack1",
    "site": "onprem",
    "memory_bytes": 500_000_000,
    "needs_bytes": 2_073_741_824,
    "here": {**QUOTE, "site": "onprem", "item": "rack1", "currency": "EUR", "terms": "own"},
    "monthly": "33.29",
    "choices": [
        {
            "cpus": 2,
            "memory_bytes": 4 << 30,
            "quote": QUOTE,
            "monthly": "33.29",
            "moving": MOVING,
        },
        {
            "cpus": 64,
            "memory_bytes": 256 << 30,
            "quote": UNKNOWN,
            "monthly": None,
            "moving": {**MOVING, "amount": None},
        },
    ],
    "problems": [{"site": "gcp:europe-west1", "reason": "cannot reach it"}],
}


class Stub:
    def __init__(self) -> None:
        self.answer: Any = []
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return httpx.Response(200, json=self.answer)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stub:
    stub = Stub()

    def connect(self: app_module.App) -> client.Api:
        return client.Api(self.url, self.token_file, httpx.MockTransport(stub))

    monkeypatch.setattr(app_module.App, "api", property(connect))
    monkeypatch.setitem(COMMANDS, "price", ("porter.cli.prices:price", "Prices."))
    monkeypatch.setenv("PORTER_STATE", str(tmp_path))
    return stub


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_prices_as_a_table(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answer = [QUOTE, UNKNOWN]
    code, out, err = run(capsys, "price", "show")
    assert (code, err) == (0, "")
    priced = next(line for line in out.splitlines() if "t3.medium" in line)
    for piece in ("aws:eu-west-1", "0.0456", "USD", "hour", "2026-11-23", "aws price list"):
        assert piece in priced
    unknown = next(line for line in out.splitlines() if "x9.huge" in line)
    assert "unknown" in unknown
    assert "no price is known" in unknown
    assert "0.0 " not in unknown


def test_what_is_asked(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--site", "aws:eu-west-1", "--type", "t3.medium", "--type", "a&b", "--terms", "spot"]
    code, out, _ = run(capsys, "price", "show", *argv, "--json")
    assert (code, json.loads(out)) == (0, [])
    url = stub.seen[0].url
    assert url.path == "/v1/prices"
    assert url.params.get_list("type") == ["t3.medium", "a&b"]
    assert (url.params["site"], url.params["terms"]) == ("aws:eu-west-1", "spot")


def test_no_prices_and_no_site_to_ask(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "price", "show")
    assert code == 0
    assert "No prices" in out
    assert "site" not in stub.seen[0].url.params


def test_unknown_terms_are_refused(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "price", "show", "--terms", "free")
    assert code == 2
    assert "reserved-1y" in err
    assert stub.seen == []


def test_a_workload_is_compared(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answer = COMPARISON
    code, out, err = run(capsys, "price", "compare", "a/b", "--cpus", "2", "--bytes", "7")
    assert (code, err) == (0, "")
    url = stub.seen[0].url
    assert url.raw_path.startswith(b"/v1/workloads/a%2Fb/prices?")
    assert (url.params["cpus"], url.params["bytes"]) == ("2", "7")
    assert "shop on rack1 at onprem" in out
    assert "33.29 EUR a month" in out
    cheapest = next(line for line in out.splitlines() if "t3.medium" in line)
    assert "33.29 USD" in cheapest
    assert "0.025 EUR" in cheapest
    dearest = next(line for line in out.splitlines() if "x9.huge" in line)
    assert dearest.count("unknown") == 2
    assert "gcp:europe-west1: cannot reach it" in out


def test_the_comparison_as_json(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answer = COMPARISON
    code, out, _ = run(capsys, "price", "compare", "shop", "--json")
    assert (code, json.loads(out)) == (0, COMPARISON)
    assert "bytes" not in stub.seen[0].url.params
