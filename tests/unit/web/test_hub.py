"""One look at the database for all streams: what each of them is given, in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from porter.db.base import EventRecord
from porter.domain.errors import Transient
from porter.web import hub as hub_module
from porter.web.hub import Hub, Line, News
from porter.web.pulse import Pulse


def event(number: int) -> EventRecord:
    return EventRecord(number, float(number), None, "", "kind", "message", {}, "", "")


class Known:
    """Events as the database has them."""

    def __init__(self, newest: int) -> None:
        self.numbers = list(range(1, newest + 1))
        self.looks = 0
        self.away = False

    def newest(self, now: float) -> int:
        return self.numbers[-1]

    def settled(self, after: int, now: float) -> list[EventRecord]:
        self.looks += 1
        if self.away:
            self.away = False
            raise Transient("cannot use the database: it is away")
        return [event(number) for number in self.numbers if number > after][:500]


class Place:
    """A hub over events that a test adds to."""

    def __init__(self, newest: int = 10) -> None:
        self.known = Known(newest)
        self.pulse = Pulse(lambda: (len(self.known.numbers),))
        self.hub = Hub(self.known, self.pulse)  # type: ignore[arg-type]

    def happen(self, count: int) -> None:
        last = self.known.numbers[-1]
        self.known.numbers += range(last + 1, last + count + 1)
        self.pulse.kick()


def numbers(news: list[News] | None) -> list[int]:
    return [one.event.id for one in news or ()]


async def heard(line: Line, last: int) -> list[int]:
    """What it is given, up to an event."""
    found: list[int] = []
    while not found or found[-1] < last:
        piece = await line.take(30)
        assert piece is not None
        found += numbers(piece)
    return found


def run(test: Callable[[Place], Awaitable[None]], place: Place | None = None) -> None:
    async def within() -> None:
        own = place or Place()
        async with asyncio.timeout(60):
            await test(own)
        own.pulse.close()

    asyncio.run(within())


def test_all_lines_get_all_events_from_one_look() -> None:
    async def test(place: Place) -> None:
        lines = [await place.hub.join() for _ in range(60)]
        assert {line.begin for line in lines} == {10}
        place.known.away = True
        place.happen(3)
        for line in lines:
            assert await heard(line, 13) == [11, 12, 13]
        assert place.known.looks < 10

    run(test)


def test_what_is_remembered_is_given_to_those_who_resume() -> None:
    async def test(place: Place) -> None:
        first = await place.hub.join()
        place.happen(5)
        await heard(first, 15)
        assert numbers(await (await place.hub.join(12)).take(30)) == [13, 14, 15]
        level = await place.hub.join(15)
        assert (level.begin, await level.take(0)) == (15, [])
        before, ahead = await place.hub.join(9), await place.hub.join(99)
        assert (before.begin, await before.take(0)) == (15, [])
        assert (ahead.begin, await ahead.take(0)) == (15, [])
        place.happen(1)
        for line in (first, level, before, ahead):
            assert await heard(line, 16) == [16]

    run(test)


def test_what_is_too_long_ago_is_not_remembered() -> None:
    async def test(place: Place) -> None:
        first = await place.hub.join()
        for _ in range(3):
            place.happen(300)
            await heard(first, place.known.numbers[-1])
        oldest = 910 - hub_module.KEPT
        assert (await place.hub.join(oldest)).begin == oldest
        assert numbers(await (await place.hub.join(oldest)).take(30))[0] == oldest + 1
        assert (await place.hub.join(oldest - 1)).begin == 910

    run(test)


def test_a_reader_that_is_too_slow_is_ended_after_what_it_has() -> None:
    line = Line(0)

    async def test(_: Place) -> None:
        line.put([News(event(number)) for number in range(1, hub_module.ROOM)])
        line.put([News(event(number)) for number in (hub_module.ROOM, hub_module.ROOM + 1)])
        line.put([News(event(hub_module.ROOM + 2))])
        assert len(numbers(await line.take(30))) == hub_module.ROOM - 1
        assert await line.take(30) is None

    run(test)


def test_lines_end_with_the_process_and_a_hub_begins_anew() -> None:
    async def test(place: Place) -> None:
        line = await place.hub.join()
        place.hub.leave(line)
        place.happen(2)
        while place.hub._task is not None and not place.hub._task.done():
            place.pulse.kick()
            await asyncio.sleep(0)
        again = await place.hub.join()
        assert again.begin == 12
        place.pulse.close()
        assert await again.take(30) is None
        assert await line.take(0) == []

    run(test)
