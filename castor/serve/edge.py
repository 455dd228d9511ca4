"""The outermost layer: every request passes the gates, is counted and logged, and every error
that is not answered below is answered here.

Invariant: the log holds no key, whatever was sent.
"""

import json
import logging
import re
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from castor.sample.ask import Busy, Late
from castor.serve import gates, refusal
from castor.serve.live_wire import shortened
from castor.serve.metrics import Metrics
from castor.serve.paths import STYLE, Place, spelled
from castor.serve.refusal import Refusal
from castor.serve.selection import Viewed, view_of
from castor.serve.service import Settings

ACCESS = logging.getLogger("castor.serve.access")
ERRORS = logging.getLogger("castor.serve.errors")
SECRET = re.compile(r"((?:^|[?&])(?:key|access_token|upload_id)=)[^&]*", re.IGNORECASE)


class Edge:
    """An ASGI app around another."""

    def __init__(self, inner: ASGIApp, *, settings: Settings, metrics: Metrics) -> None:
        self._inner, self._settings, self._metrics = inner, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        scope, place = spelled(dict(scope))
        scope["app"] = self  # so that the router raises its errors and they are told here
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, place)
            return
        await self._http(scope, receive, send, place)

    async def _http(self, scope: Scope, receive: Receive, send: Send, place: Place) -> None:
        started, answer = time.perf_counter(), _Answer(scope, send, self._settings)
        try:
            if not await self._preflight(scope, answer):
                _check(scope, place, self._settings)
                await self._inner(scope, receive, _viewed(scope, place, answer.send))
        except ClientDisconnect:
            answer.status = 499
        except Exception as error:
            told = _told(error, scope)
            if told.code >= 500 and not isinstance(error, Refusal | Busy | Late):
                ERRORS.error("%s %s failed", scope["method"], place.path, exc_info=error)
            if answer.status:
                raise Cut(place.path) from None
            await answer.refuse(told)
        finally:
            self._tell(scope, answer, time.perf_counter() - started)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, place: Place) -> None:
        try:
            _check({**scope, "method": "WEBSOCKET"}, place, self._settings)
        except Refusal as told:
            await receive()
            if told.reason == "invalid_api_key":  # a refused handshake would carry no words
                await send({"type": "websocket.accept"})
            reason = shortened(told.message)
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
            return
        await self._inner(scope, receive, send)

    async def _preflight(self, scope: Scope, answer: "_Answer") -> bool:
        """Answer a browser that asks whether it may; false if this is another request."""
        asks = Headers(scope=scope).get("access-control-request-method")
        if scope["method"] != "OPTIONS" or asks is None:
            return False
        allowed = gates.allowed_origin(answer.origin, self._settings) is not None
        await answer.empty(204, gates.preflight_headers() if allowed else {})
        return True

    def _tell(self, scope: Scope, answer: "_Answer", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or "none"
        status = str(answer.status)
        self._metrics.requests.add(route=route, method=_method(scope), status=status)
        self._metrics.seconds.observe(seconds)
        line = {
            "method": scope["method"],
            "path": scope["path"],
            "query": redacted(scope.get("query_string", b"").decode("latin-1")),
            "status": answer.status,
            "bytes": answer.bytes,
            "ms": round(1000 * seconds),
            "client": (scope.get("client") or [""])[0],
            "agent": Headers(scope=scope).get("user-agent", "")[:100],
        }
        ACCESS.info(json.dumps(line), extra={"request": line})


class Cut(Exception):
    """A response that had begun was cut short: the connection is closed."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the response of {path} was cut short; see the error before")


class _Answer:
    """What is sent, with the headers that every response has."""

    def __init__(self, scope: Scope, send: Send, settings: Settings) -> None:
        self.scope, self._send, self._settings = scope, send, settings
        self.origin = Headers(scope=scope).get("origin", "")
        self.status, self.bytes = 0, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._complete(message)
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, told: Refusal) -> None:
        style = self.scope[STYLE]
        body = refusal.encoded(told, style)
        head = {"content-type": "application/json", "content-length": str(len(body))}
        await self._begin(refusal.status(told, style), head | refusal.headers(told))
        await self.send({"type": "http.response.body", "body": body})

    async def empty(self, status: int, head: dict[str, str]) -> None:
        await self._begin(status, head)
        await self.send({"type": "http.response.body", "body": b""})

    async def _begin(self, status: int, head: dict[str, str]) -> None:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in head.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    def _complete(self, message: MutableMapping[str, Any]) -> None:
        head = MutableHeaders(scope=message)
        for name, value in gates.SECURE.items():
            head.setdefault(name, value)
        for name, value in gates.cross_origin_headers(self.origin, self._settings).items():
            head[name] = value


def _told(error: Exception, scope: Scope) -> Refusal:
    if isinstance(error, HTTPException):
        return refusal.of_status(error.status_code, scope["path"], scope["method"])
    return refusal.of(error)


def redacted(query: str) -> str:
    """A query string without its secrets."""
    return SECRET.sub(r"\1…", query)


def _check(scope: Scope, place: Place, settings: Settings) -> None:
    gates.check(
        method=scope["method"],
        place=place,
        query=scope.get("query_string", b""),
        headers=Headers(scope=scope),
        settings=settings,
    )


def _viewed(scope: Scope, place: Place, send: Send) -> Send:
    """Sends what the client wants to see of a response of the Gemini API."""
    if not place.api or scope[STYLE] not in ("gemini", "array"):
        return send
    with refusal.refusals():
        view = view_of(scope.get("query_string", b""))
    return Viewed(view, send).send if view else send


def _method(scope: Scope) -> str:
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return scope["method"] if scope["method"] in known else "OTHER"
