"""`make screenshots`: the pictures of the documentation, taken of a real lab."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import CHROMIUM, settled
from tests.browser.yard import opened

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SIZE = {"width": 1200, "height": 940}


def taken(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png")
    print(f"{PICTURES / name}.png")


def main() -> int:
    """Move the shop, and take pictures before, while and after it moves."""
    PICTURES.mkdir(exist_ok=True)
    with opened("pictures") as yard, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        window = chromium.new_context(base_url=yard.url, viewport=SIZE, color_scheme="light")
        window.add_cookies([yard.cookie("eve")])
        page = settled(window.new_page(), "/workloads/shop")
        page.get_by_role("heading", name="Where it could go").scroll_into_view_if_needed()
        expect(page.get_by_text("can move")).to_be_visible(timeout=60_000)
        taken(page, "workload")
        harbour = settled(window.new_page(), "/")
        harbour.set_viewport_size({"width": 1200, "height": 540})
        moved = yard.fleet.json("migrate", "shop", "--to", "cloud", "--detach")["id"]
        way = harbour.get_by_role("region", name="Under way")
        expect(way).to_contain_text("handover", timeout=30_000)
        taken(harbour, "harbour")
        settled(page, f"/migrations/{moved}")
        expect(page.get_by_role("heading", name="Receipt")).to_be_visible(timeout=120_000)
        taken(page, "migration")
        chromium.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
