"""Lists in pages: `limit`, an opaque `cursor`, and the next page in a `Link` header."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from porter.db.listing import Key, Page
from porter.domain.errors import Invalid

T = TypeVar("T")
LIMIT, MOST = 100, 1000


class Paging:
    """Where a page begins and how long it is; writes the link to the next one."""

    def __init__(
        self,
        request: Request,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=MOST, description="Items of one page")] = LIMIT,
        cursor: Annotated[
            str | None,
            Query(
                max_length=1024,
                description="Where the page begins; from the Link header of the one before",
            ),
        ] = None,
    ) -> None:
        self._request = request
        self._response = response
        self.limit = limit
        self._cursor = cursor

    def after(self, *kinds: type) -> Key:
        """The key after which the page begins, of these types; empty for the first page."""
        return () if self._cursor is None else _open(self._cursor, kinds)

    def give(self, page: Page[T]) -> list[T]:
        """The page's items; the next page goes into the answer's header."""
        if page.next is not None:
            query = [
                (name, value)
                for name, value in self._request.query_params.multi_items()
                if name != "cursor"
            ]
            query.append(("cursor", _cursor(page.next)))
            target = f"{self._request.url.path}?{urlencode(query)}"
            self._response.headers["Link"] = f'<{target}>; rel="next"'
        return page.items

    def cut(self, items: Sequence[T], name: Callable[[T], str]) -> list[T]:
        """A page of a short list that is there as a whole, in its own order; each name is one's."""
        after = self.after(str)
        begin = 0
        if after:
            names = [name(one) for one in items]
            begin = names.index(str(after[0])) + 1 if after[0] in names else len(names)
        page = list(items[begin : begin + self.limit])
        more = begin + self.limit < len(items)
        return self.give(Page(page, (name(page[-1]),) if more else None))


Paged = Annotated[Paging, Depends()]


def _cursor(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def _open(cursor: str, kinds: tuple[type, ...]) -> Key:
    wrong = Invalid("cannot use this cursor: no list gave it", "begin without one")
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key: Any = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise wrong from error
    if not isinstance(key, list) or len(key) != len(kinds):
        raise wrong
    for value, kind in zip(key, kinds, strict=True):
        if not isinstance(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
            raise wrong
    return tuple(key)
