"""The map follows what happens, without anybody loading the page again."""

from __future__ import annotations

import json
from collections.abc import Callable

from playwright.sync_api import BrowserContext, Route, expect

from tests.browser.conftest import Office, settled


def test_a_new_move_and_a_new_host_appear_by_themselves(
    office: Office, context: Callable[..., BrowserContext]
) -> None:
    office.beat(office.host("rack-1", "onprem"), "shop")
    office.host("n2-a", "gcp:europe-west1")
    window = context(base_url=office.url)
    window.add_cookies([office.cookie()])
    page = settled(window.new_page(), "/")
    page.evaluate("() => { window.mark = 1; }")
    with office.api() as api:
        answer = api.post("/v1/migrations", json={"workload": "shop", "to": "n2-a", "mode": "cold"})
        assert answer.status_code == 202, answer.text
    expect(page.locator('[data-ship="shop"]')).to_be_attached(timeout=8000)
    expect(page.get_by_role("region", name="Under way")).to_contain_text("rack-1 → n2-a")
    office.host("rack-2", "onprem")
    expect(page.get_by_role("link", name="rack-2")).to_be_visible(timeout=8000)
    assert page.evaluate("() => window.mark") == 1


def frame(number: int, kind: str, **data: object) -> str:
    """One event of the stream, named as its type is."""
    event = {"specversion": "1.0", "id": str(number), "type": f"porter.{kind}", "data": data}
    return f"id: {number}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"


def test_the_stream_moves_the_map_and_is_taken_up_where_it_broke(
    office: Office, context: Callable[..., BrowserContext]
) -> None:
    office.beat(office.host("rack-1", "onprem"), "shop")
    office.host("n2-a", "gcp:europe-west1")
    with office.api() as api:
        body = {"workload": "shop", "to": "n2-a", "mode": "cold"}
        move = api.post("/v1/migrations", json=body).json()["id"]
    window = context(base_url=office.url)
    window.add_cookies([office.cookie()])
    page = window.new_page()
    asked: list[str | None] = []

    def stream(route: Route) -> None:
        asked.append(route.request.headers.get("last-event-id"))
        begun = frame(7, "step.started", migration=move, data={"step": "sync"})
        half = {"step": "sync", "done": 50, "total": 100}
        news = frame(8, "progress", migration=move, data=half)
        route.fulfill(body=begun + news, content_type="text/event-stream")

    page.route("**/v1/events", stream)
    settled(page, "/")
    ship = page.locator('[data-ship="shop"]')
    expect(ship).to_have_attribute("data-done", "0.420")
    expect(page.get_by_role("region", name="Under way")).to_contain_text("sync")
    with page.expect_response("**/v1/events"):
        pass  # the stream had ended
    assert asked[:2] == [None, "8"]
