"""Requests to the app: a client for plain ones, and a listener that may hang up."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
from starlette.types import ASGIApp, Message

from castor.serve.app import app
from castor.serve.service import Settings

from .fake_desk import FakeDesk

HI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
GENERATE = "/v1beta/models/castor-fake:generateContent"
STREAM = "/v1beta/models/castor-fake:streamGenerateContent?alt=sse"


class Client:
    """Asks an app from this machine, each time in an event loop of its own."""

    def __init__(self, served: ASGIApp) -> None:
        self._transport = httpx.ASGITransport(served, raise_app_exceptions=False)

    def request(
        self, method: str, path: str, *, pieces: Sequence[bytes] = (), **given: Any
    ) -> httpx.Response:
        if pieces:
            given["content"] = _one_by_one(pieces)

        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://127.0.0.1"
            ) as client:
                return await client.request(method, f"http://127.0.0.1{path}", **given)

        return asyncio.run(asked())

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self.request("GET", path, **given)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self.request("POST", path, **given)


async def _one_by_one(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def client_of(desk: FakeDesk | None = None, **settings: Any) -> Client:
    """A client of a server with this engine; the keywords are of Settings."""
    return Client(app(desk or FakeDesk(), Settings(**settings)))


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    """The JSON of a response that must be a success."""
    response = client.post(path, json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def refused(client: Client, path: str, body: Any, code: int = 400) -> str:
    """The message of a response that must be an error, in the form of the Gemini API."""
    response = client.post(path, json=body)
    assert response.status_code == code, response.text
    told = response.json()
    error = (told[0] if isinstance(told, list) else told)["error"]
    assert error["code"] == code
    return error["message"]


class Listener:
    """One request, as an ASGI server hands it in, and what is sent back."""

    def __init__(self, path: str, body: Any = None, **headers: str) -> None:
        route, _, query = path.partition("?")
        given = {"host": "127.0.0.1", "content-type": "application/json"} | headers
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": route,
            "raw_path": route.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
            "http_version": "1.1",
            "root_path": "",
        }
        data = json.dumps(HI if body is None else body).encode()
        self._inbox: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]
        self.gone = asyncio.Event()
        self.sent: list[Message] = []

    async def run(self, served: ASGIApp) -> None:
        await served(self.scope, self.receive, self._send)

    def cut(self) -> None:
        """Send no more than the begin of the body."""
        self._inbox[0] |= {"body": b'{"contents', "more_body": True}

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def heard(self, pieces: int) -> None:
        """Wait until so many messages have come: the head is the first."""
        while len(self.sent) < pieces:
            await asyncio.sleep(0.001)

    async def receive(self) -> Message:
        if self._inbox:
            return self._inbox.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
