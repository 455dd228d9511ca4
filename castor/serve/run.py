"""The whole server on a port: the app, what it keeps, and what goes on beside requests.

Everything here runs in one event loop; the model works in the desk's own thread, and what blocks
(files, SQLite, opening media) in worker threads.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from castor.serve import batches, caches, files, live, page, upload_protocol
from castor.serve.app import app
from castor.serve.batch_runner import Runner
from castor.serve.certificate import certificate
from castor.serve.generate import answer, count
from castor.serve.interactions import StoredMemory
from castor.serve.metrics import Metrics
from castor.serve.paths import model_of, serves
from castor.serve.refusal import Refusal
from castor.serve.service import Desk, Settings
from castor.serve.store import Store, keep_clean

PATIENCE_S = 10.0  # for what runs when the server is told to stop
RATINGS = "feedback.jsonl"
UNREAD_S = 300  # that a client may leave unread what it was sent; then its socket is closed


@dataclass(frozen=True)
class Place:
    """Where a server listens and keeps its things."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000  # 0 = any that is free
    tls: bool = False  # with a certificate of its own making


def listening(place: Place) -> socket.socket:
    """A socket bound to the place.

    Raises:
        OSError: the port is taken, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections inherit it
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNREAD_S)
    try:
        bound.bind((place.host, place.port))
    except OSError as error:
        bound.close()
        raise OSError(
            f"cannot listen on {place.host} port {place.port}: {error.strerror}; another server "
            "may be there. Choose another --port, or 0 for any that is free"
        ) from None
    bound.set_inheritable(True)
    return bound


def whole(
    desk: Desk, settings: Settings, store: Store, *, compiled: Callable[[], float] = lambda: 1.0
) -> tuple[ASGIApp, Runner]:
    """The app with all its parts, and what answers its batches while `run` is awaited."""
    settings = replace(
        settings,
        resolve_file=partial(files.resolve, store),
        cached=lambda name, model: caches.cached(store, name, model=model),
    )

    async def answered(model: str, request: dict[str, Any]) -> dict[str, Any]:
        return await answer(desk, settings, model=model, wire=request)

    def counted(request: dict[str, Any]) -> int:
        return count(request, desk=desk, settings=settings).total

    def checked(model: str) -> None:
        if not serves(model_of(model), loaded=desk.name, strict=settings.strict_models):
            raise Refusal(404, f"models/{model_of(model)} is not found.")

    runner, metrics = Runner(store, answered), Metrics()
    more: list[BaseRoute] = [
        *page.routes(rate=partial(_keep_rating, store.folder / RATINGS)),
        *files.routes(store),
        *upload_protocol.routes(store),
        *caches.routes(store, counted, checked),
        *batches.routes(store, runner.wake, checked),
        *live.routes(desk, settings, metrics),
    ]
    memory = StoredMemory(store)
    served = app(desk, settings, more=more, metrics=metrics, memory=memory, compiled=compiled)
    return served, runner


def serve(
    desk: Desk,
    settings: Settings,
    place: Place,
    *,
    at: socket.socket,
    ready: Callable[[str, Path | None], None],
    compiled: Callable[[], float] = lambda: 1.0,
) -> None:
    """Answer requests until told to stop (SIGINT, SIGTERM), then let what runs come to its end.

    `ready` is called with the address and, under TLS, the certificate that clients must trust;
    `compiled` says what share of all that requests need is compiled.
    """
    store = Store(place.folder)
    inside, runner = whole(desk, settings, store, compiled=compiled)
    names = [place.host, *(name for name in settings.allow_hosts if name != "*")]
    pair = certificate(place.folder / "tls", names) if place.tls else None
    config = uvicorn.Config(
        inside,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=settings.body_bytes,
        ssl_certfile=pair[0] if pair else None,
        ssl_keyfile=pair[1] if pair else None,
        timeout_graceful_shutdown=int(PATIENCE_S),
        server_header=False,
    )
    host, port = at.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    address = f"{'https' if pair else 'http'}://{name}:{port}"
    work = _until_stopped(uvicorn.Server(config), at, store, runner, address, pair, ready)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as loop:
        loop.run(work)


async def _until_stopped(
    server: uvicorn.Server,
    at: socket.socket,
    store: Store,
    runner: Runner,
    address: str,
    pair: tuple[Path, Path] | None,
    ready: Callable[[str, Path | None], None],
) -> None:
    async def told() -> None:
        while not server.started:
            await asyncio.sleep(0.01)
        ready(address, pair[0] if pair else None)

    beside = [asyncio.create_task(work) for work in (runner.run(), keep_clean(store), told())]
    try:
        await server.serve(sockets=[at])
    finally:
        for task in beside:
            task.cancel()
        for task in beside:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _keep_rating(path: Path, rating: dict[str, Any]) -> None:
    """One line more, in one write, so that two servers over one folder do not mix theirs."""
    line = json.dumps(rating, ensure_ascii=False) + "\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
