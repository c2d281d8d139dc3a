"""Made-up fleets that look like real ones, from a seed: jobs, hosts, and what clouds offer.

Prices are on-demand list prices of general, compute and memory types in Western Europe, rounded;
spot prices are 30 to 45 % of them. Nothing is fitted to the optimiser: sizes are spread
log-normally and are no multiples of anything, and some kinds of fleets have little to save.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from porter.schedule.optimiser.model import HOUR, Bar, Job, Move, Node, Offer, Problem

GIB = 1 << 30
KINDS = ("fragmented", "mixed", "tight", "settled", "dear")
"""fragmented: hosts 45 % full; mixed: 30 to 95 %; tight: 97 %; settled: well packed on the cheapest
types there are, little can be saved; dear: moving costs ten times as much."""


@dataclass(frozen=True)
class Family:
    site: str
    name: str
    cpu_price: float
    """An hour, for one vCPU with its memory."""
    gib: float
    """For each vCPU."""
    arch: str = "x86_64"
    flags: tuple[str, ...] = ("avx2", "avx512f")


FAMILIES = (
    Family("aws:eu-west-1", "m6i", 0.0535, 4),
    Family("aws:eu-west-1", "c6i", 0.0456, 2),
    Family("aws:eu-west-1", "r6i", 0.0705, 8),
    Family("aws:eu-west-1", "m7g", 0.0456, 4, "aarch64", ("asimd",)),
    Family("gcp:europe-west1", "n2-standard", 0.0534, 4),
    Family("gcp:europe-west1", "n2-highmem", 0.0721, 8),
    Family("gcp:europe-west1", "n2-highcpu", 0.0394, 1),
    Family("gcp:europe-west1", "e2-standard", 0.0369, 4, "x86_64", ("avx2",)),
    Family("azure:westeurope", "D-v5", 0.0575, 4),
    Family("azure:westeurope", "E-v5", 0.0760, 8),
    Family("azure:westeurope", "F-v2", 0.0485, 2),
    Family("openstack:regionOne", "std", 0.0420, 4, "x86_64", ("avx2",)),
    Family("openstack:regionOne", "mem", 0.0610, 8, "x86_64", ("avx2",)),
)
SITES = (*dict.fromkeys(family.site for family in FAMILIES), "onprem")
EGRESS = {
    "aws:eu-west-1": 0.083,
    "gcp:europe-west1": 0.078,
    "azure:westeurope": 0.075,
    "openstack:regionOne": 0.0,
    "onprem": 0.0,
}
"""For a GiB that leaves the site."""
VCPUS = (2, 4, 8, 16, 32, 48, 64)


def offers(rng: np.random.Generator, count: int) -> tuple[Offer, ...]:
    """So many kinds of machines: whole families, all sizes, on demand and (but for the private
    cloud) spot."""
    found: list[Offer] = []
    generation = 0
    while len(found) < count:
        for k in rng.permutation(len(FAMILIES)).tolist():
            family = FAMILIES[k]
            for vcpus in VCPUS:
                found.append(_offer(rng, family, vcpus, "on_demand", generation))
                if not family.site.startswith("openstack"):
                    found.append(_offer(rng, family, vcpus, "spot", generation))
        generation += 1
    return tuple(found[:count])


def _offer(
    rng: np.random.Generator, family: Family, vcpus: int, terms: str, generation: int
) -> Offer:
    factor = float(rng.uniform(0.30, 0.45)) if terms == "spot" else 1.0
    factor *= 1.0 + 0.06 * generation
    name = f"{family.name}-{vcpus}" + "-old" * generation
    return Offer(
        key=f"{family.site}/{name}/{terms}",
        site=family.site,
        type=name,
        terms=terms,
        memory=int((family.gib * vcpus * 0.97 - 0.6) * GIB),
        cpus=float(vcpus),
        arch=family.arch,
        features=frozenset(family.flags),
        hourly=round(family.cpu_price * vcpus * factor, 4),
        most=20,
        boot_s=float(rng.integers(40, 120)),
        interruptions=float(rng.choice((0.0005, 0.001, 0.002))) if terms == "spot" else 0.0,
    )


def fleet(kind: str, seed: int, jobs: int, hosts: int, types: int) -> Problem:
    """One problem; the same for the same arguments."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    kinds = offers(rng, types)
    nodes = [_node(rng, i, kind, kinds) for i in range(hosts)]
    sizes = _sizes(rng, jobs)
    where, nodes = _place(rng, kind, sizes, nodes)
    policies = rng.random(jobs) < 1 / 3
    items = []
    for i in range(jobs):
        items.append(_job(rng, i, sizes[i], nodes[where[i]], kind, bool(policies[i])))
    return Problem(
        currency="EUR",
        horizon_s=168 * HOUR,
        jobs=tuple(items),
        nodes=tuple(nodes),
        offers=kinds,
        most_moves=jobs,
        hysteresis=0.02,
    )


def _node(rng: np.random.Generator, i: int, kind: str, kinds: tuple[Offer, ...]) -> Node:
    if kind != "settled" and rng.random() < 0.15:
        gib, cpus = ((128, 32.0), (256, 48.0), (64, 16.0))[int(rng.integers(3))]
        flags = frozenset(("avx2", "avx512f"))
        memory = int(gib * 0.97 * GIB)
        return Node(f"h{i}", "onprem", memory, cpus, "x86_64", flags, 0.0, False)
    plain = [offer for offer in kinds if not offer.spot and offer.cpus >= 4]
    if kind == "settled":
        rate = np.array([offer.hourly / (offer.memory / GIB + 4 * offer.cpus) for offer in plain])
        plain = [plain[k] for k in np.argsort(rate)[:12]]
    offer = plain[int(rng.integers(len(plain)))]
    old = 1.0 if kind == "settled" else float(rng.choice((1.0, 1.0, 1.08, 1.2)))
    return Node(
        f"h{i}",
        offer.site,
        offer.memory,
        offer.cpus,
        offer.arch,
        offer.features,
        round(offer.hourly * old, 4),
        True,
        Bar("cordon", "it is cordoned", "uncordon it") if rng.random() < 0.02 else None,
    )


