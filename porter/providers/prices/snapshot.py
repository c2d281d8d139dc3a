"""Prices that come with Porter: dated, from sources with free licences. See make_snapshot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from porter.domain.money import Quote, Tariff, Tier
from porter.domain.site import SiteKind


@cache
def load() -> Mapping[str, Any]:
    """The parsed snapshot; the same object every time."""
    text = files(__package__).joinpath("snapshot.json").read_text()
    parsed: Mapping[str, Any] = json.loads(text)
    return parsed


def types(kind: SiteKind, region: str) -> list[str]:
    """Names of all types that have a price there."""
    groups = [group for group in load()["instances"] if group["kind"] == kind]
    return sorted({name for group in groups for name in group["prices"].get(region, ())})


def quote(kind: SiteKind, region: str, item: str, terms: str) -> Quote | None:
    """None if the snapshot does not know it. Spot prices are never in it: they age too fast."""
    for group in load()["instances"]:
        if group["kind"] == kind and group["terms"] == terms:
            amount = group["prices"].get(region, {}).get(item)
            if amount is not None:
                as_of, told = _source(group["source"], group["note"])
                return Quote(item, Decimal(amount), group["currency"], "hour", as_of, told, terms)
    return None


def tariff(kind: SiteKind, region: str, to_kind: SiteKind, to_region: str) -> Tariff | None:
    """None if the snapshot does not know it."""
    if to_kind is not kind:
        wanted = "internet"
    else:
        wanted = "zone" if to_region == region else "region"
    for row in load()["egress"]:
        if row["kind"] != kind or row["to"] != wanted or not _matches(region, row["from"]):
            continue
        if "only" in row and not _matches(to_region, row["only"]):
            continue
        as_of, told = _source(row["source"], "")
        tiers = tuple(Tier(Decimal(above), Decimal(rate)) for above, rate in row["tiers"])
        return Tariff(tiers, row["currency"], as_of, told)
    return None


def _matches(region: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(region, pattern) for pattern in patterns)


def _source(key: str, note: str) -> tuple[str, str]:
    source = load()["sources"][key]
    told = f"snapshot {source['as_of']} ({source['name']}, {source['licence']}"
    return source["as_of"], f"{told}; {note})" if note else f"{told})"
