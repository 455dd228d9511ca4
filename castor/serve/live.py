"""The Live API: a websocket on which a client talks with the model, turn by turn.

Addresses are `/ws/google.ai.generativelanguage.VERSION.GenerativeService.BidiGenerateContent`, or
with `Constrained` at the end as clients with tokens ask for. Both kinds of frames hold JSON. A
session ends with a code and a reason: 1007 what was sent is wrong, 1008 the model is not here,
1009 too much was sent, 1011 the server is busy or broken.

Pages of other origins are refused before the handshake: no browser asks the server first whether
a page may open a websocket. Whatever ends a session, what the model does for it is cancelled.
"""

import asyncio
import json
import time
from contextlib import suppress
from typing import NoReturn

from starlette.concurrency import run_in_threadpool
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from castor.sample.ask import Busy, Failed, Late
from castor.serve.edge import ACCESS, ERRORS, redacted
from castor.serve.fields import text
from castor.serve.gates import allowed_origin
from castor.serve.incoming import json_object
from castor.serve.live_session import Session
from castor.serve.live_wire import (
    BAD,
    POLICY,
    TOO_BIG,
    Closed,
    Wire,
    close_of,
    message_of,
    setup_of,
)
from castor.serve.metrics import Metrics
from castor.serve.paths import VERSIONS, model_of, serves
from castor.serve.refusal import Refusal
from castor.serve.service import Desk, Settings

SERVICE = "/ws/google.ai.generativelanguage.{version}.GenerativeService"
METHODS = ("BidiGenerateContent", "BidiGenerateContentConstrained")
SETUP_S = 60.0  # for the first message
SEND_S = 60.0  # for a client to take a message; who does not read is gone
AT_ONCE = 1 << 16  # bytes of a message that are read without a thread
GONE = 1006


def routes(desk: Desk, settings: Settings, metrics: Metrics) -> list[WebSocketRoute]:
    """The socket of each version; every other one says that there is none."""
    live = Live(desk, settings=settings, metrics=metrics)
    named = [WebSocketRoute(f"{SERVICE}.{method}", live.serve) for method in METHODS]
    return [*named, WebSocketRoute("/ws/{rest:path}", live.serve)]


class Live:
    """Sessions with one engine."""

    def __init__(self, desk: Desk, *, settings: Settings, metrics: Metrics) -> None:
        self._desk, self._settings, self._metrics = desk, settings, metrics

    async def serve(self, socket: WebSocket) -> None:
        """One session, from the handshake to the end."""
        began = time.perf_counter()
        if not from_here(socket, self._settings):
            await socket.close(POLICY, "Pages of this origin may not talk to this server")
            return
        await socket.accept()
        code = await self._until_closed(socket)
        self._note(socket, code, time.perf_counter() - began)

    async def _until_closed(self, socket: WebSocket) -> int:
        try:
            await self._run(socket)
        except Exception as error:
            ended = _first(error)
        if isinstance(ended, WebSocketDisconnect):
            return ended.code
        if not isinstance(ended, Closed | Refusal | ValueError | Busy | Late | Failed):
            ERRORS.error("a session of %s failed", socket.scope["path"], exc_info=ended)
        closed = close_of(ended)
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):  # it may have gone by now
            async with asyncio.timeout(SEND_S):
                await socket.close(closed.code, closed.reason)
        return closed.code

    async def _run(self, socket: WebSocket) -> NoReturn:
        version = socket.path_params.get("version", "")
        if version not in VERSIONS:
            raise Closed(POLICY, f"There is no {socket.scope['path']} here.")
        try:
            async with asyncio.timeout(SETUP_S):
                name, fields = await self._message(socket)
        except TimeoutError:
            raise Closed(POLICY, f"No setup came within {SETUP_S:g} s") from None
        if name != "setup":
            raise Closed(BAD, "The first message of a session is its setup")
        self._check_model(text(fields, "model", at="setup"), version)
        desk, settings = self._desk, self._settings
        setup = await run_in_threadpool(setup_of, fields, desk=desk, settings=settings)

        async def tell(message: Wire) -> None:
            await _send(socket, message)

        async with asyncio.TaskGroup() as group:
            session = Session(
                setup,
                desk=desk,
                settings=settings,
                metrics=self._metrics,
                tell=tell,
                group=group,
            )
            await session.begin()
            while True:
                await session.take(*await self._message(socket))

    async def _message(self, socket: WebSocket) -> tuple[str, Wire]:
        event = await socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code") or GONE)
        data = event.get("bytes")
        if data is None:
            data = (event.get("text") or "").encode("utf-8")
        most = self._settings.body_bytes
        if len(data) > most:
            raise Closed(TOO_BIG, f"A message is at most {most} bytes; this one has {len(data)}")
        if len(data) <= AT_ONCE:
            return self._read(data)
        return await run_in_threadpool(self._read, data)

    def _read(self, data: bytes) -> tuple[str, Wire]:
        return message_of(json_object(data), settings=self._settings)

    def _check_model(self, name: str, version: str) -> None:
        strict = self._settings.strict_models
        if not serves(name, loaded=self._desk.name, strict=strict):
            told = f"models/{model_of(name)} is not found for API version {version}"
            raise Closed(POLICY, f"{told}, or is not supported for bidiGenerateContent.")

    def _note(self, socket: WebSocket, code: int, seconds: float) -> None:
        scope = socket.scope
        self._metrics.requests.add(route="/ws", method="WEBSOCKET", status=str(code))
        line = {
            "method": "WEBSOCKET",
            "path": scope["path"],
            "query": redacted(scope.get("query_string", b"").decode("latin-1")),
            "status": code,
            "ms": round(1000 * seconds),
            "client": (scope.get("client") or [""])[0],
            "agent": socket.headers.get("user-agent", "")[:100],
        }
        ACCESS.info(json.dumps(line), extra={"request": line})


def from_here(socket: WebSocket, settings: Settings) -> bool:
    """Whether a socket is opened by no page, by one of this server, or by one that may."""
    origin, host = socket.headers.get("origin", ""), socket.headers.get("host", "")
    own = bool(host) and origin.partition("://")[2].lower() == host.lower()
    return not origin or own or allowed_origin(origin, settings) is not None


async def _send(socket: WebSocket, message: Wire) -> None:
    try:
        async with asyncio.timeout(SEND_S):
            await socket.send_text(json.dumps(message))
    except TimeoutError:
        raise WebSocketDisconnect(GONE, "the client does not read") from None


def _first(error: Exception) -> Exception:
    """The error that ended a group; that the client has gone comes before all others."""
    if not isinstance(error, ExceptionGroup):
        return error
    inner = [_first(each) for each in error.exceptions]
    return next((e for e in inner if isinstance(e, WebSocketDisconnect)), inner[0])
