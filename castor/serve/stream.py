"""A reply on its way to a client: events or one JSON array piece by piece, or all at once.

Invariant: nobody works for a client that has gone: a reply is cancelled as soon as its client
disconnects, and whenever its response ends in any way.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from castor.sample.ask import Late, News
from castor.serve import refusal
from castor.serve.edge import ERRORS
from castor.serve.metrics import Metrics
from castor.serve.refusal import Refusal
from castor.serve.service import Ticket

Silence = Literal["silence"]


class Frames(NamedTuple):
    """How messages are parted."""

    media_type: str
    first: bytes  # before the first message
    between: bytes  # before every other
    after: bytes  # after each
    end: bytes  # after the last
    empty: bytes  # what a stream without messages is
    named: bool = False  # whether each message's event_type stands before it


EVENTS = Frames("text/event-stream", b"data: ", b"data: ", b"\r\n\r\n", b"", b"")
ARRAY = Frames("application/json", b"[", b",\r\n", b"", b"]", b"[]")
DONE = b"data: [DONE]\r\n\r\n"
OPENAI_EVENTS = EVENTS._replace(end=DONE, empty=DONE)
NAMED_EVENTS = OPENAI_EVENTS._replace(named=True)


def _gemini_error(told: Refusal) -> dict[str, Any]:
    return told.told("gemini")


class Chat:
    """A ticket with what is counted of it."""

    def __init__(self, ticket: Ticket, *, metrics: Metrics, every_s: float) -> None:
        self.ticket, self._metrics, self._every_s = ticket, metrics, every_s
        self._began = time.perf_counter()
        self._silent = True  # no token has come

    async def news(self, receive: Receive) -> AsyncGenerator[News | Silence]:
        """The news, and "silence" whenever none came for a while.

        Raises:
            ClientDisconnect: the client has gone.
            Late, Failed: as the engine says.
        """
        inbox: asyncio.Queue[News | Exception | None] = asyncio.Queue()
        tasks = [
            asyncio.create_task(_read(self.ticket, inbox)),
            asyncio.create_task(_watch(receive, inbox)),
        ]
        self._metrics.begin(self.ticket)
        over = False
        try:
            while True:
                try:
                    async with asyncio.timeout(self._every_s):
                        item = await inbox.get()
                except TimeoutError:
                    yield "silence"
                    continue
                if item is None:
                    over = True
                    return
                if isinstance(item, Exception):
                    over = not isinstance(item, ClientDisconnect)
                    raise item
                self._count(item)
                yield item
        finally:
            self._metrics.end(self.ticket)
            if not over:
                self._metrics.cancelled.add()
            await _stop(tasks)

    async def end(self, news: AsyncGenerator[News | Silence]) -> None:
        """Let go, however far the news were heard, if at all."""
        self.ticket.cancel()
        await news.aclose()

    def _count(self, news: News) -> None:
        if self._silent and news.tokens:
            self._silent = False
            self._metrics.first.observe(time.perf_counter() - self._began)
            self._metrics.tokens.add(self.ticket.prompt.total, kind="prompt")
            self._metrics.tokens.add(self.ticket.reused, kind="reused")
        self._metrics.tokens.add(len(news.tokens), kind="reply")


class Streamed:
    """A response whose head goes out before the first message is there."""

    def __init__(
        self,
        chat: Chat,
        frames: Frames,
        *,
        messages: Callable[[News], Iterable[dict[str, Any]]],
        sign_of_life: Callable[[], dict[str, Any] | bytes],
        first: Callable[[], Iterable[dict[str, Any]]] = tuple,
        last: Callable[[], Iterable[dict[str, Any]]] = tuple,
        error: Callable[[Refusal], dict[str, Any]] = _gemini_error,
    ) -> None:
        self._chat, self._frames, self._messages = chat, frames, messages
        self._sign_of_life, self._first, self._last = sign_of_life, first, last
        self._error = error
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        frames = self._frames
        news = self._chat.news(receive)
        try:
            await send(head(frames.media_type))
            for message in self._first():
                await send(self._message(message))
            async for item in news:
                if item == "silence":
                    await send(self._sign())
                    continue
                for message in self._messages(item):
                    await send(self._message(message))
            for message in self._last():
                await send(self._message(message))
        except ClientDisconnect:
            raise
        except Exception as error:
            if not isinstance(error, Late):
                ERRORS.error("%s failed in its stream", scope["path"], exc_info=error)
            await send(self._message(self._error(refusal.of(error))))
        finally:
            await self._chat.end(news)
        await send(piece(frames.end if self._count else frames.empty, more=False))

    def _sign(self) -> Message:
        sign = self._sign_of_life()
        return piece(sign) if isinstance(sign, bytes) else self._message(sign)

    def _message(self, message: dict[str, Any]) -> Message:
        before = self._frames.between if self._count else self._frames.first
        self._count += 1
        if self._frames.named:
            before = f"event: {message['event_type']}\r\n".encode("ascii") + before
        return piece(before + json.dumps(message).encode("ascii") + self._frames.after)


class Whole:
    """A response that is sent when all is there.

    After `head_s` seconds the client is sent the head and then blanks, which JSON allows; an error
    after that cuts the connection.
    """

    def __init__(
        self,
        chat: Chat,
        *,
        note: Callable[[News], object],
        whole: Callable[[], dict[str, Any]],
        head_s: float,
    ) -> None:
        self._chat, self._note, self._whole, self._head_s = chat, note, whole, head_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun, late = False, time.perf_counter() + self._head_s
        news = self._chat.news(receive)
        try:
            async for item in news:
                if item != "silence":
                    self._note(item)
                if begun:
                    await send(piece(b" "))
                elif time.perf_counter() > late:
                    await send(head("application/json"))
                    begun = True
        finally:
            await self._chat.end(news)
        body = json.dumps(self._whole()).encode("ascii")
        if not begun:
            await send(head("application/json", length=len(body)))
        await send(piece(body, more=False))


def head(media_type: str, *, length: int | None = None) -> Message:
    """The begin of a response with status 200."""
    headers = [(b"content-type", media_type.encode())]
    if length is None:
        headers.append((b"x-accel-buffering", b"no"))  # a proxy passes each piece on at once
    else:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": 200, "headers": headers}


def piece(data: bytes, *, more: bool = True) -> Message:
    """Some of a response's body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _read(ticket: Ticket, inbox: "asyncio.Queue[News | Exception | None]") -> None:
    try:
        async for news in ticket:
            inbox.put_nowait(news)
        inbox.put_nowait(None)
    except Exception as error:
        inbox.put_nowait(error)


async def _watch(receive: Receive, inbox: "asyncio.Queue[News | Exception | None]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    inbox.put_nowait(ClientDisconnect())


async def _stop(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
