from __future__ import annotations

from porter.domain.migration import Mode
from porter.migrate.plan import choose, plan, plan_hash


def test_auto_is_cold_for_now() -> None:
    assert choose(Mode.AUTO) is Mode.COLD
    assert choose(Mode.LIVE) is Mode.LIVE


def test_the_hash_tells_plans_apart() -> None:
    one = plan("shop", "a", "b", Mode.COLD)
    assert one["steps"] == ["preflight", "reserve", "sync", "handover", "rewire", "settle"]
    assert plan_hash(one) == plan_hash(dict(reversed(one.items())))
    assert plan_hash(one) != plan_hash(plan("shop", "a", "c", Mode.COLD))
