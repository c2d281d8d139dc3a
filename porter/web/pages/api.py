"""The public REST API as a page sees it: in this process, in the name of the page's reader."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from fastapi import Depends, Request

from porter.db.rows import current_request
from porter.domain.errors import PorterError

_FORWARDED = ("authorization", "cookie", "host", "user-agent")
PAGES = 50
"""So many pages of one list are read at most."""


class Refused(PorterError):
    """The API said no."""

    def __init__(self, status: int, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.status = status


class Api:
    """Calls of one page's reader. All of them raise Refused for anything but 2xx."""

    def __init__(self, request: Request) -> None:
        headers = {
            name: request.headers[name] for name in _FORWARDED if name in request.headers
        } | {"accept": "application/json", "x-request-id": current_request.get() or ""}
        session = getattr(request.state, "session", None)
        if session is not None:
            headers["x-csrf-token"] = session.csrf
        peer = request.client
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(
                app=request.app,
                raise_app_exceptions=False,
                client=("127.0.0.1", 0) if peer is None else (peer.host, peer.port),
            ),
            base_url="http://api",
            headers=headers,
            trust_env=False,
        )

    async def get(self, path: str, **query: Any) -> Any:
        """What is at a path below /v1, parsed. Query values that are None or "" are left out."""
        return (await self._get(path, query)).json()

    async def maybe(self, path: str, default: Any = None, **query: Any) -> Any:
        """The same, or `default` where it does not exist or this reader may not see it."""
        try:
            return await self.get(path, **query)
        except Refused as error:
            hidden = (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED)
            if error.status in hidden:
                return default
            raise

    async def post(self, path: str, body: Any = None) -> Any:
        """The answer to a question that the API takes as a POST. What changes anything is the
        browser's to send: opening a page must not."""
        return self._good(path, await self._http.post(path, json=body)).json()

    async def all(self, path: str, **query: Any) -> list[Any]:
        """Every item of a list, page after page (as far as PAGES)."""
        found: list[Any] = []
        answer = await self._get(path, query)
        for _ in range(PAGES):
            found += answer.json()
            more = answer.links.get("next", {}).get("url")
            if not more:
                break
            parts = urlsplit(more)
            answer = await self._get(f"{parts.path}?{parts.query}", {})
        return found

    async def text(self, path: str) -> str:
        """The same for what is no JSON."""
        return (await self._get(path, {})).text

    async def page(self, path: str, **query: Any) -> tuple[list[Any], str]:
        """One page of a list, and the cursor of the next; "" for the last."""
        answer = await self._get(path, query)
        more = answer.links.get("next", {}).get("url", "")
        return answer.json(), dict(parse_qsl(urlsplit(more).query)).get("cursor", "")

    async def together(self, *paths: str) -> list[Any]:
        """Several at once, in order."""
        return list(await asyncio.gather(*(self.get(path) for path in paths)))

    async def _get(self, path: str, query: Mapping[str, Any]) -> httpx.Response:
        given = {key: value for key, value in query.items() if value not in (None, "")}
        return self._good(path, await self._http.get(path, params=given or None))

    def _good(self, path: str, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        try:
            said = answer.json()
        except ValueError:
            said = {}
        raise Refused(
            answer.status_code,
            str(said.get("detail") or f"cannot read {path}: the API answered {answer.status_code}"),
            str(said.get("remedy") or "look into the control plane's log"),
        )


def reader(request: Request) -> Api:
    return Api(request)


Reader = Annotated[Api, Depends(reader)]
"""The API for a page handler's parameter."""
