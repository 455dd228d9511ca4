"""A server under load: it in a process of its own, and requests over HTTP by a client that costs
next to nothing, in a closed and in an open loop."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from beside import spread


class Wish(NamedTuple):
    """One request: a prompt, as text and as ids for a side that reads no text, and so many ids."""

    text: str
    ids: list[int]
    new: int


class Timed(NamedTuple):
    """When a reply was asked for, began and ended, in seconds of the monotonic clock."""

    asked: float
    first: float
    done: float
    tokens: int


class Unanswered(Exception):
    """A response that is no success."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body[:300]!r}")
        self.status, self.body = status, body


Ask = Callable[[Wish], Awaitable[Timed]]


async def pieces(port: int, path: str, body: Any) -> AsyncGenerator[bytes]:
    """The body of the response to a POST, as it comes. Closing it hangs up.

    `body` is sent as it is if it is bytes, else as JSON. The first piece is empty: it comes with
    the head.

    Raises:
        Unanswered: the status is not 200.
        asyncio.IncompleteReadError: the response was cut short.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        told = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(told.split()[1])
        if status != 200:
            raise Unanswered(status, await reader.read())
        yield b""
        if b"transfer-encoding: chunked" not in told:
            length = told.partition(b"content-length:")[2].split()
            yield await (reader.readexactly(int(length[0])) if length else reader.read())
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield (await reader.readexactly(size + 2))[:-2]
    finally:
        writer.close()


async def post(port: int, path: str, body: Any) -> bytes:
    """The whole body of the response to a POST.

    Raises:
        Unanswered, asyncio.IncompleteReadError: as `pieces`.
    """
    async with aclosing(pieces(port, path, body)) as answer:
        return b"".join([piece async for piece in answer])


async def closed(ask: Ask, wishes: Sequence[Wish], *, clients: int) -> list[Timed]:
    """So many clients, each of which asks anew when it has been answered."""
    left, found = iter(wishes), list[Timed]()

    async def client() -> None:
        for wish in left:
            found.append(await ask(wish))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return found


async def opened(
    ask: Ask, wishes: Sequence[Wish], *, rate: float, rng: np.random.Generator
) -> list[Timed]:
    """Requests that come by chance, `rate` of them a second, whatever has been answered."""
    due, tasks = time.perf_counter(), list[asyncio.Task[Timed]]()
    async with asyncio.TaskGroup() as group:
        for wish in wishes:
            due += rng.exponential(1 / rate)
            await asyncio.sleep(due - time.perf_counter())
            tasks.append(group.create_task(_asked(ask, wish)))
    return [task.result() for task in tasks]


async def _asked(ask: Ask, wish: Wish) -> Timed:
    return await ask(wish)


def figures(found: Sequence[Timed]) -> dict[str, float]:
    """What one round of a loop came to; times in milliseconds."""
    seconds = max(t.done for t in found) - min(t.asked for t in found)
    first = [1000 * (t.first - t.asked) for t in found]
    whole = [1000 * (t.done - t.asked) for t in found]
    return {
        "requests_per_second": len(found) / seconds,
        "tokens_per_second": sum(t.tokens for t in found) / seconds,
        "first_token_ms_p50": float(np.percentile(first, 50)),
        "first_token_ms_p95": float(np.percentile(first, 95)),
        "whole_ms_p50": float(np.percentile(whole, 50)),
        "whole_ms_p95": float(np.percentile(whole, 95)),
    }


def over_rounds(rounds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Each figure's median over the rounds, and how far they lie apart."""
    return {name: spread([each[name] for each in rounds], digits=2) for name in rounds[0]}


class Castor:
    """`castor serve` in a process of its own, over a checkpoint; its log goes to a file."""

    def __init__(self, model: Path | None, folder: Path, flags: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log.txt"
        chosen = [] if model is None else ["--model", str(model)]
        command = [sys.executable, "-m", "castor.cli", "serve", "--port", "0", *chosen]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(folder), *flags],
                env=os.environ | {"JAX_LOG_COMPILES": "1"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        told = ""
        while not (found := re.search(r"http://[^/\s]+:(\d+)", told)):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"the server did not start:\n{self._log.read_text()[-2000:]}")
            told += line
        self.port = int(found[1])
        self.model = "/v1beta/models/" + self.get("/health")["model"]

    def __enter__(self) -> "Castor":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def get(self, path: str) -> Any:
        """The JSON, or else the text, of the response to a GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as response:
            body = response.read().decode()
        return json.loads(body) if body.startswith("{") else body

    def compiled(self) -> int:
        """How many programs JAX has compiled so far, by its own log."""
        lines = self._log.read_text(errors="replace").splitlines()
        return sum("Finished XLA compilation of" in line for line in lines)

    def memory_mb(self) -> float:
        """What its process holds (Linux alone tells)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024
