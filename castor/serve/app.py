"""The server as one ASGI app: gates, then routes.

Routes see one spelling of each path (`paths.py`): without a version, `/models/…`, `/files/…`,
`/upload/files`, `/openai/chat/completions`. They may raise Refusal; it is told in the form that the
caller reads.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from castor.serve.edge import Edge
from castor.serve.gemini import Gemini
from castor.serve.interactions import Interactions, Memory
from castor.serve.metrics import Metrics
from castor.serve.openai import OpenAI
from castor.serve.refusal import Refusal
from castor.serve.service import Desk, Settings

LATER = (  # parts of the API that this server does not have
    *("operations", "auth_tokens", "fileSearchStores", "agents", "environments", "triggers"),
    *("webhooks", "voices", "credentials", "decisions", "tunedModels", "corpora"),
    *("files", "upload", "cachedContents", "batches", "openai"),
)
EVERY = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def app(
    desk: Desk,
    settings: Settings,
    *,
    more: Sequence[BaseRoute] = (),
    metrics: Metrics | None = None,
    memory: Memory | None = None,
) -> ASGIApp:
    """The server for an engine. `more` are routes that are tried before its own; `metrics` are
    given where they count as well, and a `memory` of interactions where it is to outlive them."""
    metrics = Metrics() if metrics is None else metrics
    metrics.watch("castor_batch_rows", "Replies in the running batch.", lambda: desk.answering)

    async def health(request: Request) -> JSONResponse:
        told = {"status": "ok", "model": desk.name, "queue": metrics.waiting}
        return JSONResponse(told)

    async def measured(request: Request) -> PlainTextResponse:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    async def later(request: Request) -> JSONResponse:
        raise Refusal(501, f"{request.url.path} is not implemented by this server.")

    routes: list[BaseRoute] = [
        *more,
        Route("/health", health),
        Route("/metrics", measured),
        *Gemini(desk, settings=settings, metrics=metrics).routes(),
        *OpenAI(desk, settings=settings, metrics=metrics).routes(),
        *Interactions(desk, settings=settings, metrics=metrics, memory=memory).routes(),
        Route("/models/{model:path}:{method}", later, methods=["POST"]),
        *(Route(f"/{name}{rest}", later, methods=EVERY) for name in LATER for rest in _DEEP),
    ]
    return Edge(Router(routes, redirect_slashes=False), settings=settings, metrics=metrics)


_DEEP = ("", "/{rest:path}")
