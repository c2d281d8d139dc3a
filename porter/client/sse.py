"""Server-sent events, from their lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """What came up to a blank line. Without `data` it only tells where to resume and when."""

    id: str
    """Of this one, or of the last before it that had any."""
    data: str
    retry_s: float | None


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """Comments, which only show that the line is alive, are passed over."""
    identity, said = "", False
    retry: float | None = None
    data: list[str] = []
    for line in lines:
        if not line:
            if said:
                yield Frame(identity, "\n".join(data), retry)
            retry, data, said = None, [], False
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            identity, said = value, True
        elif name == "data":
            data.append(value)
            said = True
        elif name == "retry" and value.isdigit():
            retry, said = int(value) / 1000, True
