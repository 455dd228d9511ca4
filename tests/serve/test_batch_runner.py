"""Answering batches: every request once, in its place, whatever fails or dies on the way."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from castor.serve import batches
from castor.serve.batch_runner import Runner
from castor.serve.batches import (
    CANCELLED,
    EXPIRED,
    FAILED,
    PENDING,
    SUCCEEDED,
    cancel,
    create,
    operation,
)
from castor.serve.files import find, resolve
from castor.serve.refusal import Refusal
from castor.serve.store import HOUR, Store
from castor.serve.uploads import generated
from tests.serve.batched import answers, echo, inline, run
from tests.serve.routed import Clock

pytestmark = pytest.mark.usefixtures("quick")


def test_inline_requests_are_answered_in_their_order(kept: Store) -> None:
    name = create(kept, "models/m", inline(range(9)))
    run(kept, echo, name, at_once=4)
    told = operation(kept, name).wire
    assert answers(kept, name) == [
        {"metadata": {"key": f"k{n}"}, "response": {"model": "models/m", "echo": n}}
        for n in range(9)
    ]
    assert told["metadata"]["output"] == {"inlinedResponses": told["response"]["inlinedResponses"]}
    assert told["metadata"]["batchStats"] == {"requestCount": "9", "successfulRequestCount": "9"}
    assert told["metadata"]["state"] == SUCCEEDED


def test_lines_of_a_file_are_answered_by_lines_of_a_file(kept: Store) -> None:
    lines = [{"key": f"k{n}", "request": {"n": n}, "custom_id": n} for n in range(600)]
    source = generated(kept, [json.dumps(line).encode() + b"\n" for line in lines], mime="jsonl")
    body = {"batch": {"displayName": "All", "inputConfig": {"fileName": source.name}}}
    name = create(kept, "models/m", body)
    run(kept, echo, name)
    told = operation(kept, name).wire
    output = told["response"]["responsesFile"]
    assert told["metadata"]["output"] == {"responsesFile": output}
    assert find(kept, output).wire["displayName"] == "Answers of All"
    mime, data = resolve(kept, output)
    assert mime == "application/jsonl"
    assert [json.loads(line) for line in data.splitlines()] == [
        {"key": f"k{n}", "custom_id": n, "response": {"model": "models/m", "echo": n}}
        for n in range(600)
    ]
    assert told["metadata"]["batchStats"]["successfulRequestCount"] == "600"


def test_a_request_that_fails_does_not_spoil_the_others(
    kept: Store, caplog: pytest.LogCaptureFixture
) -> None:
    details = ({"@type": "x"},)

    async def answer(model: str, request: dict[str, Any]) -> dict[str, Any]:
        if request["n"] == 1:
            raise Refusal(400, "too long", details=details)
        if request["n"] == 2:
            raise RuntimeError("a bug")
        return {}

    name = create(kept, "models/m", inline(range(4)))
    run(kept, answer, name)
    told = [item.get("error", "fine") for item in answers(kept, name)]
    unknown = "An internal error has occurred. The server's log says more."
    assert told == [
        "fine",
        {"code": 3, "message": "too long", "details": [{"@type": "x"}]},
        {"code": 13, "message": unknown},
        "fine",
    ]
    stats = operation(kept, name).wire["metadata"]["batchStats"]
    assert (stats["successfulRequestCount"], stats["failedRequestCount"]) == ("2", "2")
    assert "a request of a batch failed" in caplog.messages


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"nonsense", "Invalid JSON payload received."),
        (b"[1]", "Invalid JSON payload received."),
        (b'{"key": "k"}', 'A line is like {"key": "…", "request": {"contents": […]}}'),
        (b'{"request": 7}', "request is a JSON object; got int"),
        (b"\xff\xfe", "Invalid JSON payload received."),
    ],
)
def test_a_line_that_is_no_request_is_an_error_of_its_own(
    kept: Store, line: bytes, said: str
) -> None:
    source = generated(kept, [line + b'\n{"request": {"n": 1}}'], mime="jsonl")
    name = create(kept, "models/m", {"batch": {"inputConfig": {"fileName": source.name}}})
    run(kept, echo, name)
    output = operation(kept, name).batch.output_file or ""
    first, second = (json.loads(text) for text in resolve(kept, output)[1].splitlines())
    assert first["error"]["message"].startswith(said)
    assert second["response"]["echo"] == 1


@pytest.mark.parametrize("wait_s", [None, 0.02])
def test_a_busy_engine_is_waited_for(kept: Store, wait_s: float | None) -> None:
    asked: list[int] = []

    async def answer(model: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["n"])
        if len(asked) < 3:
            raise Refusal(503, "busy", wait_s=wait_s)
        return {}

    name = create(kept, "models/m", inline(range(1)))
    run(kept, answer, name)
    assert asked == [0, 0, 0] and "response" in answers(kept, name)[0]


def test_an_engine_that_stays_busy_is_given_up(kept: Store) -> None:
    async def answer(model: str, request: dict[str, Any]) -> dict[str, Any]:
        raise Refusal(429, "no more today")

    name = create(kept, "models/m", inline(range(1)))
    run(kept, answer, name)
    assert answers(kept, name)[0]["error"] == {"code": 8, "message": "no more today"}


def test_only_a_few_requests_are_asked_at_once(kept: Store) -> None:
    now, most = 0, 0

    async def answer(model: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.01)
        now -= 1
        return {}

    name = create(kept, "models/m", inline(range(12)))
    run(kept, answer, name, at_once=3)
    assert most == 3


def test_batches_of_a_higher_priority_come_first_then_older_ones(kept: Store) -> None:
    asked: list[int] = []

    async def answer(model: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["n"])
        return {}

    names = [
        create(kept, "models/m", inline(range(n, n + 1), priority=priority))
        for n, priority in enumerate([0, -1, 5, 0])
    ]
    run(kept, answer, *names)
    assert asked == [2, 0, 3, 1]


def stopped_by(kept: Store, stop: Callable[[str], None], *, asked: int) -> tuple[int, str]:
    """Do something to a batch of 50 when some were asked: how many were asked in the end."""
    count = 0
    name = create(kept, "models/m", inline(range(50)))

    async def answer(model: str, request: dict[str, Any]) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count == asked:
            stop(name)
        await asyncio.sleep(0.02)
        return {}

    async def scenario() -> None:
        runner = asyncio.create_task(Runner(kept, answer, at_once=2, look_s=0.01).run())
        await asyncio.sleep(0.5)
        runner.cancel()
        await asyncio.wait([runner])

    asyncio.run(scenario())
    return count, name


def test_a_cancelled_batch_asks_no_more(kept: Store) -> None:
    count, name = stopped_by(kept, lambda name: cancel(kept, name), asked=6)
    assert count < 10
    assert operation(kept, name).batch.state == CANCELLED


def test_a_deleted_batch_asks_no_more(kept: Store) -> None:
    count, _ = stopped_by(kept, lambda name: batches.delete(kept, name), asked=6)
    assert count < 10


def test_a_batch_that_takes_too_long_expires(opened: tuple[Store, Clock]) -> None:
    kept, clock = opened

    def wait(name: str) -> None:
        clock.now += 48 * HOUR

    count, name = stopped_by(kept, wait, asked=6)
    assert count < 10
    assert operation(kept, name).batch.state == EXPIRED


def test_a_batch_whose_requests_are_gone_fails(kept: Store) -> None:
    def empty(name: str) -> None:
        kept.blob(operation(kept, name).batch.requests).unlink()

    count, name = stopped_by(kept, empty, asked=6)
    assert count < 10
    told = operation(kept, name).wire
    assert told["metadata"]["state"] == FAILED
    assert told["error"]["message"] == "The requests are gone from the data folder."


def test_a_woken_runner_does_not_wait_to_look(kept: Store) -> None:
    async def scenario() -> str:
        runner = Runner(kept, echo, look_s=60)
        running = asyncio.create_task(runner.run())
        await asyncio.sleep(0.1)
        name = create(kept, "models/m", inline(range(1)))
        assert operation(kept, name).batch.state == PENDING
        runner.wake()
        while operation(kept, name).batch.ended is None:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])
        return name

    name = asyncio.run(asyncio.wait_for(scenario(), 10))
    assert operation(kept, name).batch.state == SUCCEEDED
