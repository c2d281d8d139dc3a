"""The order of moves: waves that never overbook, and bundles that stand alone.

Within a wave all moves happen at once, and a source holds its job until the wave ends. A job moves
once: from where it is to where it shall be. So a ring of moves between full nodes has no order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from porter.schedule.optimiser.fleet import SLACK, Draft, Fleet

Coming = Mapping[int, list[int]]
"""By target: the jobs that go there."""

SEARCH = 10
"""Up to so many moves are searched for an order completely, where the quick way finds none."""


@dataclass
class _Room:
    """What is left at one place while moves are ordered."""

    memory: int
    cpus: float
    marks: dict[int, int]
    """How many jobs of each `apart` mark are there."""


class _Yard:
    """Places with what is on them, and the moves that are still to be made."""

    def __init__(self, fleet: Fleet, draft: Draft, moves: Sequence[int], coming: Coming) -> None:
        self.fleet = fleet
        self.source = {job: int(fleet.home[job]) for job in moves}
        self.target = {job: int(draft.target[job]) for job in moves}
        self.memory = {job: int(fleet.memory[job]) for job in moves}
        self.arriving = {job: int(fleet.arriving[job]) for job in moves}
        self.cpus = {job: float(fleet.cpus[job]) for job in moves}
        self.apart = {job: int(fleet.apart[job]) for job in moves}
        self.rooms: dict[int, _Room] = {}
        for place in set(self.source.values()) | set(self.target.values()):
            self.rooms[place] = room = self._room(draft, place)
            for job in coming.get(place, ()):
                if job not in self.target:
                    room.memory -= int(fleet.memory[job])
                    room.cpus -= float(fleet.cpus[job])
                    mark = int(fleet.apart[job])
                    room.marks[mark] = room.marks.get(mark, 0) + 1
        self.last = self._last(moves)

    def _room(self, draft: Draft, place: int) -> _Room:
        fleet = self.fleet
        if place < fleet.nodes:
            memory = int(fleet.room[place]) - int(fleet.load[place])
            cpus = float(fleet.cores[place] - fleet.load_cpus[place])
            return _Room(memory, cpus, dict(fleet.marks.get(place, {})))
        offer = draft.machines[place - fleet.nodes]
        return _Room(int(fleet.room[offer]), float(fleet.cores[offer]), {})

    def _last(self, moves: Sequence[int]) -> dict[int, list[int]]:
        """By place: the moves there that cannot come last, greatest first. Whatever arrives there
        with less must let them go first."""
        left = {place: room.memory for place, room in self.rooms.items()}
        for job in moves:
            left[self.target[job]] -= self.memory[job]
            left[self.source[job]] += self.memory[job]
        first: dict[int, list[int]] = defaultdict(list)
        for job in sorted(moves, key=lambda job: (-self.arriving[job], job)):
            if self.arriving[job] > left[self.target[job]]:
                first[self.target[job]].append(job)
        return first

    def fits(self, job: int) -> bool:
        room = self.rooms[self.target[job]]
        if self.memory[job] + self.arriving[job] > room.memory:
            return False
        if self.cpus[job] > room.cpus + SLACK:
            return False
        return self.apart[job] < 0 or not room.marks.get(self.apart[job])

    def arrive(self, job: int, sign: int = 1) -> None:
        """Take (or, with -1, give back) the room that a job needs while it arrives."""
        room = self.rooms[self.target[job]]
        room.memory -= sign * (self.memory[job] + self.arriving[job])
        room.cpus -= sign * self.cpus[job]
        if self.apart[job] >= 0:
            room.marks[self.apart[job]] = room.marks.get(self.apart[job], 0) + sign

    def settle(self, job: int, sign: int = 1) -> None:
        """The wave is over: the source lets go, and the target gives back what arriving took."""
        self.rooms[self.target[job]].memory += sign * self.arriving[job]
        room = self.rooms[self.source[job]]
        room.memory += sign * self.memory[job]
        room.cpus += sign * self.cpus[job]
        if self.apart[job] >= 0:
            room.marks[self.apart[job]] -= sign

    def waits(self, job: int, left: set[int]) -> bool:
        """Another one that cannot come last must go to the same place before this one."""
        for other in self.last.get(self.target[job], ()):
            if other in left and self.arriving[other] > self.arriving[job]:
                return True
        return False


def order(
    fleet: Fleet, draft: Draft, moves: Sequence[int], coming: Coming
) -> tuple[list[list[int]], list[int]]:
    """Waves of jobs, and the jobs that no wave can take. Of all moves that are `coming` to the same
    targets, those of other bundles may arrive before; what others leave is not counted on."""
    yard = _Yard(fleet, draft, moves, coming)
    waves: list[list[int]] = []
    queue = sorted(moves, key=lambda job: (-yard.arriving[job], -yard.memory[job], job))
    left = set(queue)
    while queue:
        wave = []
        for job in queue:
            if yard.fits(job) and not yard.waits(job, left):
                yard.arrive(job)
                left.discard(job)
                wave.append(job)
        if not wave:
            break
        for job in wave:
            yard.settle(job)
        waves.append(wave)
        queue = [job for job in queue if job in left]
    if queue and len(moves) <= SEARCH:
        found = _search(_Yard(fleet, draft, moves, coming), frozenset(moves), set())
        if found is not None:
            return [[job] for job in found], []
    return waves, queue


def _search(yard: _Yard, left: frozenset[int], seen: set[frozenset[int]]) -> list[int] | None:
    """One by one, any order: that is possible whenever waves are."""
    if not left:
        return []
    if left in seen:
        return None
    seen.add(left)
    for job in sorted(left):
        if not yard.fits(job):
            continue
        yard.arrive(job)
        yard.settle(job)
        rest = _search(yard, left - {job}, seen)
        if rest is not None:
            return [job, *rest]
        yard.settle(job, -1)
        yard.arrive(job, -1)
    return None
