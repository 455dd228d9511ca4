"""The server as one ASGI app: gates, then routes.

Routes see one spelling of each path (`paths.py`): without a version, `/models/…`, `/files/…`,
`/upload/files`, `/openai/chat/completions`. They may raise Refusal; it is told in the form that the
caller reads.
"""

import re
from collections.abc import Callable, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from castor.serve import description, refusal
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
    compiled: Callable[[], float] = lambda: 1.0,
) -> ASGIApp:
    """The server for an engine. `more` are routes that are tried before its own; `metrics` are
    given where they count as well, a `memory` of interactions where it is to outlive them, and
    `compiled` where the engine still warms up: the share of its programs that are ready."""
    metrics = Metrics() if metrics is None else metrics
    metrics.watch("castor_batch_rows", "Replies in the running batch.", lambda: desk.answering)

    metrics.watch("castor_compiled_ratio", "Programs compiled, of all that are needed.", compiled)

    async def health(request: Request) -> JSONResponse:
        share, told = compiled(), {"model": desk.name, "queue": metrics.waiting}
        if share >= 1:
            return JSONResponse({"status": "ok", **told})
        return JSONResponse({"status": "loading", **told, "compiled": round(share, 3)}, 503)

    async def measured(request: Request) -> PlainTextResponse:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4")

    answered: list[BaseRoute] = [
        *more,
        Route("/health", health),
        Route("/metrics", measured),
        *Gemini(desk, settings=settings, metrics=metrics).routes(),
        *OpenAI(desk, settings=settings, metrics=metrics).routes(),
        *Interactions(desk, settings=settings, metrics=metrics, memory=memory).routes(),
    ]
    answered += description.routes(answered, desk=desk, settings=settings)
    return Edge(_Routed(answered), settings=settings, metrics=metrics)


class _Routed:
    """The routes that are answered, and what is said of all others."""

    def __init__(self, answered: Sequence[BaseRoute]) -> None:
        self._answered = answered
        paths = [route.path for route in answered if isinstance(route, Route)]
        self._customs = {_custom(path) for path in paths}
        later = [
            Route("/models/{model:path}:{method}", self._later, methods=["POST"]),
            Route("/files:{method}", self._later, methods=["POST"]),
            *(
                Route(f"/{name}{rest}", self._later, methods=EVERY)
                for name in LATER
                for rest in _DEEP
            ),
        ]
        self._router = Router([*answered, *later], redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _custom(scope["path"]) in self._customs - {""}:
            methods = self._methods(scope)
            if methods and scope["method"] not in methods:
                raise self._no_method(scope)
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            if error.status_code != 405:
                raise
            raise self._no_method(scope) from None

    async def _later(self, request: Request) -> JSONResponse:
        custom = _custom(request.scope["path"])
        stranger = request.method == "POST" and custom and custom not in self._customs
        if self._methods(request.scope) and not stranger:
            raise self._no_method(request.scope)
        raise Refusal(501, f"{request.url.path} is not implemented by this server.")

    def _no_method(self, scope: Scope) -> Refusal:
        allowed = sorted(self._methods(scope))
        return refusal.no_method(scope["path"], scope["method"], allowed)

    def _methods(self, scope: Scope) -> set[str]:
        """What may be done with a path, if anything."""
        custom = _custom(scope["path"])
        found = [
            route.methods or ()
            for route in self._answered
            if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE
            if custom not in self._customs or _custom(route.path) == custom
        ]
        return {method for methods in found for method in methods}


def _custom(path: str) -> str:
    """`cancel` of "/batches/{id}:cancel", "" if there is no such method in the path."""
    found = re.search(r":(\w+)$", path)
    return found[1] if found else ""


_DEEP = ("", "/{rest:path}")
