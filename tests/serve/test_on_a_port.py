"""The app behind its real HTTP server: heads at once, pieces as they come, and hanging up."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from castor.serve.app import app
from castor.serve.service import Settings

from .driver import GENERATE, HI, STREAM
from .events import said, whole
from .fake_desk import FakeDesk, says, spelled
from .running import running


@contextmanager
def on_a_port(desk: FakeDesk, settings: Settings | None = None) -> Iterator[str]:
    """The address of a server for this engine."""
    config = uvicorn.Config(
        app(desk, settings or Settings()), port=0, log_level="error", access_log=False, ws="none"
    )
    with running(config) as port:
        yield f"http://127.0.0.1:{port}"


def test_the_head_and_each_piece_come_when_they_are_there() -> None:
    desk = FakeDesk(script=[0.4, says("hel"), 0.4, says("lo", finish="stop")])
    with on_a_port(desk) as address:
        began, times = time.perf_counter(), list[float]()
        with httpx.stream("POST", address + STREAM, json=HI) as response:
            times.append(time.perf_counter() - began)
            body = b""
            for piece in response.iter_raw():
                body += piece
                times.append(time.perf_counter() - began)
    head, first, second = times[0], times[1], times[-1]
    assert head < 0.4 <= first < 0.8 <= second
    assert said(whole(body)) == "hello"


@pytest.mark.parametrize("path", [STREAM, GENERATE])
def test_hanging_up_stops_the_work(path: str) -> None:
    desk = FakeDesk(script=[says("a"), 30.0])
    with on_a_port(desk) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(address + path, json=HI, timeout=httpx.Timeout(0.3))
        (ticket,) = desk.tickets
        late = time.perf_counter() + 5
        while not ticket.cancels and time.perf_counter() < late:
            time.sleep(0.01)
        assert ticket.cancels and ticket.told == 1


def test_a_connection_serves_many_requests() -> None:
    with on_a_port(FakeDesk(script=spelled("a\u2028é"))) as address, httpx.Client() as client:
        for _ in range(3):
            body = client.post(address + STREAM, json=HI).content
            assert said(whole(body)) == "a\u2028é"
            assert client.get(address + "/v1/models").status_code == 200
            assert client.post(address + GENERATE, content=b"{").status_code == 400


def test_many_clients_are_served_at_once() -> None:
    desk = FakeDesk(script=[0.3, *spelled("hello")])

    async def all_of_them(address: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=20) as client:
            asked = [client.post(address + GENERATE, json=HI) for _ in range(16)]
            return await asyncio.gather(*asked)

    with on_a_port(desk) as address:
        began = time.perf_counter()
        told = asyncio.run(all_of_them(address))
    assert [said([response.json()]) for response in told] == ["hello"] * 16
    assert time.perf_counter() - began < 16 * 0.3
