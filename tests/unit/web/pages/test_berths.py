"""The map as a value."""

from __future__ import annotations

from typing import Any

from porter.web.pages.berths import CARDS, CONTAINERS, NOTABLE, quays, voyages

MOVE = {
    "id": "m1",
    "workload": "shop",
    "source": "a0",
    "target": "a1",
    "state": "running",
    "phase": "sync",
    "done": 0,
    "total": 0,
}


def host(name: str, workloads: int = 0, **changes: Any) -> dict[str, Any]:
    base = {"name": name, "alive": True, "workloads": workloads}
    return base | {"memory_bytes": 100, "used_bytes": 50} | changes


def site(*hosts: dict[str, Any]) -> dict[str, Any]:
    return {"site": "onprem", "hosts": list(hosts), "cost": {"known": []}}


def load(name: str, where: str, size: int = 1) -> dict[str, Any]:
    return {"name": name, "host": where, "state": "running", "memory_bytes": size}


def test_the_way_follows_the_steps_and_their_bytes() -> None:
    def way(phase: str | None, done: int = 0, total: int = 0) -> float:
        [one] = voyages([{**MOVE, "phase": phase, "done": done, "total": total}])
        return one.done

    path = [way(None), way("reserve"), way("sync"), way("sync", 1, 2), way("sync", 9, 2)]
    path += [way("handover"), way("handover", 1, 2), way("settle")]
    assert path == sorted(path)
    assert path[0] == 0
    assert path[4] <= path[5] < 1


def test_a_workload_leaves_one_host_and_arrives_at_the_other() -> None:
    [quay] = quays([site(host("a0", 1), host("a1"))], [load("shop", "a0")], voyages([MOVE]))
    source, target = quay.berths
    assert [(one.name, one.leaving) for one in source.containers] == [("shop", True)]
    assert target.arriving == ["shop"]
    [quay] = quays([site(host("a0"), host("a1", 1))], [load("shop", "a1")], voyages([MOVE]))
    assert quay.berths[1].arriving == [], "it has arrived"


def test_many_workloads_are_counted_and_those_that_leave_are_shown() -> None:
    living = [load(f"w{n}", "a0", 100 + n) for n in range(CONTAINERS + 5)]
    living.append(load("shop", "a0"))
    [quay] = quays([site(host("a0", len(living)))], living, voyages([MOVE]))
    [berth] = quay.berths
    assert "shop" in [one.name for one in berth.containers]
    assert (len(berth.containers), berth.more) == (CONTAINERS, 6)


def test_of_many_hosts_those_in_need_stand_out() -> None:
    hosts = [host(f"a{n}") for n in range(CARDS + 10)]
    hosts[7] |= {"alive": False}
    hosts[8] |= {"used_bytes": 99}
    [quay] = quays([site(*hosts)], [], voyages([MOVE]))
    assert len(quay.cells) == len(hosts)
    assert len(quay.berths) == NOTABLE
    assert [one.name for one in quay.berths[:4]] == ["a7", "a0", "a1", "a8"]
    assert (quay.down, quay.berths[0].tone, quay.berths[3].tone) == (1, "bad", "warn")
