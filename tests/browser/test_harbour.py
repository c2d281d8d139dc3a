"""The map while a real container really moves: somebody logs in, starts it and watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from porter.lab import load
from porter.lab.fleet import Fleet
from tests.browser.conftest import settled, shot, violations

pytestmark = pytest.mark.e2e
HOSTS = ("onprem", "cloud")
REDIS = ("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "")
FILL = 120_000_000
"""Bytes; at 200 Mbit/s a move takes some seconds to look at."""
# Notes down where the workload is drawn on its way, at most twenty times a second.
WATCH = """
() => {
  window.seen = [];
  setInterval(() => {
    const ship = document.querySelector('[data-ship="shop"]');
    if (!ship || ship.hasAttribute("hidden")) return;
    const box = ship.querySelector(".hull").getBoundingClientRect();
    const last = window.seen[window.seen.length - 1];
    const now = { done: Number(ship.dataset.done), x: Math.round(box.x), y: Math.round(box.y) };
    if (!last || last.done !== now.done) window.seen.push(now);
  }, 50);
}
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    fleet = Fleet("quay")
    try:
        fleet.up(HOSTS, link_mbit=200)
        address = fleet.run("onprem", "shop", *REDIS)
        fill = [sys.executable, load.__file__, "fill", address, "6379", "--bytes", str(FILL)]
        fleet.lab.exec("wan", fill, timeout=60, check=True)
        yield fleet
    finally:
        fleet.down()


def test_the_map_moves_while_a_workload_moves(
    fleet: Fleet, context: Callable[..., BrowserContext]
) -> None:
    page = context(base_url=f"http://127.0.0.1:{fleet.port}").new_page()
    page.goto("/")
    token = (fleet.state / "api-token").read_text().strip()
    assert not violations(page)
    shot(page, "login")
    page.get_by_label("first token").fill(token)
    page.get_by_role("button", name="Log in with the token").click()
    page.wait_for_url("**/")
    onprem = page.get_by_role("list", name="Workloads on onprem")
    cloud = page.get_by_role("list", name="Workloads on cloud")
    expect(onprem.get_by_role("link", name="shop")).to_be_visible()
    expect(cloud.get_by_text("empty")).to_be_visible()
    shot(page, "harbour-before")
    page.evaluate(WATCH)
    # while there is no stream the page asks every two seconds only
    page.wait_for_function("() => document.body.dataset.stream === 'open'")

    # a window of its own: the timers of a page behind another are slowed down
    logged_in = page.context.storage_state()
    window = context(base_url=f"http://127.0.0.1:{fleet.port}", storage_state=logged_in)
    desk = settled(window.new_page(), "/hosts/onprem")
    desk.get_by_role("button", name="Move everything away").click()
    desk.get_by_role("button", name="Move", exact=True).click()

    ship = page.locator('[data-ship="shop"]')
    expect(ship).to_be_attached(timeout=10_000)
    expect(page.get_by_role("region", name="Under way")).to_contain_text("onprem → cloud")
    page.wait_for_function("() => window.seen.some((at) => at.done > 0.2 && at.done < 0.9)")
    shot(page, "harbour-under-way")
    expect(cloud.get_by_role("link", name="shop")).to_be_visible(timeout=30_000)
    expect(onprem.get_by_text("empty")).to_be_visible()
    expect(ship).to_have_count(0)
    shot(page, "harbour-after")

    seen = page.evaluate("() => window.seen")
    way = [at["done"] for at in seen]
    assert way == sorted(way), "it went backwards"
    assert way[0] < 0.3
    assert way[-1] > 0.9
    assert len({(at["x"], at["y"]) for at in seen}) >= 10, seen
    desk.wait_for_url("**/")
    assert fleet.running("shop", HOSTS) == ["cloud"]
    [move] = fleet.json("migration", "ls")
    assert move["state"] == "succeeded"
