"""The replay bills what happened, to the cent; contenders decide by what they may know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from porter.schedule.backtest import bound, standing, starts, volatility
from porter.schedule.backtest.backtest import Run, compare, play
from porter.schedule.backtest.contenders import Future, Greedy, Never, Past, Porter, Rules, build
from porter.schedule.backtest.measured import GB
from porter.schedule.backtest.pace import Pace
from porter.schedule.backtest.picture import draw
from porter.schedule.backtest.replay import Fleet, Worth
from porter.schedule.backtest.traces import OWN, SPOT, Host, Outage, Trace
from porter.schedule.optimiser.model import Answer, Bundle, Problem, Step, Sums
from porter.schedule.series import Series, flat
from tests.unit.schedule.mini import (
    HOUR,
    NORTH,
    SOUTH,
    SOUTH_OWN,
    SOUTH_SPOT,
    load,
    priced,
    trace,
)

WORTH = Worth(minute=0.6, restart_s=100.0)
"""An interruption costs 1."""
RULES = Rules(every_s=HOUR, horizon_s=5 * HOUR, pace=Pace(2 * HOUR, 4, 20), payback_s=None)
PAUSE = 5 / 60 * 0.6
TRAFFIC = 3 * 0.02


class Told:
    """Does as it was told, by hour."""

    name = "told"

    def __init__(self, waves: Mapping[int, Sequence[Sequence[Step]]]) -> None:
        self._waves = waves

    def decide(self, fleet: Fleet) -> Sequence[Sequence[Step]]:
        return self._waves.get(round(fleet.now / HOUR), ())


def south(name: str = "shop", offer: str = SOUTH_SPOT, number: int = 1) -> Step:
    return Step(name, "n1", f"{offer}#{number}")


def replayed(what: Trace, *waves: Sequence[Step], at: int = 0, seed: int = 0) -> Run:
    return play(what, Told({at: waves}), RULES, WORTH, seed)


def test_who_never_moves_pays_for_the_machine() -> None:
    run = play(trace(), Never(), RULES, WORTH, 0)
    assert run.tally.total == run.tally.machines == pytest.approx(10.0)
    assert (run.tally.moves, run.moves_per_day, run.most_in_a_day) == (0, 0, 0)


def test_a_move_pays_both_machines_while_it_lasts_the_traffic_and_the_pause() -> None:
    run = replayed(trace(), [south()])
    assert run.tally.machines == pytest.approx((60 + 120) / 3600 * 1.0 + 10 * 0.1)
    assert run.tally.egress == pytest.approx(TRAFFIC)
    assert run.tally.downtime == pytest.approx(PAUSE)
    assert run.tally.pause_s == pytest.approx(5)
    assert run.moves_per_day == pytest.approx(1 / (10 / 24))
    assert run.costs[0][1] == pytest.approx(0.0)
    assert run.costs[5][1] == pytest.approx(0.05 + 5 * 0.1 + TRAFFIC + PAUSE)


def test_prices_are_billed_as_they_change() -> None:
    dear = dict([priced(SOUTH, "small", SPOT, Series((0.0, 4 * HOUR), (0.1, 0.3)))])
    what = trace()
    run = replayed(replace(what, prices={**what.prices, **dear}), [south()])
    assert run.tally.machines == pytest.approx(0.05 + 4 * 0.1 + 6 * 0.3)


def test_waves_follow_one_another_and_a_node_ends_when_the_last_has_left() -> None:
    what = trace(load("shop"), load("db"))
    run = replayed(what, [south("shop")], [south("db")])
    assert run.tally.machines == pytest.approx((60 + 120 + 120) / 3600 + 10 * 0.1)
    together = replayed(what, [south("shop"), south("db")])
    assert together.tally.machines == pytest.approx((60 + 120) / 3600 + 10 * 0.1)


def test_machines_are_told_apart_from_decision_to_decision() -> None:
    what = trace(load("shop"), load("db"))
    run = play(what, Told({0: [[south("shop")]], 1: [[south("db")]]}), RULES, WORTH, 0)
    assert run.tally.machines == pytest.approx(1 + 180 / 3600 + 10 * 0.1 + 9 * 0.1)


def test_a_move_that_fails_is_paid_and_rolled_back() -> None:
    what = trace()
    run = replayed(replace(what, moving=replace(what.moving, failure_rate=1.0)), [south()])
    assert run.tally.failed == run.tally.moves == 1
    assert run.tally.egress == pytest.approx(TRAFFIC)
    assert run.tally.machines == pytest.approx(10.0 + 180 / 3600 * 0.1)


def test_the_same_moves_fail_for_everybody() -> None:
    what = trace(hours=30)
    shaky = replace(what, moving=replace(what.moving, failure_rate=0.5))
    tried = [replayed(shaky, [south()], at=hour, seed=7).tally.failed for hour in (0, 3, 9)]
    assert tried in ([0, 0, 0], [1, 1, 1])
    seeds = {replayed(shaky, [south()], seed=seed).tally.failed for seed in range(10)}
    assert seeds == {0, 1}


def test_a_target_without_room_refuses_before_anything_is_sent() -> None:
    big = load("big", limit=8 * GB, memory=flat(5.0 * GB))
    run = replayed(trace(big), [south("big")])
    assert run.tally.moves == 0
    assert run.tally.total == pytest.approx(10.0 + 60 / 3600 * 0.1), "a minute is billed at least"


OUT = (Outage(SOUTH, "small", 3 * HOUR, 5 * HOUR),)


def test_who_is_told_in_time_leaves_and_who_is_not_begins_anew() -> None:
    what = trace(outages=OUT)
    stayed = replayed(what, [south()])
    assert (stayed.tally.interrupted, stayed.tally.interruptions) == (1, pytest.approx(1.0))
    gone = 3 * HOUR + 120
    assert stayed.tally.machines == pytest.approx(
        0.05 + gone / HOUR * 0.1 + (10 - gone / HOUR) * 0.4
    )
    flee = {0: [[south()]], 3: [[Step("shop", "m1", "n1")]]}
    there = trace(load(), load("other"), outages=OUT)
    left = play(there, Told(flee), RULES, WORTH, 0)
    assert (left.tally.interrupted, left.tally.moves) == (0, 2)
    slow = replace(there, notices={NORTH: 120.0, SOUTH: 90.0})
    late = play(slow, Told(flee), RULES, WORTH, 0)
    assert (late.tally.interrupted, late.tally.moves) == (1, 1)


def test_a_machine_that_runs_full_loses_the_smallest_that_makes_room() -> None:
    grows = Series((-100 * HOUR, 2 * HOUR), (2.0 * GB, 3.5 * GB))
    loads = [load(name, memory=grows) for name in ("a", "b")]
    small = load("c", memory=Series((-100 * HOUR, 2 * HOUR), (1.0 * GB, 1.5 * GB)))
    waves = [[south("a")], [south("b")], [south("c")]]
    run = replayed(trace(*loads, small), *waves)
    assert run.tally.interrupted == 1
    begun = 2 * HOUR
    assert run.tally.machines == pytest.approx(
        (60 + 120 + 120 + 90) / 3600 + 10 * 0.1 + (10 - begun / HOUR) * 0.4
    )


def test_who_arrives_is_placed_where_there_is_room_and_who_leaves_frees_the_machine() -> None:
    late = load("late", host="", arrives=2 * HOUR, departs=6 * HOUR, site=SOUTH)
    run = play(trace(load(departs=8 * HOUR), late), Never(), RULES, WORTH, 0)
    assert run.tally.total == pytest.approx(8 * 1.0 + 4 * 0.4)
    near = load("near", host="", arrives=2 * HOUR)
    assert play(trace(load(), near), Never(), RULES, WORTH, 0).tally.total == pytest.approx(10.0)


def test_the_greedy_rule_goes_where_memory_is_cheapest_at_the_moment() -> None:
    run = play(trace(), Greedy(RULES), RULES, WORTH, 0)
    assert run.tally.machines == pytest.approx(0.05 + 10 * 0.1)
    plain = play(trace(load(spot=False)), Greedy(RULES), RULES, WORTH, 0)
    assert plain.tally.machines == pytest.approx(0.05 + 10 * 0.4)


def test_the_problem_says_what_can_be_known() -> None:
    later = dict([priced(SOUTH, "small", SPOT, Series((-48 * HOUR, HOUR), (0.1, 0.4)))])
    what = trace(outages=(Outage(SOUTH, "small", HOUR, 5 * HOUR),))
    what = replace(what, prices={**what.prices, **later})
    fleet = Fleet(what, WORTH, 0)
    fleet.advance(0.0)
    known = build(fleet, RULES, Past(what, RULES.horizon_s))
    offers = {one.key: one for one in known.offers}
    assert offers[SOUTH_SPOT].hourly == pytest.approx(0.1)
    assert offers[SOUTH_SPOT].most == 4
    assert offers[SOUTH_SPOT].interruptions > 0 == offers[SOUTH_OWN].interruptions
    (job,) = known.jobs
    assert job.moves[SOUTH].egress == pytest.approx(TRAFFIC)
    assert job.moves[SOUTH].downtime_cost == pytest.approx(PAUSE)
    assert job.moves[SOUTH].seconds == 120
    assert (job.pinned, known.most_moves) == (None, 4)
    seen = build(fleet, RULES, Future(what, RULES.horizon_s, RULES.every_s))
    offers = {one.key: one for one in seen.offers}
    assert offers[SOUTH_SPOT].hourly == pytest.approx((0.1 + 4 * 0.4) / 5)
    assert offers[SOUTH_SPOT].most == 0, "it will be taken away before the next decision"


def test_who_was_moved_rests_unless_its_machine_is_taken_away() -> None:
    what = trace(outages=(Outage(SOUTH, "small", HOUR, 5 * HOUR),))
    fleet = Fleet(what, WORTH, 0)
    fleet.advance(0.0)
    fleet.carry_out([[south()]], HOUR)
    assert _pinned(fleet) == "moving"
    fleet.advance(HOUR / 2)
    assert _pinned(fleet) == "cool-down"
    assert build(fleet, RULES, Past(what, RULES.horizon_s)).most_moves == 3
    fleet.advance(HOUR)
    problem = build(fleet, RULES, Past(what, RULES.horizon_s))
    assert problem.jobs[0].pinned is None
    (node,) = problem.nodes
    assert node.closed is not None
    assert node.doomed == pytest.approx(1.0)


def _pinned(fleet: Fleet) -> str:
    bar = build(fleet, RULES, Past(fleet.trace, RULES.horizon_s)).jobs[0].pinned
    return bar.rule if bar else ""


def one_by_one(problem: Problem, _seconds: float, _start: object) -> Answer:
    """A stand-in for the optimiser: the first job that a cheaper machine pays for goes there."""
    nothing = Sums(0, 0, 0, 0, 0, 0)
    hours = problem.horizon_s / HOUR
    nodes = {node.name: node for node in problem.nodes}
    for job in problem.jobs:
        node = nodes[job.host]
        alone = sum(other.host == job.host for other in problem.jobs) == 1
        if job.pinned or not node.removable or not alone:
            continue
        for offer in sorted(problem.offers, key=lambda one: one.hourly):
            move = job.moves.get(offer.site)
            fits = offer.memory >= job.memory + job.arriving and offer.most
            if not move or not fits or (offer.spot and job.spot):
                continue
            if (node.hourly - offer.hourly) * hours > move.cost:
                step = Step(job.name, job.host, f"{offer.key}#1")
                bundle = Bundle(((step,),), (), (), nothing, nothing, 0.0)
                return Answer((bundle,), (), 0, 0, 0, "stand-in", 0)
    return Answer((), (), 0, 0, 0, "stand-in", 0)


def test_porter_waits_until_a_dip_is_worth_the_move_and_foresight_knows() -> None:
    what = trace(hours=20)
    dip = Series((-48 * HOUR, 2 * HOUR, 3 * HOUR), (0.95, 0.1, 0.95))
    prices = {
        **what.prices,
        **dict([priced(SOUTH, "small", SPOT, dip)]),
        **dict([priced(SOUTH, "small", "on_demand", flat(2.0, -48 * HOUR))]),
    }
    what = replace(what, prices=prices)
    seer = Porter(RULES, one_by_one, Future(what, 5 * HOUR, HOUR), "seer")
    assert play(what, seer, RULES, WORTH, 0).tally.total < 20


def test_comparing_tells_shares_of_the_clairvoyant_and_of_the_bound() -> None:
    told: list[float] = []
    outcome = compare(
        trace(), one_by_one, RULES, WORTH, progress=lambda _name, done: told.append(done)
    )
    assert outcome.never.tally.total == pytest.approx(10.0)
    assert outcome.porter.tally.total == pytest.approx(0.05 + 1.0 + TRAFFIC + PAUSE)
    assert outcome.share(outcome.porter) == pytest.approx(1.0)
    share = outcome.share_of_bound(outcome.porter)
    assert share is not None
    assert 0.85 < share < 1
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    rows = {row["name"]: row for row in outcome.as_dict()["contenders"]}
    assert rows["Porter"]["saving"] == pytest.approx(10 - outcome.porter.tally.total, abs=1e-4)
    picture = draw([("a & b", outcome)])
    assert "a &amp; b" in picture
    assert picture.count("<path d=") > 9


def test_a_share_of_nothing_is_unknown() -> None:
    here = trace(load(spot=False), egress={})
    outcome = compare(here, one_by_one, RULES, WORTH)
    assert outcome.clairvoyant.tally.total == pytest.approx(10.0)
    assert outcome.share(outcome.porter) is None


@pytest.mark.parametrize("start", starts.STARTS)
@pytest.mark.parametrize("level", ["calm", "rough"])
@pytest.mark.parametrize("seed", [1, 2])
def test_nobody_undercuts_the_bound(seed: int, level: str, start: str) -> None:
    size = volatility.Size(days=1.0, history_d=2.0, workloads=14)
    what = volatility.make(seed, volatility.LEVELS[level], start, size)
    least = bound.shared(what, WORTH)
    plans = [standing.Standing(RULES, plan) for plan in standing.plans(what, WORTH)]
    for one in (Never(), Greedy(RULES), *plans):
        assert least <= play(what, one, RULES, WORTH, seed).tally.total + 1e-9


def test_the_bound_is_what_a_perfectly_filled_machine_would_cost() -> None:
    full = load(limit=16 * GB, memory=flat(16.0 * GB, -100 * HOUR), spot=False)
    pause = (1 + 2 * 16) / 60 * 0.6
    least = pause + 17 * 0.02 + 10 * 0.4 * 2
    """In the south, on two machines of 8 GB."""
    assert bound.shared(trace(full), WORTH) == pytest.approx(least)
    stays = trace(full, egress={})
    assert bound.shared(stays, WORTH) == pytest.approx(10.0)


def test_own_machines_are_free_only_as_far_as_they_go() -> None:
    host = Host("rack", NORTH, "rack", OWN, 4 * GB, 8.0)
    half = [load(name, host="rack", memory=flat(2.0 * GB, -100 * HOUR)) for name in "ab"]
    what = trace(*half, hosts=(host,), egress={})
    assert bound.shared(what, WORTH) == pytest.approx(0.0)
    third = load("c", memory=flat(2.0 * GB, -100 * HOUR))
    more = trace(*half, third, hosts=(host, *trace().hosts), egress={})
    assert bound.shared(more, WORTH) == pytest.approx(10 * 2 / 16, rel=0.1)


def test_a_plan_that_stands_is_reached_and_returned_to() -> None:
    what = trace(hours=30, outages=OUT)
    run = play(what, standing.Standing(RULES, {"shop": f"{SOUTH_SPOT}#plan1"}), RULES, WORTH, 0)
    assert run.tally.interrupted == 0, "it waits until the outage is over"
    assert run.tally.moves == 1
    assert run.tally.machines == pytest.approx(5 + 0.05 + 25 * 0.1)


def test_spot_machines_are_none_for_those_that_may_not() -> None:
    what = trace(load(spot=False), hours=30)
    (plan, *_) = standing.plans(what, WORTH)
    assert SPOT not in plan["shop"]