def _sizes(rng: np.random.Generator, jobs: int) -> list[tuple[int, float]]:
    """Bytes and cpus: from 0.25 to 64 GiB, 1 to 16 GiB for each cpu."""
    memory = np.clip(rng.lognormal(np.log(2.2), 1.2, jobs), 0.25, 64.0)
    ratio = np.clip(rng.lognormal(np.log(5.0), 0.6, jobs), 1.0, 16.0)
    cpus = np.clip(memory / ratio, 0.05, 16.0)
    return [(int(m * GIB), round(float(c), 2)) for m, c in zip(memory, cpus, strict=True)]


def _place(
    rng: np.random.Generator, kind: str, sizes: list[tuple[int, float]], nodes: list[Node]
) -> tuple[list[int], list[Node]]:
    """A host for each job, filled to what the kind of fleet says; hosts grow where all are full."""
    fill = {"fragmented": 0.45, "tight": 0.97, "settled": 0.96, "dear": 0.6}.get(kind, 0.0)
    levels = rng.uniform(0.3, 0.95, len(nodes)) if kind == "mixed" else np.full(len(nodes), fill)
    total = sum(memory for memory, _ in sizes)
    room = sum(node.memory * level for node, level in zip(nodes, levels, strict=True))
    cores = sum(node.cpus * level for node, level in zip(nodes, levels, strict=True))
    scale = max(total / room, sum(c for _, c in sizes) / cores, 0.05)
    # a fleet of the wanted fullness: the same machines, all larger or smaller, with their prices
    nodes = [_scaled(node, scale) for node in nodes]
    memory = np.array([node.memory * level for node, level in zip(nodes, levels, strict=True)])
    cpus = np.array([node.cpus * level for node, level in zip(nodes, levels, strict=True)])
    top = np.array([node.memory for node in nodes], dtype=float)
    top_cpus = np.array([node.cpus for node in nodes])
    used, used_cpus = np.zeros(len(nodes)), np.zeros(len(nodes))
    where = [0] * len(sizes)
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i][0]):
        need, cores = sizes[i]
        fits = (used + need <= top) & (used_cpus + cores <= top_cpus)
        left = np.minimum((memory - used - need) / memory, (cpus - used_cpus - cores) / cpus)
        left = left + rng.uniform(0, 0.1, len(nodes))
        if fits.any():
            left[~fits] = -np.inf
        where[i] = best = int(np.argmax(left))
        used[best] += need
        used_cpus[best] += cores
    # a host that got more than it has is a larger one; a hundredth of them stay overbooked a little
    grown = np.maximum(np.maximum(used / top, used_cpus / top_cpus), 1.0)
    noisy = rng.random(len(nodes)) < 0.01
    nodes = [
        _scaled(node, float(by) * (0.99 if odd else 1.001) if by > 1 else 1.0)
        for node, by, odd in zip(nodes, grown, noisy, strict=True)
    ]
    return where, nodes


def _scaled(node: Node, scale: float) -> Node:
    return Node(
        node.name,
        node.site,
        int(node.memory * scale),
        round(node.cpus * scale + 0.005, 2),
        node.arch,
        node.features,
        round(node.hourly * scale, 4),
        node.removable,
        node.closed,
    )


def _job(
    rng: np.random.Generator, i: int, size: tuple[int, float], host: Node, kind: str, strict: bool
) -> Job:
    memory, cpus = size
    gib = memory / GIB * float(rng.uniform(1.05, 2.0))
    dear = 10.0 if kind == "dear" else 1.0
    sites = list(SITES)
    barred = {}
    if strict and rng.random() < 0.4:
        for site in SITES:
            if site != host.site and rng.random() < 0.5:
                barred[site] = Bar("residency", f"its policy keeps it from {site}", "widen it")
    moves = {}
    for site in sites:
        if site in barred:
            continue
        egress = 0.0 if site == host.site else gib * EGRESS[host.site]
        seconds = 25.0 + gib * (9.0 if site == host.site else 30.0)
        moves[site] = Move(egress * dear, seconds, 0.6, 0.01 * dear, 0.02 * dear)
    pinned = rng.random() < 0.03
    spot = strict and rng.random() < 0.6
    group = int(rng.integers(1_000_000))
    return Job(
        name=f"w{i}",
        host=host.name,
        memory=memory,
        arriving=memory,
        cpus=cpus,
        arch=host.arch,
        features=frozenset(("avx2",)) if host.arch == "x86_64" else frozenset(("asimd",)),
        moves=moves,
        barred=barred,
        pinned=Bar("cool-down", "it moved a short while ago", "wait") if pinned else None,
        spot=None if spot else Bar("spot", "no policy allows spot", "allow spot in its policy"),
        near=f"near-{host.site}-{group % 12}" if strict and rng.random() < 0.1 else "",
        apart=f"apart-{group % 60}" if strict and rng.random() < 0.2 else "",
        interruption_cost=float(rng.uniform(0.5, 6.0)),
        min_saving=2.0 if strict and rng.random() < 0.5 else 0.0,
        payback_s=3 * 24 * HOUR if strict and rng.random() < 0.5 else None,
    )
