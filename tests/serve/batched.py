"""Batches of numbered requests, and a runner that answers them until they are over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from castor.serve.batch_runner import Runner
from castor.serve.batches import operation
from castor.serve.store import Store

Answer = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


async def echo(model: str, request: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"model": model, "echo": request["n"]}


def inline(numbers: range, **fields: Any) -> dict[str, Any]:
    items = [{"request": {"n": n}, "metadata": {"key": f"k{n}"}} for n in numbers]
    return {"batch": {**fields, "inputConfig": {"requests": {"requests": items}}}}


def run(kept: Store, answer: Answer, *names: str, at_once: int = 2) -> None:
    """Answer until these batches are over."""

    async def scenario() -> None:
        runner = asyncio.create_task(Runner(kept, answer, at_once=at_once, look_s=0.02).run())
        async with asyncio.timeout(20):
            while any(operation(kept, name).batch.ended is None for name in names):
                assert not runner.done(), runner.result()
                await asyncio.sleep(0.005)
        runner.cancel()
        await asyncio.wait([runner])

    asyncio.run(scenario())


def answers(kept: Store, name: str) -> list[dict[str, Any]]:
    return operation(kept, name).wire["response"]["inlinedResponses"]["inlinedResponses"]
