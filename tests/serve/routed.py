"""A store with a clock that a test sets, and an app of a few routes alone."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from castor.serve import refusal
from castor.serve.refusal import Refusal
from castor.serve.store import Limits, Store


class Clock:
    """Goes on by a millisecond whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def store_in(folder: Path, **limits: int) -> tuple[Store, Clock]:
    clock = Clock()
    return Store(folder, limits=Limits(**limits), clock=clock), clock


def app_of(routes: Sequence[Route]) -> Starlette:
    """The routes, with errors told as the server tells them."""

    async def told(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        body = refusal.encoded(error, "gemini")
        return Response(body, error.code, media_type="application/json")

    return Starlette(routes=list(routes), exception_handlers={Refusal: told})


class Client:
    """Asks the app, one request after another, each in an event loop of its own."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._app = app_of(routes)

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here:80") as client:
                return await client.request(method, path, **options)

        return asyncio.run(asked())


def message(response: httpx.Response) -> str:
    """What an error says."""
    return response.json()["error"]["message"]


def cut(content: bytes, places: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """The pieces between the places, with their offsets."""
    ends = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    return ((start, content[start:end]) for start, end in pairwise([*ends, len(content)]))
