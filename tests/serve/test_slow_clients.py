"""Clients that are slow, cut off, or far too large, and the one beside them who notices nothing."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
from sample import conftest as tiny

from castor.sample.engine import Engine
from castor.sample.serving import Desk

from .test_soak import MODEL, on_a_port, settle

engine, vocab = tiny.engine, tiny.vocab
pytestmark = pytest.mark.slow

PATIENCE_S = 120.0  # on a busy machine
FEW = [{"role": "user", "parts": [{"text": "hi"}]}]
GREEDY = {"temperature": 0, "maxOutputTokens": 8}


@pytest.fixture(scope="module")
def served(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Desk]]:
    with on_a_port(engine, tmp_path_factory.mktemp("store")) as both:
        yield both


@contextmanager
def neighbour(port: int) -> Iterator[None]:
    """Somebody who asks all the while, and always gets the same answer.

    Log-probabilities may differ in their last digit: tables of other lengths are summed otherwise.
    """
    over, told = threading.Event(), list[Any]()

    def ask() -> None:
        with httpx.Client(timeout=PATIENCE_S) as client:
            while len(told) < 3 or not over.is_set():
                address = f"http://127.0.0.1:{port}{MODEL}:generateContent"
                body = {"contents": FEW, "generationConfig": GREEDY}
                response = client.post(address, json=body)
                told.append([each["content"] for each in response.json()["candidates"]])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert len(told) >= 3 and all(each == told[0] for each in told)


def connected(port: int) -> socket.socket:
    """A client that takes in as little as it can."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.settimeout(PATIENCE_S)
    client.connect(("127.0.0.1", port))
    return client


def head(method: str, length: int) -> bytes:
    return (
        f"POST {MODEL}:{method} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def everything(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    pieces = list[bytes]()
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_clients_that_never_read_hold_nobody_up(served: tuple[int, Desk]) -> None:
    port, desk = served
    config = {"candidateCount": 4, "responseLogprobs": True, "logprobs": 20}
    body = json.dumps({"contents": FEW, "generationConfig": config}).encode()
    clients = [connected(port) for _ in range(4)]
    with neighbour(port):
        for client in clients:
            client.sendall(head("streamGenerateContent?alt=sse", len(body)) + body)
        time.sleep(1)
    settle(desk)  # the rows are free although nobody has read what they said
    for client in clients:
        client.close()
    with neighbour(port):
        pass


def test_a_client_that_reads_late_gets_all(served: tuple[int, Desk]) -> None:
    port, desk = served
    config = {"candidateCount": 4, "responseLogprobs": True, "logprobs": 20, "seed": 3}
    body = json.dumps({"contents": FEW, "generationConfig": config}).encode()
    with closing(connected(port)) as client, neighbour(port):
        client.sendall(head("streamGenerateContent?alt=sse", len(body)) + body)
        time.sleep(2)
        told = everything(client)
    assert told.count(b'"finishReason"') == 4
    settle(desk)


def test_clients_that_send_byte_by_byte_are_answered_in_the_end(
    served: tuple[int, Desk],
) -> None:
    port, _ = served
    body = json.dumps({"contents": FEW, "generationConfig": GREEDY}).encode()
    clients = [connected(port) for _ in range(40)]
    with neighbour(port):
        data = head("generateContent", len(body)) + body
        for at in range(len(data)):
            for client in clients:
                client.sendall(data[at : at + 1])
            time.sleep(0.01)
        for client in clients:
            assert everything(client).startswith(b"HTTP/1.1 200 ")
            client.close()


def test_bodies_that_are_cut_are_nobodys_error(
    served: tuple[int, Desk], caplog: pytest.LogCaptureFixture
) -> None:
    port, desk = served
    body = json.dumps({"contents": FEW, "generationConfig": GREEDY}).encode()
    with neighbour(port):
        for cut in (0, 1, 20, len(body) - 1):
            with closing(connected(port)) as client:
                client.sendall(head("generateContent", len(body)) + body[:cut])
                time.sleep(0.05)
    settle(desk)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_ten_thousand_messages_are_told_to_be_too_many(served: tuple[int, Desk]) -> None:
    port, desk = served
    said = {"user": "hi " * 10, "model": "ho " * 10}
    roles = ["user", "model"] * 5000 + ["user"]
    contents = [{"role": role, "parts": [{"text": said[role]}]} for role in roles]
    with neighbour(port), httpx.Client(timeout=PATIENCE_S) as client:
        address = f"http://127.0.0.1:{port}{MODEL}"
        refused = client.post(f"{address}:generateContent", json={"contents": contents})
        counted = client.post(f"{address}:countTokens", json={"contents": contents})
    assert refused.status_code == 400
    assert "exceeds the maximum number of tokens allowed" in refused.json()["error"]["message"]
    assert counted.json()["totalTokens"] > 100_000
    settle(desk)


@pytest.mark.parametrize("told", [True, False], ids=["length told", "chunked"])
def test_two_hundred_megabytes_are_refused_with_the_limit(
    served: tuple[int, Desk], told: bool
) -> None:
    port, desk = served
    piece = b"QUJD" * (1 << 18)

    def pieces() -> Iterator[bytes]:
        yield b'{"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "'
        for _ in range(200):
            yield piece
        yield b'"}}]}]}'

    length = {"content-length": str(sum(map(len, pieces())))} if told else {}
    with neighbour(port), httpx.Client(timeout=PATIENCE_S) as client:
        address = f"http://127.0.0.1:{port}{MODEL}:generateContent"
        response = client.post(address, content=pieces(), headers=length)
    assert response.status_code in (400, 413)
    assert "Request payload size exceeds the limit" in response.json()["error"]["message"]
    settle(desk)
