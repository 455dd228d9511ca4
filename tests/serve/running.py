"""A server of uvicorn in a thread of its own, for as long as a test needs it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

Work = Callable[[uvicorn.Server], Coroutine[Any, Any, None]]


@contextmanager
def running(config: uvicorn.Config, *, work: Work = uvicorn.Server.serve) -> Iterator[int]:
    """The port that it listens on; `work` serves until the server is told to exit."""
    server = uvicorn.Server(config)
    thread = threading.Thread(target=asyncio.run, args=(work(server),), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=10)
