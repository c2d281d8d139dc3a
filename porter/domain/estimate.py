"""How long a move will pause its workload, how long it takes, what it sends: as ranges. Pure.

A rough model (sizes, and a link) gives a first guess. What past moves came to, divided by what that
model says of them, corrects it: moves of the same workload count most, then those between the same
two places, then all others. A range holds four of five: its ends are taken from those same ratios,
together with a wide prior that counts less the more has been measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt
from statistics import NormalDist, median

SHARE = 0.8
"""Of actual figures that are meant to lie within a range."""
PRIOR_SPREAD = (1.0, 0.8, 0.6)
"""Of the logarithms of downtime, total time and bytes, where nothing was measured: the range goes
by a factor of 3.6, 2.8 or 2.2 to either side."""
PRIOR_WEIGHT = 2.0
"""So many measured moves weigh as much as the prior."""
FARTHEST = 4.0
"""A ratio beyond e**FARTHEST counts as that: one broken receipt must not rule all forecasts."""
_PULL = {"fleet": 0.25, "pair": 0.5, "workload": 1.0}
"""So many moves weigh as much as what the next wider level says."""
_MOST_OTHERS = 20.0
"""So much all moves of a wider level weigh at most where a narrower one has none."""
_FAILS, _FAILS_WEIGHT = 0.03, 10.0

_Residuals = tuple[float | None, float | None, float | None]
"""Of downtime, total time and bytes on the wire."""
_RATE_NEAR, _RATE_FAR = 300e6, 50e6
"""Bytes a second of a link that was never measured, within a site and between two."""
_RATE_WEIGHT = 16e6
"""Bytes that weigh as much as what is assumed of a link."""
_WIRE, _WIRE_IMAGE = 0.35, 0.5
"""Bytes on the wire for each byte of state, and of an image that is missing."""
_FREEZE_S, _STEPS_S, _BOOT_S = 0.25, 3.0, 60.0
_MEMORY_RATE = 400e6
"""Bytes of memory a second that are dumped and restored."""
_FROZEN = {"live": 0.05, "restart": 0.0}
"""Share of the state that is sent while it is frozen; all of it in a cold move."""


@dataclass(frozen=True)
class Features:
    """What is known of a move before it is made."""

    workload: str
    source: str
    target: str
    """Ids of hosts; target "": one that is to be made."""
    source_site: str
    target_site: str
    mode: str
    memory: int
    """Bytes."""
    files: int | None
    """Files that travel; None: nobody has looked."""
    image: int = 0
    """Bytes of the image that the target lacks."""
    provision: bool = False
    """A machine is made first."""


@dataclass(frozen=True)
class Past:
    """What a move came to. None: not measured."""

    features: Features
    succeeded: bool = True
    downtime_ms: float | None = None
    total_ms: float | None = None
    wire: float | None = None
    wire_frozen: float = 0.0
    sent_ms: float = 0.0
    """While `wire_frozen` bytes were dumped and sent."""


@dataclass(frozen=True)
class Range:
    low: float
    likely: float
    high: float


@dataclass(frozen=True)
class Ranges:
    """A forecast. `basis` says in words what it rests on."""

    downtime_ms: Range
    total_ms: Range
    wire: Range
    """Bytes."""
    failure: float
    """Probability that it is undone or fails."""
    basis: str
    doubt: str
    """Why it is no more than a guess; empty if it rests on measurements."""
    counts: dict[str, int]
    """Moves that it rests on: `workload`, `pair`, `fleet`; each counted once."""


@dataclass(frozen=True)
class _Sums:
    """Bytes sent over a link, in so many seconds and moves."""

    bytes: float = 0.0
    seconds: float = 0.0
    moves: int = 0

    def plus(self, one: Past) -> _Sums:
        seconds = max(one.sent_ms / 1000, 0.001)
        return _Sums(self.bytes + one.wire_frozen, self.seconds + seconds, self.moves + 1)

    def rate(self, assumed: float) -> float:
        """Large moves say more of a link than small ones."""
        return (_RATE_WEIGHT + self.bytes) / (_RATE_WEIGHT / assumed + self.seconds)


@dataclass
class _Link:
    """What was measured of the links, between hosts and between sites."""

    hosts: dict[tuple[str, str], _Sums] = field(default_factory=dict)
    sites: dict[tuple[str, str], _Sums] = field(default_factory=dict)

    def learn(self, past: Past) -> None:
        if past.wire_frozen <= 0 or past.sent_ms <= 0:
            return
        hosts, sites = _pair(past.features)
        self.hosts[hosts] = self.hosts.get(hosts, _Sums()).plus(past)
        self.sites[sites] = self.sites.get(sites, _Sums()).plus(past)

    def between(self, features: Features) -> tuple[float, str]:
        """Bytes a second, and where that comes from."""
        hosts, sites = _pair(features)
        near = features.source_site == features.target_site
        assumed = _RATE_NEAR if near else _RATE_FAR
        here, there = self.hosts.get(hosts, _Sums()), self.sites.get(sites, _Sums())
        rate = here.rate(there.rate(assumed))
        if here.moves:
            return rate, f"the link between the two hosts, measured by {_moves(here.moves)}"
        if there.moves:
            return rate, f"the link between the two sites, measured by {_moves(there.moves)}"
        return rate, "a link that was never measured, and so is assumed"


def _pair(features: Features) -> tuple[tuple[str, str], tuple[str, str]]:
    return (features.source, features.target), (features.source_site, features.target_site)


def _moves(count: int) -> str:
    return f"{count} move{'' if count == 1 else 's'}"


class Model:
    """What a history teaches; made once, then asked of any number of moves. `history`: newest
    first."""

    def __init__(self, history: Sequence[Past]) -> None:
        self._link = _Link()
        self.history = history
        known = [one.features.files for one in history if one.features.files is not None]
        self._files = int(median(known)) if known else 0
        for one in history:
            self._link.learn(one)
        self._told = [(one, self._residuals(one)) for one in history]

    def _residuals(self, past: Past) -> _Residuals:
        """The logarithm of what it came to over what the rough model says."""
        if not past.succeeded:
            return None, None, None
        down, total, wire = self._rough(past.features)
        return (
            _residual(past.downtime_ms, down),
            _residual(past.total_ms, total),
            _residual(past.wire, wire),
        )

    def _rough(self, features: Features) -> tuple[float, float, float]:
        """Downtime and total time in ms, bytes on the wire, by sizes and link alone."""
        rate, _ = self._link.between(features)
        files = self._files if features.files is None else features.files
        frozen = _FROZEN.get(features.mode, 1.0)
        state = _WIRE * (features.memory + files)
        image = _WIRE_IMAGE * features.image
        down = _FREEZE_S + frozen * (features.memory / _MEMORY_RATE + state / rate)
        total = _STEPS_S + down + (image + (1 - frozen) * state) / rate
        total += _BOOT_S if features.provision else 0.0
        return down * 1000, total * 1000, max(1.0, state + image)

    def predict(self, features: Features) -> Ranges:
        mine = [_Near.of(features, one, off) for one, off in self._told if _alike(features, one)]
        same = [one for one in mine if one.past.features.provision == features.provision]
        down, total, wire = self._rough(features)
        counts = _counts(mine)
        return Ranges(
            downtime_ms=_range(down, mine, 0),
            total_ms=_range(total, same, 1),
            wire=_range(wire, mine, 2),
            failure=_failure(mine),
            basis=self._basis(features, counts),
            doubt=self._doubt(features, counts),
            counts=counts,
        )

    def _basis(self, features: Features, counts: dict[str, int]) -> str:
        parts = [
            f"{_moves(counts['workload'])} of {features.workload}",
            f"{_moves(counts['pair'])} between the same places",
            f"{_moves(counts['fleet'])} elsewhere",
        ]
        measured = [part for part in parts if not part.startswith("0 ")]
        _, link = self._link.between(features)
        return "; ".join(filter(None, [", ".join(measured), self._doubt(features, counts), link]))

    def _doubt(self, features: Features, counts: dict[str, int]) -> str:
        if not any(counts.values()):
            return f"no {features.mode} move was ever measured here"
        if features.files is None:
            return "how much its files take is guessed: no move has looked at them yet"
        return ""


def predict(features: Features, history: Sequence[Past]) -> Ranges:
    """One forecast from a history, newest first."""
    return Model(history).predict(features)


@dataclass(frozen=True)
class _Near:
    """A past move as seen from one that is to be made."""

    past: Past
    level: str
    """`workload`, `pair` or `fleet`: how near it is."""
    on_pair: bool
    off: _Residuals

    @classmethod
    def of(cls, features: Features, past: Past, off: _Residuals) -> _Near:
        hosts, sites = _pair(features)
        here, there = _pair(past.features)
        on_pair = hosts == here or sites == there
        mine = past.features.workload == features.workload
        return cls(past, "workload" if mine else "pair" if on_pair else "fleet", on_pair, off)


def _alike(features: Features, past: Past) -> bool:
    return past.features.mode == features.mode


def _counts(near: Sequence[_Near]) -> dict[str, int]:
    counts = dict.fromkeys(reversed(_PULL), 0)
    for one in near:
        counts[one.level] += one.past.succeeded
    return counts


def _residual(real: float | None, said: float) -> float | None:
    if real is None or real <= 0:
        return None
    return max(-FARTHEST, min(FARTHEST, log(real) - log(said)))


def _range(rough: float, near: Sequence[_Near], which: int) -> Range:
    told = [(one, value) for one in near if (value := one.off[which]) is not None]
    own = [value for one, value in told if one.level == "workload"]
    others = [value for one, value in told if one.level == "pair"]
    rest = [value for one, value in told if one.level == "fleet"]
    fleet = _pulled([value for _, value in told], 0.0, _PULL["fleet"])
    pair = _pulled([value for one, value in told if one.on_pair], fleet, _PULL["pair"])
    centre = _pulled(own, pair, _PULL["workload"])
    points = _off(own, centre, float(len(own)))
    points += _off(others, pair, _share(len(others), len(own)))
    points += _off(rest, fleet, _share(len(rest), len(own) + len(others)))
    low, high = _ends(points, PRIOR_SPREAD[which])
    likely = rough * exp(centre)
    return Range(likely * exp(min(0.0, low)), likely, likely * exp(max(0.0, high)))


def _pulled(values: Sequence[float], towards: float, pull: float) -> float:
    """A mean, drawn towards what the wider level says as long as there are few values."""
    return (sum(values) + pull * towards) / (len(values) + pull)


def _share(count: int, nearer: int) -> float:
    """What the values of a wider level weigh together, beside so many nearer ones."""
    return min(float(count), _MOST_OTHERS) * PRIOR_WEIGHT / (PRIOR_WEIGHT + nearer)


def _off(values: Sequence[float], centre: float, weight: float) -> list[tuple[float, float]]:
    """Distances from the centre with their weights; the centre itself is only known so well."""
    count = len(values)
    wider = sqrt(1 + 1 / (count + 1))
    return [((value - centre) * wider, weight / count) for value in values]


_PRIOR = [NormalDist().inv_cdf((step + 0.5) / 20) for step in range(20)]


def _ends(points: list[tuple[float, float]], spread: float) -> tuple[float, float]:
    prior = [(one * spread, PRIOR_WEIGHT / len(_PRIOR)) for one in _PRIOR]
    ordered = sorted([*points, *prior])
    return _quantile(ordered, (1 - SHARE) / 2), _quantile(ordered, (1 + SHARE) / 2)


def _quantile(ordered: Sequence[tuple[float, float]], share: float) -> float:
    """Of weighted values, between the middles of their weights."""
    wanted = share * sum(weight for _, weight in ordered)
    before, at, middle = ordered[0][0], 0.0, 0.0
    for value, weight in ordered:
        reached = at + weight / 2
        if reached >= wanted:
            if reached <= middle:
                return value
            return before + (value - before) * (wanted - middle) / (reached - middle)
        before, middle, at = value, reached, at + weight
    return ordered[-1][0]


def _failure(near: Sequence[_Near]) -> float:
    """How often moves failed, those of this workload and between these places most of all."""
    likely = _FAILS
    for levels in (("fleet", "pair", "workload"), ("pair", "workload"), ("workload",)):
        found = [one for one in near if one.level in levels]
        failed = sum(not one.past.succeeded for one in found)
        likely = (failed + _FAILS_WEIGHT * likely) / (len(found) + _FAILS_WEIGHT)
    return likely


@dataclass(frozen=True)
class Accuracy:
    """How good forecasts were. Ratios: actual figure over the likely one."""

    count: int
    median: float | None
    """Of |log ratio|: half of them were off by less than the factor e**median."""
    p90: float | None
    inside: float | None
    """Share of actual figures that lay within the range; meant to be SHARE."""


NONE = Accuracy(0, None, None, None)


def accuracy(told: Sequence[tuple[Range, float]]) -> Accuracy:
    """Of forecasts and what they came to; what was 0 or unknown is left out beforehand."""
    off = sorted(abs(log(real) - log(said.likely)) for said, real in told)
    if not off:
        return NONE
    inside = sum(said.low <= real <= said.high for said, real in told) / len(told)
    rank = max(0, -(-9 * len(off) // 10) - 1)
    return Accuracy(len(off), median(off), off[rank], inside)
