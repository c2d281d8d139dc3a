"""/v1/prices and /v1/workloads/NAME/prices, on a control plane with a database of its own."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from porter import settings as settings_module
from porter.db.registry import Identity
from porter.domain.errors import Transient
from porter.protocol.joining import FoundWorkload, Heartbeat
from porter.providers.fake import WORLDS, World
from porter.web.app import public_app
from porter.web.pulse import Pulse
from porter.web.server import _listener
from porter.wiring import ControlPlane, authority, control_plane
from tests.saga.simulation import facts

GIB = 1 << 30


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlane]:
    file = tmp_path / "prices.toml"
    file.write_text(
        'currency = "EUR"\nas_of = 2026-11-01\n[power]\nprice_kwh = 0.28\n'
        "[hosts.rack1]\nwatts = 180\npurchase = 3200\nmonths = 48\n"
        "[egress]\ninternet = 0.05\n"
    )
    monkeypatch.setenv("PORTER_PRICE_FILE", str(file))
    made = control_plane(settings_module.load({"PORTER_STATE": str(tmp_path)}))
    made.database.upgrade()
    yield made
    made.close()


def site(control: ControlPlane, name: str, **settings: str) -> World:
    settings.setdefault("world", uuid.uuid4().hex)
    kind = name.partition(":")[0]
    region = name.partition(":")[2]
    sealed = control.vault.seal(name, {})
    control.site_book.add(name, kind, region, settings, sealed, time.time())
    control.sites.open(name)
    return WORLDS.get(settings["world"], World())


def home(control: ControlPlane, memory: int = 500_000_000) -> None:
    """The workload `shop` on the on-prem host `rack1`."""
    now = time.time()
    host = control.registry.enrol("h1", "rack1", "onprem", Identity("1", "f"), facts("rack1"), now)
    shop = FoundWorkload("shop", "c1", "shop", "running", "10.77.1.5", "img", memory)
    control.found.heartbeat(host, Heartbeat(facts("rack1"), (shop,)), now)


@pytest.fixture
def api(control: ControlPlane) -> Iterator[httpx.Client]:
    issuer = authority(control.settings)
    app = public_app(control, issuer, Pulse(control.desk.pulse), "token")
    own = socket.socket()
    own.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{own.getsockname()[1]}"
    listener = _listener(app, address, None)
    thread = threading.Thread(target=lambda: listener.run([own]), daemon=True)
    thread.start()
    while not listener.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    headers = {"Authorization": "Bearer token"}
    with httpx.Client(
        base_url=f"http://{address}", headers=headers, trust_env=False, timeout=20
    ) as client:
        yield client
    listener.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    own.close()


def get(api: httpx.Client, path: str, **query: Any) -> Any:
    answer = api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_prices_of_named_types(control: ControlPlane, api: httpx.Client) -> None:
    site(control, "fake:west")
    found = get(api, "/v1/prices", site="fake:west", type=["small", "unpriced", "none"])
    assert [(one["item"], one["amount"]) for one in found] == [
        ("small", "0.02"),
        ("unpriced", None),
        ("none", None),
    ]
    assert all(one["site"] == "fake:west" and one["source"] for one in found)
    assert found[0]["currency"] == "USD"


def test_prices_of_everything_there_is(control: ControlPlane, api: httpx.Client) -> None:
    site(control, "fake:west")
    home(control)
    found = {(one["site"], one["item"]): one for one in get(api, "/v1/prices")}
    assert {item for place, item in found if place == "fake:west"} == {
        "small",
        "large",
        "unpriced",
        "arm",
    }
    rack = found["onprem", "rack1"]
    wanted = Decimal("0.18") * Decimal("0.28") + Decimal(3200) / 48 / 730
    assert Decimal(rack["amount"]) == wanted.quantize(Decimal("1e-7"))
    assert (rack["currency"], rack["terms"], rack["as_of"]) == ("EUR", "own", "2026-11-01")
    assert "3200 EUR over 48 months" in rack["source"]


def test_an_unknown_site_or_term_is_refused(api: httpx.Client) -> None:
    assert api.get("/v1/prices", params={"site": "aws:nowhere"}).status_code == 404
    assert api.get("/v1/prices", params={"terms": "free"}).status_code == 422
    assert api.get("/v1/workloads/none/prices").status_code == 404


def test_a_workload_is_compared(control: ControlPlane, api: httpx.Client) -> None:
    site(control, "fake:west")
    home(control)
    found = get(api, "/v1/workloads/shop/prices")
    assert (found["host"], found["site"]) == ("rack1", "onprem")
    assert found["needs_bytes"] == 2 * 500_000_000 + GIB
    assert Decimal(found["monthly"]) == (Decimal(found["here"]["amount"]) * 730).quantize(
        Decimal("0.01")
    )
    choices = [(one["quote"]["item"], one["monthly"]) for one in found["choices"]]
    assert choices == [("small", "14.60"), ("large", "116.80"), ("unpriced", None)]
    moving = found["choices"][0]["moving"]
    assert (moving["bytes"], moving["amount"], moving["currency"]) == (
        500_000_000,
        "0.025000",
        "EUR",
    )
    assert [one["site"] for one in found["problems"]] == ["onprem"]
    assert "cannot make machines" in found["problems"][0]["reason"]


def test_needs_bound_the_choice(control: ControlPlane, api: httpx.Client) -> None:
    site(control, "fake:west")
    home(control)
    large = get(api, "/v1/workloads/shop/prices", cpus=4, bytes=10**9)
    assert [one["quote"]["item"] for one in large["choices"]] == ["large"]
    assert large["choices"][0]["moving"]["amount"] == "0.050000"
    none = get(api, "/v1/workloads/shop/prices", cpus=64)
    assert none["choices"] == []
    assert {one["site"] for one in none["problems"]} == {"fake:west", "onprem"}


def test_a_large_workload_needs_a_large_machine(control: ControlPlane, api: httpx.Client) -> None:
    site(control, "fake:west")
    home(control, memory=8 * GIB)
    found = get(api, "/v1/workloads/shop/prices")
    assert [one["quote"]["item"] for one in found["choices"]] == ["large"]


def test_a_site_that_is_away_does_not_hide_the_others(
    control: ControlPlane, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    site(control, "fake:east")
    site(control, "fake:west")
    home(control)
    opened = control.sites.open

    def away(name: str) -> Any:
        if name == "fake:east":
            raise Transient("cannot reach fake:east: it is away")
        return opened(name)

    monkeypatch.setattr(control.sites, "open", away)
    found = get(api, "/v1/workloads/shop/prices")
    assert {one["quote"]["site"] for one in found["choices"]} == {"fake:west"}
    assert {one["site"] for one in found["problems"]} == {"fake:east", "onprem"}
    rows = get(api, "/v1/prices", type="small")
    assert {one["site"]: one["amount"] for one in rows if "fake" in one["site"]} == {
        "fake:east": None,
        "fake:west": "0.02",
    }


def test_a_machine_of_ours_is_priced_by_its_type(control: ControlPlane, api: httpx.Client) -> None:
    site(control, "fake:west")
    now = time.time()
    host = control.registry.enrol("h2", "made", "fake:west", Identity("2", "g"), facts("made"), now)
    control.ledger.begin("p-1", host, None, "large", None, now)
    shop = FoundWorkload("shop", "c1", "shop", "running", "10.77.1.5", "img", 1)
    control.found.heartbeat(host, Heartbeat(facts("made"), (shop,)), now)
    found = get(api, "/v1/workloads/shop/prices")
    assert (found["here"]["item"], found["monthly"]) == ("large", "116.80")
    assert found["choices"][0]["moving"]["amount"] == "0"
