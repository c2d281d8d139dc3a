"""A dry run gives the database back whatever else goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import sqlalchemy as sa
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from porter.db import tables as t
from porter.db.database import Database
from porter.web.rehearsal import DryRun
from tests.schema import upgrade


def test_its_end_needs_no_thread_that_waits_for_it(tmp_path: Path) -> None:
    """One thread only: whoever writes next has it, and waits in it for the dry run's end."""
    database = Database(f"sqlite:///{tmp_path / 'one.sqlite3'}")
    upgrade(database)
    app = FastAPI()
    app.add_middleware(DryRun, database=database, below="/v1")

    @app.post("/v1/settings/{name}")
    def put(name: str) -> None:
        with database.write() as c:
            c.execute(t.settings.insert().values(key=name, value=0))

    async def both() -> list[int]:
        current_default_thread_limiter().total_tokens = 1
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
            paths = ("/v1/settings/a?dry_run=true", "/v1/settings/b", "/v1/settings/c")
            async with asyncio.timeout(20):
                answers = await asyncio.gather(*(api.post(path) for path in paths))
        return [answer.status_code for answer in answers]

    assert asyncio.run(both()) == [200, 200, 200]
    with database.read() as c:
        assert set(c.execute(sa.select(t.settings.c.key)).scalars()) >= {"b", "c"}
    database.close()
