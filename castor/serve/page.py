"""The chat page: the files of `web/`, under a policy that lets nothing in from outside; and what
people think of answers, for whoever keeps it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from castor.serve.incoming import json_object, read_body

WEB = Path(__file__).parent / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob: data:; connect-src 'self'; font-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
RATING_BYTES = 32 << 20  # of one rating, with the talk and its media

Rate = Callable[[dict[str, Any]], None]


def routes(*, folder: Path = WEB, rate: Rate | None = None) -> list[Route]:
    """The page at `/`, its files below `/web/`, and POST /feedback if somebody keeps ratings."""
    files = StaticFiles(directory=folder)

    async def shown(request: Request) -> Response:
        name = str(request.path_params.get("name", "index.html"))
        response = await files.get_response(name, request.scope)
        response.headers["content-security-policy"] = POLICY
        response.headers["cache-control"] = "no-cache"  # asked for again, sent if it has changed
        return response

    found = [Route("/", shown), Route("/web/{name:path}", shown)]
    return found if rate is None else [*found, Route("/feedback", rated_by(rate), methods=["POST"])]


def rated_by(rate: Rate) -> Callable[[Request], Any]:
    """The endpoint that hands on ratings, one JSON object each."""

    async def rated(request: Request) -> Response:
        rating = json_object(await read_body(request, limit=RATING_BYTES))
        await run_in_threadpool(rate, rating)
        return JSONResponse({})

    return rated
