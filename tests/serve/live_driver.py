"""A client of the Live API in the event loop of the server, frame by frame."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from starlette.routing import Router
from starlette.types import Message

from castor.serve.live import routes
from castor.serve.metrics import Metrics
from castor.serve.service import Settings

from .fake_desk import FakeDesk

PATH = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
RATE = 16_000
PATIENCE_S = 20.0  # on a busy machine


class Ended(Exception):
    """The server closed the socket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Client:
    """One socket. `metrics` are of the server that it is opened to."""

    def __init__(
        self, desk: Any = None, *, path: str = PATH, head: Any = (), **settings: Any
    ) -> None:
        self.desk: Any = desk or FakeDesk()
        self.metrics = Metrics()
        self._app = Router(routes(self.desk, Settings(**settings), self.metrics))
        given = {"host": "127.0.0.1:80"} | dict(head)
        self._scope: dict[str, Any] = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"key=secret",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "ws",
            "subprotocols": [],
            "root_path": "",
        }
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self.reads = asyncio.Event()  # cleared while the client takes nothing in
        self.reads.set()

    async def __aenter__(self) -> "Client":
        self._inbox.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self._app(self._scope, self._inbox.get, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()
        async with asyncio.timeout(PATIENCE_S):
            await self.task

    def leave(self) -> None:
        """The connection is gone."""
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def send(self, *, binary: bool = False, **message: Any) -> None:
        self.send_raw(json.dumps(message), binary=binary)

    def send_raw(self, text: str, *, binary: bool = False) -> None:
        told = {"bytes": text.encode()} if binary else {"text": text}
        self._inbox.put_nowait({"type": "websocket.receive", **told})

    async def receive(self) -> dict[str, Any]:
        """The next message of the server."""
        async with asyncio.timeout(PATIENCE_S):
            event = await self._outbox.get()
            if event["type"] == "websocket.accept":
                event = await self._outbox.get()
        if event["type"] == "websocket.close":
            raise Ended(event["code"], event["reason"])
        return json.loads(event["text"])

    async def set_up(self, **setup: Any) -> dict[str, Any]:
        self.send(setup={"model": "models/castor-fake"} | setup)
        return await self.receive()

    def say(self, text: str) -> None:
        """One whole turn of text."""
        turn = {"role": "user", "parts": [{"text": text}]}
        self.send(clientContent={"turns": [turn], "turnComplete": True})

    def hear(self, sound: np.ndarray, *, rate: int = RATE) -> None:
        """Sound in pieces of 100 ms."""
        for start in range(0, len(sound), rate // 10):
            blob = {"mimeType": f"audio/pcm;rate={rate}", "data": pcm(sound[start:][: rate // 10])}
            self.send(realtimeInput={"audio": blob})

    async def turn(self) -> list[dict[str, Any]]:
        """Messages up to the end of a turn."""
        told = [await self.receive()]
        while not told[-1].get("serverContent", {}).get("turnComplete"):
            told.append(await self.receive())
        return told

    async def nothing(self) -> None:
        """A while in which the server says nothing."""
        await asyncio.sleep(0.05)
        assert self._outbox.empty(), self._outbox.get_nowait()

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        self._outbox.put_nowait(message)


def talk(work: Callable[[Client], Awaitable[None]], desk: Any = None, **given: Any) -> Client:
    """Let a client do its work, in an event loop of its own."""

    async def whole() -> Client:
        async with Client(desk, **given) as client:
            await work(client)
        return client

    return asyncio.run(whole())


def refusal(setup: dict[str, Any], *messages: dict[str, Any], **given: Any) -> Ended:
    """How a session ends that sends what it should not."""
    found: list[Ended] = []

    async def work(client: Client) -> None:
        client.send(setup={"model": "models/castor-fake"} | setup)
        for message in messages:
            client.send(**message)
        try:
            while True:
                await client.receive()
        except Ended as ended:
            found.append(ended)

    talk(work, **given)
    assert len(found[0].reason.encode()) <= 123
    return found[0]


def said(messages: list[dict[str, Any]]) -> str:
    """The text of the model's turn."""
    contents = [message.get("serverContent", {}) for message in messages]
    parts = [part for c in contents for part in c.get("modelTurn", {}).get("parts", [])]
    return "".join(part.get("text", "") for part in parts)


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    """What each message tells, the model's words left out."""
    told = [name for m in messages for name in (m.get("serverContent") or m)]
    return [name for name in told if name not in ("modelTurn", "usageMetadata")]


def tone(seconds: float, *, rate: int = RATE, loudness: float = 0.3) -> np.ndarray:
    """Samples from -1 to 1."""
    return loudness * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def quiet(seconds: float, *, rate: int = RATE) -> np.ndarray:
    """A room in which nobody speaks."""
    return 0.0005 * np.random.default_rng(0).standard_normal(round(seconds * rate))


def pcm(sound: np.ndarray) -> str:
    """Samples as the API takes them."""
    return base64.urlsafe_b64encode((sound * 32767).astype("<i2").tobytes()).decode()
