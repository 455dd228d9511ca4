"""Batches outlive the server: what was answered stays, and the rest is answered by the next."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from castor.serve import batch_runner, batches
from castor.serve.batch_runner import MOST_TRIES, Runner
from castor.serve.batches import (
    RUNNING,
    SUCCEEDED,
    create,
    operation,
)
from castor.serve.files import resolve
from castor.serve.refusal import Refusal
from castor.serve.store import Store
from castor.serve.uploads import generated
from tests.serve.batched import Answer, answers, echo, inline, run
from tests.serve.routed import store_in

pytestmark = pytest.mark.usefixtures("quick")

ANSWERING = Path(__file__).with_name("answering.py")


class Died(BaseException):
    """What a killed process would be in here."""


def test_a_stopped_server_leaves_its_batch_to_the_next(kept: Store) -> None:
    asked: list[int] = []

    async def slow(model: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["n"])
        await asyncio.sleep(0 if request["n"] < 5 else 60)
        return {}

    name = create(kept, "models/m", inline(range(9)))

    async def scenario() -> None:
        runner = asyncio.create_task(Runner(kept, slow, look_s=0.02).run())
        while len(asked) < 7:
            await asyncio.sleep(0.01)
        runner.cancel()
        await asyncio.wait([runner])

    asyncio.run(scenario())
    told = operation(kept, name).wire["metadata"]
    assert told["state"] == RUNNING
    assert told["batchStats"]["pendingRequestCount"] == "4"
    asked.clear()

    async def quick(model: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request["n"])
        return {}

    run(kept, quick, name)
    assert sorted(asked) == [5, 6, 7, 8]


def test_a_killed_server_asks_again_only_what_was_in_hand(kept: Store, tmp_path: Path) -> None:
    source = b"".join(b'{"request": {"n": %d}}\n' % n for n in range(40))
    file = generated(kept, [source], mime="jsonl")
    name = create(kept, "models/m", {"batch": {"inputConfig": {"fileName": file.name}}})
    kept.close()
    folder, log = tmp_path / "data", tmp_path / "log"
    command = [sys.executable, str(ANSWERING), str(folder), str(log)]
    kills = 0
    for wanted in (8, 20, 33):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and len(log.read_bytes().splitlines()) >= wanted:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        process.wait()
    assert subprocess.run(command, timeout=60).returncode == 0
    asked = log.read_text().split()
    assert sorted(set(asked), key=int) == [str(n) for n in range(40)]
    assert kills == 3 and len(asked) <= 40 + 2 * kills
    again = Store(folder)
    done = operation(again, name).batch
    assert done.state == SUCCEEDED
    answered = resolve(again, done.output_file or "")[1].splitlines()
    assert [json.loads(line) for line in answered] == [{"response": {"n": n}} for n in range(40)]


def test_a_request_over_which_the_server_always_ends_is_given_up(kept: Store) -> None:
    name = create(kept, "models/m", inline(range(2)))
    with kept.write() as rows:
        rows.execute("UPDATE items SET tries = ? WHERE position = 0", [MOST_TRIES])
    run(kept, echo, name)
    first, second = answers(kept, name)
    assert first["error"]["message"] == "Given up: the server ended 5 times over this request."
    assert second["response"]["echo"] == 1


def test_answers_that_were_written_before_the_server_ended_are_not_written_twice(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = generated(kept, [b'{"request": {"n": 1}}'], mime="jsonl")
    name = create(kept, "models/m", {"batch": {"inputConfig": {"fileName": file.name}}})
    ends = [Died]

    def die_once(*arguments: Any, **options: Any) -> None:
        if ends:
            raise ends.pop()
        batches.close(*arguments, **options)

    monkeypatch.setattr(batch_runner, "close", die_once)
    with pytest.raises(Died):
        run(kept, echo, name)
    run(kept, echo, name)
    assert operation(kept, name).batch.output_file == f"files/batch-{name.partition('/')[2]}"


def test_of_two_servers_one_answers_and_the_other_takes_over(kept: Store) -> None:
    asked: list[str] = []

    def answer(who: str) -> Answer:
        async def answered(model: str, request: dict[str, Any]) -> dict[str, Any]:
            asked.append(who)
            return {}

        return answered

    async def scenario() -> None:
        other = Store(kept.folder, clock=kept.now)
        first = asyncio.create_task(Runner(kept, answer("first"), look_s=0.02).run())
        await asyncio.sleep(0.1)
        second = asyncio.create_task(Runner(other, answer("second"), look_s=0.02).run())
        for runner, taken_by in ((first, other), (second, kept)):
            name = create(taken_by, "models/m", inline(range(3)))
            while operation(kept, name).batch.ended is None:
                await asyncio.sleep(0.01)
            runner.cancel()
            await asyncio.wait([runner])

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert asked == ["first"] * 3 + ["second"] * 3


def test_a_full_disk_makes_batches_wait_not_fail(
    kept: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record, fails = batch_runner._record, [True] * 3

    def sometimes(*arguments: Any) -> None:
        if fails:
            fails.pop()
            raise Refusal(503, "The disk is full.")
        record(*arguments)

    monkeypatch.setattr(batch_runner, "_record", sometimes)
    name = create(kept, "models/m", inline(range(3)))
    run(kept, echo, name)
    assert all("response" in item for item in answers(kept, name))
    assert "batches wait" in caplog.messages


def test_output_that_finds_no_room_waits_for_it(tmp_path: Path) -> None:
    kept, _ = store_in(tmp_path / "small", total_bytes=64)
    file = generated(kept, [b'{"request": {"n": 1}}\n'], mime="jsonl")
    name = create(kept, "models/m", {"batch": {"inputConfig": {"fileName": file.name}}})

    async def scenario() -> None:
        runner = asyncio.create_task(Runner(kept, echo, look_s=0.02).run())
        await asyncio.sleep(0.2)
        assert operation(kept, name).batch.state == RUNNING
        runner.cancel()
        await asyncio.wait([runner])

    asyncio.run(scenario())
    run(Store(kept.folder), echo, name)
