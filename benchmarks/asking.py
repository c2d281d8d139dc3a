"""So many GETs a second, whatever becomes of them: how long each took.

They are due by the clock, not when the one before was answered, and their time counts from when
they were due: a server that stands still for a second makes a second's worth of slow requests. One
that cannot be sent to a replica goes to the next, as through a load balancer, on the same clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

GIVE_UP_S = 10.0


@dataclass
class Asked:
    """What was wrong, how often another replica had to be asked, and of what was answered: path,
    seconds after the start when it was due, and milliseconds."""

    answers: list[tuple[str, float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    again: int = 0


def ask(
    urls: Sequence[str], token: str, paths: Sequence[str], rate: float, seconds: float
) -> Asked:
    """Blocks; to be run in a process of its own."""
    return asyncio.run(_ask(urls, token, paths, rate, seconds))


async def _ask(
    urls: Sequence[str], token: str, paths: Sequence[str], rate: float, seconds: float
) -> Asked:
    asked = Asked()
    clients = [
        httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=GIVE_UP_S,
            trust_env=False,
        )
        for url in urls
    ]
    # What a process does once only, at a route's first request, is not measured.
    for client in clients:
        for path in paths:
            await client.get(path)
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * rate)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            first = number // len(paths) % len(clients)
            turn = clients[first:] + clients[:first]
            group.create_task(_one(turn, paths[number % len(paths)], began, due, asked))
    for client in clients:
        await client.aclose()
    return asked


async def _one(
    clients: list[httpx.AsyncClient], path: str, began: float, due: float, asked: Asked
) -> None:
    why = ""
    for client in clients:
        try:
            answer = await client.get(path)
        except httpx.HTTPError as error:
            why = f"{path}: {error!r}"
            asked.again += 1
            continue
        if answer.status_code != 200:
            asked.wrong.append(f"{path}: {answer.status_code}")
        asked.answers.append((path, due - began, (time.monotonic() - due) * 1000))
        return
    asked.wrong.append(why)
