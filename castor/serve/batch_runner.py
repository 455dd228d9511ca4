"""What answers batches: one at a time, a few of its requests at once, while the server is up.

Invariant: an answer that was written is never asked for again, so a batch that was interrupted goes
on where it stood. Of several servers over one data folder, one answers batches; when its process
ends, however it ends, another takes over.
"""

import asyncio
import fcntl
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

from starlette.concurrency import run_in_threadpool

from castor.serve.batches import (
    EXPIRED,
    FAILED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    Batch,
    close,
    find_batch,
    of_row,
)
from castor.serve.files import File, find
from castor.serve.incoming import json_object
from castor.serve.refusal import Refusal, bad, of
from castor.serve.resources import as_object
from castor.serve.store import Store
from castor.serve.uploads import generated

RPC_CODES = {  # of errors inside a reply; HTTP has fewer
    "CANCELLED": 1,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
BUSY = (429, 503)  # others come first: a batch waits
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
MOST_TRIES = 5  # of a request during which the process ended
PAUSE_S = 10.0  # after a failure of the store
LINES = 256  # of the file of answers, written at once

Answer = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""The reply of "models/ID" to a generateContent request. Raises Refusal."""

log = logging.getLogger(__name__)


class Runner:
    """Answers the batches of a store for as long as `run` is awaited."""

    def __init__(
        self, store: Store, answer: Answer, *, at_once: int = 2, look_s: float = 1.0
    ) -> None:
        """`look_s`: how often it looks for what other servers over the same folder have taken."""
        self._store, self._answer = store, answer
        self._at_once, self._look_s = at_once, look_s
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Say that there is a new batch, or one less."""
        self._woken.set()

    async def run(self) -> None:
        """Answer batches until cancelled."""
        with ExitStack() as held:
            while not self._alone(held):
                await asyncio.sleep(self._look_s)
            while True:
                try:
                    batch = await run_in_threadpool(_next, self._store)
                    if batch is not None:
                        await self._work(batch)
                        continue
                    await self._rest(self._look_s)
                except* (Refusal, OSError, sqlite3.Error):  # e.g. a full disk: later, perhaps
                    log.exception("batches wait")
                    await self._rest(PAUSE_S)

    def _alone(self, held: ExitStack) -> bool:
        lock = held.enter_context((self._store.folder / "batches.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            return False
        return True

    async def _rest(self, most_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), most_s)
        self._woken.clear()

    async def _work(self, batch: Batch) -> None:
        """Answer a batch, unless it is cancelled, deleted or too late in the meantime."""
        positions = iter(await run_in_threadpool(_unanswered, self._store, batch.name))
        async with asyncio.TaskGroup() as group:
            works = [
                group.create_task(self._answer_some(batch, positions)) for _ in range(self._at_once)
            ]
            while not all(work.done() for work in works):
                await self._rest(self._look_s)
                if not await run_in_threadpool(_goes_on, self._store, batch.name):
                    for work in works:
                        work.cancel()
                    break
        if not any(work.cancelled() for work in works):
            await run_in_threadpool(_finish, self._store, batch)

    async def _answer_some(self, batch: Batch, positions: Iterator[int]) -> None:
        try:
            for position in positions:
                line = await run_in_threadpool(_take, self._store, batch, position)
                if line is not None:
                    told, failed = await self._answered(batch.model, line)
                    await run_in_threadpool(
                        _record, self._store, batch.name, position, told, failed
                    )
        finally:
            self.wake()

    async def _answered(self, model: str, line: bytes) -> tuple[dict[str, Any], bool]:
        """What to write for a line, and whether it is an error."""
        told: dict[str, Any] = {}
        try:
            told = json_object(line)
            request = as_object(told.pop("request", None), "request")
            if not request:
                raise bad('A line is like {"key": "…", "request": {"contents": […]}}')
            return {**told, "response": await self._patiently(model, request)}, False
        except Refusal as error:
            return {**told, "error": _status(error)}, True
        except Exception as error:  # of one request: the others are answered all the same
            log.exception("a request of a batch failed")
            return {**told, "error": _status(of(error))}, True

    async def _patiently(self, model: str, request: dict[str, Any]) -> dict[str, Any]:
        for wait_s in WAITS_S:
            try:
                return await self._answer(model, request)
            except Refusal as error:
                if error.code not in BUSY:
                    raise
                await asyncio.sleep(error.wait_s or wait_s)
        return await self._answer(model, request)


def _next(store: Store) -> Batch | None:
    """The batch to answer now; those that are too late are given up."""
    query = "SELECT * FROM batches WHERE ended IS NULL ORDER BY priority DESC, created, name"
    with store.read() as rows:
        names = [row["name"] for row in rows.execute(query)]
    for name in names:
        if _goes_on(store, name):
            with store.write() as rows:
                change = "UPDATE batches SET state = ?, updated = ? WHERE name = ? AND state = ?"
                rows.execute(change, [RUNNING, store.now(), name, PENDING])
                row = rows.execute("SELECT * FROM batches WHERE name = ?", [name]).fetchone()
            return None if row is None else of_row(row)
    return None


def _goes_on(store: Store, name: str) -> bool:
    """Whether a batch is still to be answered."""
    try:
        batch = find_batch(store, name)
    except Refusal:  # deleted
        return False
    if batch.ended is None and batch.expires <= store.now():
        close(store, name, EXPIRED)
        return False
    return batch.ended is None


def _unanswered(store: Store, name: str) -> list[int]:
    query = "SELECT position FROM items WHERE batch = ? AND answer IS NULL ORDER BY position"
    with store.read() as rows:
        return [row[0] for row in rows.execute(query, [name])]


def _take(store: Store, batch: Batch, position: int) -> bytes | None:
    """The line of a request; None if there is nothing to answer."""
    place = [batch.name, position]
    with store.write() as rows:
        query = "SELECT start, length, tries FROM items WHERE batch = ? AND position = ?"
        row = rows.execute(query, place).fetchone()
        if row is None:  # the batch was deleted
            return None
        rows.execute("UPDATE items SET tries = tries + 1 WHERE batch = ? AND position = ?", place)
    if row["tries"] >= MOST_TRIES:
        gone = Refusal(500, f"Given up: the server ended {MOST_TRIES} times over this request.")
        _record(store, batch.name, position, {"error": _status(gone)}, True)
        return None
    try:
        with store.blob(batch.requests).open("rb") as stream:
            stream.seek(row["start"])
            return stream.read(row["length"])
    except FileNotFoundError:
        close(store, batch.name, FAILED, error="The requests are gone from the data folder.")
        return None


def _record(store: Store, name: str, position: int, told: dict[str, Any], failed: bool) -> None:
    change = "UPDATE items SET answer = ?, failed = ? WHERE batch = ? AND position = ?"
    with store.write() as rows:
        rows.execute(change, [json.dumps(told), failed, name, position])
        rows.execute("UPDATE batches SET updated = ? WHERE name = ?", [store.now(), name])


def _finish(store: Store, batch: Batch) -> None:
    """End a batch whose requests are all answered."""
    if not _goes_on(store, batch.name) or _unanswered(store, batch.name):
        return
    if batch.input_file is None:
        close(store, batch.name, SUCCEEDED)
    else:
        close(store, batch.name, SUCCEEDED, output_file=_written(store, batch).name)


def _written(store: Store, batch: Batch) -> File:
    name = f"files/batch-{batch.name.removeprefix('batches/')}"
    lines, shown = _lines(store, batch.name), f"Answers of {batch.display_name or batch.name}"[:512]
    try:
        return generated(store, lines, mime="application/jsonl", name=name, display_name=shown)
    except Refusal as error:
        if error.status != "ALREADY_EXISTS":
            raise
        return find(store, name)  # the process ended before it could say so


def _lines(store: Store, name: str) -> Iterator[bytes]:
    query = """SELECT position, answer FROM items WHERE batch = ? AND position > ?
               ORDER BY position LIMIT ?"""
    last = -1
    while True:
        with store.read() as rows:
            found = rows.execute(query, [name, last, LINES]).fetchall()
        if not found:
            return
        yield b"".join(row["answer"].encode() + b"\n" for row in found)
        last = found[-1]["position"]


def _status(refusal: Refusal) -> dict[str, Any]:
    """An error inside a reply: google.rpc.Status."""
    details = {"details": list(refusal.details)} if refusal.details else {}
    return {"code": RPC_CODES.get(refusal.status, 2), "message": refusal.message, **details}
