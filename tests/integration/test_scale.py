"""1,000 hosts, 10,000 workloads: the overview and every list's first page are quick and small."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from porter import settings as settings_module
from porter.web.app import public_app
from porter.web.pulse import Pulse
from porter.wiring import authority, control_plane
from tests.scale import seed
from tests.schema import upgrade

OVERVIEW_MS, OVERVIEW_BYTES = 100, 200_000
PAGE_MS, PAGE_BYTES = 100, 200_000
SLACK = 10 if "PORTER_LONG" not in os.environ else 1
"""A machine that does something else as well must not fail the test; the figures are printed."""
TRIES = 7
LISTS = (
    "/v1/hosts",
    "/v1/workloads",
    "/v1/workloads?site=onprem&project=team-3",
    "/v1/migrations",
    "/v1/migrations?state=succeeded",
    "/v1/checkpoints",
    "/v1/sites",
    "/v1/stores",
)


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FastAPI]:
    env = {"PORTER_STATE": str(tmp_path)}
    if request.param == "postgresql":
        env["PORTER_DATABASE_URL"] = request.getfixturevalue("postgresql_url")
    control = control_plane(settings_module.load(env))
    upgrade(control.database)
    seed(control.database)
    yield public_app(control, authority(control.settings), Pulse(control.desk.pulse), "token")
    control.close()


async def measured(api: httpx.AsyncClient, path: str) -> tuple[float, int]:
    """Median milliseconds and bytes of an answer."""
    times, size = [], 0
    for _ in range(TRIES):
        began = time.perf_counter()
        answer = await api.get(path)
        times.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text
        size = len(answer.content)
    ms = statistics.median(times)
    print(f"{path}: {ms:.0f} ms, {size} bytes")
    return ms, size


async def check(app: FastAPI) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://localhost",
        headers={"Authorization": "Bearer token"},
    ) as api:
        ms, size = await measured(api, "/v1/overview")
        assert ms <= OVERVIEW_MS * SLACK
        assert size <= OVERVIEW_BYTES
        for path in LISTS:
            ms, size = await measured(api, path)
            assert ms <= PAGE_MS * SLACK, path
            assert size <= PAGE_BYTES, path


def test_overview_and_first_pages(app: FastAPI) -> None:
    asyncio.run(check(app))
