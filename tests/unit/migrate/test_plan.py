from __future__ import annotations

from porter.domain.migration import Mode
from porter.migrate.plan import Options, choose, plan, plan_hash


def test_auto_is_cold_for_now() -> None:
    assert choose(Mode.AUTO) is Mode.COLD
    assert choose(Mode.LIVE) is Mode.LIVE


def test_the_hash_tells_plans_apart() -> None:
    one = plan("shop", "a", "b", Mode.COLD)
    steps = ["preflight", "reserve", "sync", "handover", "rewire", "publish", "settle"]
    assert one["steps"] == steps
    made = plan("shop", "a", "b", Mode.COLD, Options(provision=True))
    assert made["steps"] == ["provision", *steps]
    assert plan_hash(made) != plan_hash(one)
    assert plan_hash(one) == plan_hash(dict(reversed(one.items())))
    assert plan_hash(one) != plan_hash(plan("shop", "a", "c", Mode.COLD))
