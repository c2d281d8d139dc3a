"""Which route a path belongs to: `/v1/hosts/{name}` for `/v1/hosts/a`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import Scope

UNKNOWN = "(no such route)"


@dataclass(frozen=True)
class Place:
    methods: frozenset[str]
    template: str
    pattern: re.Pattern[str]


@dataclass(frozen=True)
class Found:
    template: str
    values: dict[str, Any]


def places_of(app: FastAPI) -> tuple[Place, ...]:
    """All routes, in the order in which they are looked at."""
    known: tuple[Place, ...] | None = getattr(app.state, "places", None)
    if known is None:
        known = tuple(
            Place(frozenset(one.methods or ()), str(one.path_format), one.path_regex)
            for one in iter_route_contexts(app.router.routes)
            if one.path_format
        )
        # The application gets no more routes once it serves.
        app.state.places = known
    return known


def place_of(scope: Scope) -> Found:
    """The route that this request is for, also if it is refused before it gets there."""
    other: Found | None = None
    for place in places_of(scope["app"]):
        match = place.pattern.match(scope["path"])
        if match is None:
            continue
        found = Found(place.template, match.groupdict())
        if not place.methods or scope["method"] in place.methods:
            return found
        # The path is known, with another method.
        other = other or found
    return other or Found(UNKNOWN, {})
