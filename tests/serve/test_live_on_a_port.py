"""Sessions on a real port: with and without TLS, cut, stalled, and too large."""

import asyncio
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from castor.serve.app import app
from castor.serve.certificate import certificate
from castor.serve.live import routes
from castor.serve.metrics import Metrics
from castor.serve.service import Settings

from .fake_desk import FakeDesk, says
from .live_driver import PATH
from .running import running

SETUP = {"setup": {"model": "models/castor-fake"}}
HI = {"clientContent": {"turns": [{"parts": [{"text": "hi"}]}], "turnComplete": True}}
STILL = 60.0


@contextmanager
def on_a_port(
    desk: FakeDesk, *, files: tuple[Path, Path] | None = None, most: int = 1 << 20
) -> Iterator[int]:
    """The port of a whole server for this engine."""
    settings = Settings(body_bytes=most)
    served = app(desk, settings, more=routes(desk, settings, Metrics()))
    tls: dict[str, Any] = {}
    if files is not None:
        tls = {"ssl_certfile": files[0], "ssl_keyfile": files[1]}
    config = uvicorn.Config(
        served, port=0, log_level="critical", access_log=False, ws_max_size=most, **tls
    )
    with running(config) as port:
        yield port


async def told(client: ClientConnection, *messages: Any) -> dict[str, Any]:
    for message in messages:
        await client.send(json.dumps(message))
    return json.loads(await client.recv())


async def whole_turn(address: str, **options: Any) -> str:
    async with connect(address, **options) as client:
        assert "setupComplete" in await told(client, SETUP)
        words, message = "", await told(client, HI)
        while not message["serverContent"].get("turnComplete"):
            parts = message["serverContent"].get("modelTurn", {}).get("parts", [])
            words += "".join(part["text"] for part in parts)
            message = await told(client)
        return words


def wait_for(desk: FakeDesk) -> None:
    """Until the only reply is cancelled."""
    late = time.monotonic() + 20
    while not (desk.tickets and desk.tickets[0].cancels):
        assert time.monotonic() < late
        time.sleep(0.01)


def test_a_turn_goes_over_a_socket_whose_path_has_runs_of_slashes() -> None:
    with on_a_port(FakeDesk()) as port:
        address = f"ws://127.0.0.1:{port}///{PATH}?key=local"
        assert asyncio.run(whole_turn(address)) == "hello"


def test_a_turn_goes_over_tls_with_the_certificate_of_the_server(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    trust = ssl.create_default_context(cafile=files[0])
    with on_a_port(FakeDesk(), files=files) as port:
        address = f"wss://localhost:{port}{PATH}"
        assert asyncio.run(whole_turn(address, ssl=trust)) == "hello"


def test_the_reason_of_a_refusal_reaches_the_client() -> None:
    async def refused(address: str) -> None:
        async with connect(address) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await told(client, {"setup": {"model": "models/nope"}})
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
            assert closed.value.rcvd.reason.startswith("models/nope is not found")

    with on_a_port(FakeDesk()) as port:
        asyncio.run(refused(f"ws://127.0.0.1:{port}{PATH}"))


def test_a_frame_over_the_limit_closes_the_socket() -> None:
    async def too_large(address: str) -> None:
        async with connect(address) as client:
            await told(client, SETUP)
            with pytest.raises(ConnectionClosed) as closed:
                await told(client, {"clientContent": {"turns": "a" * 200_000}})
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009

    with on_a_port(FakeDesk(), most=100_000) as port:
        asyncio.run(too_large(f"ws://127.0.0.1:{port}{PATH}"))


def test_a_connection_that_breaks_stops_the_work() -> None:
    desk = FakeDesk(script=[says("a"), STILL])

    async def breaks(address: str) -> None:
        client = await connect(address)
        await told(client, SETUP)
        await told(client, HI)
        client.transport.abort()

    with on_a_port(desk) as port:
        asyncio.run(breaks(f"ws://127.0.0.1:{port}{PATH}"))
        wait_for(desk)


def test_a_client_that_never_reads_stops_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("castor.serve.live.SEND_S", 0.5)
    much = 300 * [says("a" * 100_000)]  # more than the buffers of two sockets
    desk = FakeDesk(script=[*much, STILL])
    with on_a_port(desk) as port, socket.create_connection(("127.0.0.1", port)) as client:
        head = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        head += ["Host: 127.0.0.1", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
        client.sendall("\r\n".join([f"GET {PATH} HTTP/1.1", *head, "", ""]).encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 101")
        for message in (SETUP, HI):
            data = json.dumps(message).encode()
            assert len(data) <= 125
            client.sendall(bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data)
        wait_for(desk)


def test_many_sessions_at_once_are_told_their_own_words() -> None:
    async def all_of_them(address: str) -> list[str]:
        return await asyncio.gather(*(whole_turn(address) for _ in range(20)))

    with on_a_port(FakeDesk()) as port:
        assert asyncio.run(all_of_them(f"ws://127.0.0.1:{port}{PATH}")) == ["hello"] * 20
