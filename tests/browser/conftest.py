"""Chromium against real listeners. Every picture lands in tests/browser/artefacts."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from porter import settings as settings_module
from porter.db.base import HostRecord
from porter.db.registry import Identity
from porter.db.rows import new_id
from porter.protocol.joining import FoundWorkload, Heartbeat
from porter.web.access import SESSION
from porter.web.app import public_app
from porter.web.pulse import Pulse
from porter.web.server import _listener
from porter.wiring import ControlPlane, authority, control_plane
from tests.saga.simulation import facts
from tests.schema import upgrade

ARTEFACTS = Path(__file__).parent / "artefacts"
AXE = Path(__file__).parents[2] / "build/assets/node_modules/axe-core/axe.min.js"
TOKEN = "the-api-token"
CHROMIUM = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--no-proxy-server"),
]
DESK, PHONE = (1280, 900), (390, 844)
LOOKS = (("light", DESK), ("dark", DESK), ("light", PHONE))
"""In which every page is looked at."""
GB = 1 << 30


@dataclass
class Office:
    """A control plane behind a real listener, whose hosts only say what a test has them say."""

    control: ControlPlane
    url: str
    enqueued: list[str]

    def host(self, name: str, site: str, used: float = 0.3, alive: bool = True) -> HostRecord:
        """Let a host join. A dead one was last heard of an hour ago."""
        now = time.time() - (0 if alive else 3600)
        told = replace(facts(name), memory_total=16 * GB, memory_free=int((1 - used) * 16 * GB))
        identity = Identity(new_id("s"), new_id("f"), "")
        return self.control.registry.enrol(new_id("h"), name, site, identity, told, now)

    def beat(self, host: HostRecord, *names: str, size: int = GB // 4) -> None:
        """A heartbeat with these workloads."""
        assert host.facts is not None
        found = tuple(
            FoundWorkload(name, f"c-{name}", name, "running", "10.77.1.2", "redis:7", size)
            for name in names
        )
        self.control.found.heartbeat(host, Heartbeat(host.facts, found), time.time())

    def keep_alive(self) -> None:
        """All that were heard of within the last minutes are heard of again."""
        now = time.time()
        for host in self.control.registry.hosts():
            if host.last_seen is not None and host.last_seen > now - 600:
                self.control.registry.seen(host.id, now)

    def api(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=20)

    def cookie(self) -> dict[str, Any]:
        """That of a session of root, as a browser keeps it."""
        secret, _ = self.control.identity.begin_session(None, time.time())
        return {"name": SESSION, "value": secret, "url": self.url}


class _Queue:
    def __init__(self, enqueued: list[str]) -> None:
        self.enqueue = self.reap = self.carry = self.deliver = enqueued.append


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An empty one."""
    own = socket.socket()
    own.bind(("127.0.0.1", 0))
    port = own.getsockname()[1]
    settings = settings_module.load(
        {"PORTER_STATE": str(tmp_path), "PORTER_LISTEN": f"127.0.0.1:{port}"}
    )
    control = control_plane(settings)
    upgrade(control.database)
    enqueued: list[str] = []
    object.__setattr__(control, "queue", _Queue(enqueued))
    pulse = Pulse(control.desk.pulse)
    listener = _listener(
        public_app(control, authority(settings), pulse, TOKEN), settings.listen, None
    )
    thread = threading.Thread(target=lambda: asyncio.run(listener.serve([own])), daemon=True)
    thread.start()
    while not listener.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    yield Office(control, f"http://127.0.0.1:{port}", enqueued)
    pulse.close()
    listener.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    own.close()
    control.close()


@pytest.fixture
def busy(office: Office) -> Office:
    """Three sites, one host down, a migration under way."""
    hosts = [
        office.host("rack-1", "onprem", 0.55),
        office.host("rack-2", "onprem", 0.93),
        office.host("edge-7", "aws:eu-west-1", 0.2, alive=False),
        office.host("c5-a", "aws:eu-west-1", 0.4),
        office.host("n2-a", "gcp:europe-west1", 0.1),
    ]
    office.beat(hosts[0], "shop", "shop-cache", "search", "billing", "mail")
    office.beat(hosts[1], *(f"render-{n:02}" for n in range(17)))
    office.beat(hosts[3], "queue", "sessions")
    with office.api() as api:
        answer = api.post("/v1/migrations", json={"workload": "shop", "to": "n2-a", "mode": "cold"})
        assert answer.status_code == 202, answer.text
    return office


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Makes browser contexts; what a page complains of on its console fails the test."""
    made: list[BrowserContext] = []
    complaints: list[str] = []

    def new(scheme: Any = "light", size: tuple[int, int] = DESK, **more: Any) -> BrowserContext:
        viewport: Any = {"width": size[0], "height": size[1]}
        one = browser.new_context(color_scheme=scheme, viewport=viewport, **more)
        one.set_default_timeout(15_000)
        one.on("console", lambda said: _note(complaints, said.type, said.text, said.page))
        one.on("weberror", lambda error: complaints.append(str(error.error)))
        made.append(one)
        return one

    yield new
    for one in made:
        one.close()
    assert not complaints, complaints


def _note(complaints: list[str], kind: str, text: str, page: Page | None) -> None:
    # Chromium also writes down every answer that is an error: the page shows those.
    if kind == "error" and not text.startswith("Failed to load resource"):
        complaints.append(f"{page.url if page else ''}: {text}")


def shot(page: Page, name: str, whole: bool = True) -> Path:
    """Keep a picture of the page as it is."""
    ARTEFACTS.mkdir(exist_ok=True)
    path = ARTEFACTS / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path


def violations(page: Page) -> list[str]:
    """What axe finds wrong, in words; all of its rules for WCAG 2.2 AA and good practice."""
    # Evaluated through the debugger: the page's own policy lets no such script in.
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run()")
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:4]}"
        for one in found["violations"]
    ]


def settled(page: Page, path: str) -> Page:
    """Open a page and wait for the pieces that it fetches later."""
    page.goto(path)
    page.wait_for_function("() => !document.querySelector('[hx-trigger=load]')")
    return page


def tour(page: Page, office: Office, pages: dict[str, str], look: str) -> dict[str, list[str]]:
    """Open each page (name -> path), keep its picture, and say what is wrong with it, if anything:
    what axe finds, and what is wider than the window."""
    found = {}
    for name, path in pages.items():
        office.keep_alive()
        settled(page, path)
        shot(page, f"{name}-{look}")
        wrong = violations(page)
        wide = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            wrong.append(f"{wide} pixels wider than the window")
        if wrong:
            found[name] = wrong
    return found
