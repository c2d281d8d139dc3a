"""The dashboard: pages rendered here, from what the REST API says and from nothing else.

One module per group of pages, each with a `router` made by `ground.pages()`; they are put together
here. How a page is made is told in docs/dashboard.md.
"""

from __future__ import annotations

from fastapi import APIRouter

from porter.web.pages import (
    decisions,
    files,
    harbour,
    hooks,
    hosts,
    migrations,
    people,
    proposals,
    runs,
    sites,
    workloads,
)

router = APIRouter(include_in_schema=False)
for _part in (
    *(files, harbour, hosts, sites, workloads, migrations),
    *(people, hooks, decisions, proposals, runs),
):
    router.include_router(_part.router)
