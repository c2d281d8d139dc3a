"""What /metrics says, and that dashboard and alerts name nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families as parse

from porter.db import tables as t
from tests.unit.web.conftest import Serving
from tests.unit.web.test_api import Cloud, NewAgent, refused

DOCS = Path(__file__).resolve().parents[3] / "docs" / "observability"
NAME = re.compile(r"\bporter_[a-z_]+\b")
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(client: httpx.Client) -> Values:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


def value(found: Values, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


@pytest.fixture
def cloud(serving: Serving, new_agent: NewAgent) -> Cloud:
    object.__setattr__(serving.control.engine, "_queue", serving.queue)
    return Cloud(serving, new_agent)


def ended(serving: Serving, move: str, seconds: float) -> None:
    """As if a migration had ended so."""
    receipt = {
        "mode": "live",
        "downtime_ms": seconds * 1e3,
        "total_ms": 20_000.0,
        "bytes": {"wire": 5_000_000},
    }
    with serving.control.database.write() as c:
        c.execute(
            sa.update(t.migrations)
            .where(t.migrations.c.id == move)
            .values(state="succeeded", receipt=receipt)
        )
        c.execute(
            sa.update(t.steps)
            .where(t.steps.c.migration == move, t.steps.c.seq == 0)
            .values(started=10.0, ended=10.4, state="failed", error="x")
        )


def test_what_it_says(serving: Serving, cloud: Cloud) -> None:
    with serving.client() as api:
        move = api.post("/v1/migrations", json={"workload": "shop", "to": "cloud"}).json()["id"]
        before = scrape(api)
        assert value(before, "porter_migrations", state="pending", mode="cold") == 1
        assert value(before, "porter_migrations_held") == 0
        assert value(before, "porter_hosts", state="alive") == 2
        assert value(before, "porter_host_heartbeat_age_seconds", host="cloud", site="lab") < 10
        assert value(before, "porter_database_up") == 1
        assert value(before, "porter_audit_entries_total") >= 1
        ended(serving, move, 0.3)
        after = scrape(api)
        assert value(after, "porter_migrations_ended_total", state="succeeded", mode="live") == 1
        name = "porter_migration_downtime_seconds"
        assert value(after, f"{name}_bucket", mode="live", le="0.25") == 0
        assert value(after, f"{name}_bucket", mode="live", le="0.5") == 1
        assert value(after, f"{name}_bucket", mode="live", le="+Inf") == 1
        assert value(after, f"{name}_sum", mode="live") == pytest.approx(0.3)
        assert value(after, "porter_migration_wire_bytes_sum", mode="live") == 5e6
        assert value(after, "porter_step_seconds_sum", step="preflight") == pytest.approx(0.4)
        assert value(after, "porter_step_failures_total", step="preflight") == 1
        api.get("/v1/hosts/nobody-knows")
        counted = scrape(api)
        labels = {"method": "GET", "route": "/v1/hosts/{name}"}
        assert value(counted, "porter_http_requests_total", status="404", **labels) == 1
        assert value(counted, "porter_http_request_seconds_count", **labels) == 1


def test_streams_are_counted_while_they_are_open(serving: Serving, cloud: Cloud) -> None:
    with serving.client() as api:
        move = api.post("/v1/migrations", json={"workload": "shop", "to": "cloud"}).json()["id"]
        with api.stream("GET", f"/v1/migrations/{move}/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            assert value(scrape(api), "porter_event_streams") == 1
            ended(serving, move, 1)
            assert [*lines]
        # The last byte arrives before the server has tidied up.
        until = time.monotonic() + 10
        while value(scrape(api), "porter_event_streams"):
            assert time.monotonic() < until


def test_who_may_read_it(serving: Serving) -> None:
    with serving.client(None) as stranger:
        refused(stranger.get("/metrics"), 401, "metrics")
        object.__setattr__(serving.control.settings, "metrics_open", True)
        assert stranger.get("/metrics").status_code == 200


def exported(serving: Serving) -> set[str]:
    """All names, also of what has no sample yet."""
    with serving.client() as api:
        families = [*parse(api.get("/metrics").text)]
    names = set()
    for family in families:
        endings = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_sum", "_count"),
        }.get(family.type, ("",))
        names |= {f"{family.name}{ending}" for ending in endings}
    return names


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
    return found


def test_dashboard_and_alerts_name_only_what_is_exported(serving: Serving) -> None:
    known = exported(serving)
    texts = [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())
    ]
    assert len(texts) > 10
    texts += re.findall(r"expr: (.*(?:\n {10,}.*)*)", (DOCS / "alerts.yml").read_text())
    for text in texts:
        named = set(NAME.findall(text))
        assert named, text
        assert named <= known, named - known


def test_panels_have_ids_places_and_the_chosen_data_source() -> None:
    found = dashboard()
    assert found["schemaVersion"] >= 38
    assert next(one["type"] for one in found["templating"]["list"]) == "datasource"
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}


@pytest.mark.parametrize("words", [("check", "rules", "alerts.yml"), ("test", "rules", "test.yml")])
def test_promtool_is_content(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=DOCS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
