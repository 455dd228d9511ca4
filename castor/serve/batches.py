"""Batches: many requests that nobody waits for, answered in the background by `batch_runner`.

The requests lie as lines of JSON in a blob, inline ones too; the store has a row for each line, and
in it the answer once there is one.
"""

import hashlib
import io
import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from castor.core.files import write_atomic
from castor.serve.files import LAST, find
from castor.serve.paths import model_of
from castor.serve.refusal import Refusal, bad, no_file
from castor.serve.resources import (
    BODY_BYTES,
    Page,
    as_object,
    field,
    json_body,
    listing,
    new_id,
    newest,
    page_of,
    text_field,
    timestamp,
)
from castor.serve.store import Store

PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED = (
    f"BATCH_STATE_{state}"
    for state in ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
)
INPUT = "batch.inputConfig"
TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"

Check = Callable[[str], object]
"""Raises Refusal if there is no model "models/ID"."""


@dataclass(frozen=True)
class Batch:
    """A row of the store."""

    name: str  # "batches/ID"
    display_name: str
    model: str  # "models/ID"
    priority: int  # higher ones are answered first
    state: str
    input_file: str | None  # "files/ID", None for inline requests
    requests: str  # the blob that holds them
    output_file: str | None
    error: str | None  # of the whole batch
    items: int
    answered: int  # answers that are no errors; up to date once `ended`
    failed: int
    created: float
    updated: float
    ended: float | None
    expires: float  # when an open one is given up


@dataclass(frozen=True)
class Operation:
    """A batch as the API tells of it."""

    batch: Batch
    answered: int
    failed: int
    answers: tuple[dict[str, Any], ...] | None = None  # of inline requests, in their order

    @property
    def name(self) -> str:
        return self.batch.name

    @property
    def created(self) -> float:
        return self.batch.created

    @property
    def wire(self) -> dict[str, Any]:
        """The long-running operation."""
        batch, output = self.batch, self._output
        done: dict[str, Any] = {"done": True} if batch.ended is not None else {}
        if batch.state == SUCCEEDED:
            done["response"] = {"@type": f"{TYPE}Output", **output}
        elif done:
            code, message = {
                CANCELLED: (1, "The batch was cancelled."),
                EXPIRED: (4, "The batch was not answered in time."),
            }.get(batch.state, (13, batch.error or "The batch failed."))
            done["error"] = {"code": code, "message": message}
        return {"name": batch.name, "metadata": self._metadata(output), **done}

    @property
    def _output(self) -> dict[str, Any]:
        if self.batch.output_file is not None:
            return {"responsesFile": self.batch.output_file}
        if self.answers is not None:
            return {"inlinedResponses": {"inlinedResponses": list(self.answers)}}
        return {}

    def _metadata(self, output: dict[str, Any]) -> dict[str, Any]:
        batch = self.batch
        counts = {
            "requestCount": batch.items,
            "successfulRequestCount": self.answered,
            "failedRequestCount": self.failed,
            "pendingRequestCount": batch.items - self.answered - self.failed,
        }
        return {
            "@type": TYPE,
            "model": batch.model,
            "displayName": batch.display_name,
            **({"inputConfig": {"fileName": batch.input_file}} if batch.input_file else {}),
            **({"output": output} if output else {}),
            "createTime": timestamp(batch.created),
            **({} if batch.ended is None else {"endTime": timestamp(batch.ended)}),
            "updateTime": timestamp(batch.updated),
            "batchStats": {name: str(n) for name, n in counts.items() if n},
            "state": batch.state,
            **({"priority": str(batch.priority)} if batch.priority else {}),
            "name": batch.name,
        }


def routes(
    store: Store, wake: Callable[[], None], check: Check = lambda model: None
) -> list[Route]:
    """Create, get, list, cancel and delete; `wake` is told that there is something to do."""

    async def created(request: Request) -> Response:
        body = await json_body(request)
        model = f"models/{model_of(request.path_params['model'])}"
        check(model)
        name = await run_in_threadpool(create, store, model, body)
        wake()
        return JSONResponse((await run_in_threadpool(operation, store, name)).wire)

    async def got(request: Request) -> Response:
        return JSONResponse((await run_in_threadpool(operation, store, _named(request))).wire)

    async def listed(request: Request) -> Response:
        page = page_of(request, usual=50, most=1000)
        return listing("operations", await run_in_threadpool(_listed, store, page), page)

    async def cancelled(request: Request) -> Response:
        await run_in_threadpool(cancel, store, _named(request))
        wake()
        return JSONResponse({})

    async def deleted(request: Request) -> Response:
        await run_in_threadpool(delete, store, _named(request))
        wake()
        return JSONResponse({})

    return [
        Route("/models/{model:path}:batchGenerateContent", created, methods=["POST"]),
        Route("/tunedModels/{model:path}:batchGenerateContent", created, methods=["POST"]),
        Route("/batches", listed, methods=["GET"]),
        Route("/batches/{id}:cancel", cancelled, methods=["POST"]),
        Route("/batches/{id}", got, methods=["GET"]),
        Route("/batches/{id}", deleted, methods=["DELETE"]),
    ]


def create(store: Store, model: str, body: dict[str, Any]) -> str:
    """Take a batch in, and give its name.

    Raises:
        Refusal: 400, it names neither requests nor a file of them, or both; 403, the file is not
            there; 503, the disk is full.
    """
    fields = as_object(field(body, "batch"), "batch")
    config = as_object(field(fields, "inputConfig"), INPUT)
    file, inline = text_field(config, "fileName"), field(config, "requests")
    if bool(file) == (inline is not None):
        raise bad(f"{INPUT} has either fileName or requests")
    priority = field(fields, "priority") or 0
    if not re.fullmatch(r"-?\d{1,18}", str(priority)):
        raise bad(f"batch.priority is a whole number; got {priority!r}")
    data = None if file else _as_lines(as_object(inline, f"{INPUT}.requests"))
    file, sha256, lines = _of_file(store, file) if data is None else (None, *_of_data(data))
    name, now = f"batches/{new_id(24)}", store.now()
    batch = Batch(
        name=name,
        display_name=text_field(fields, "displayName"),
        model=model,
        priority=int(priority),
        state=PENDING,
        input_file=file,
        requests=sha256,
        output_file=None,
        error=None,
        items=len(lines),
        answered=0,
        failed=0,
        created=now,
        updated=now,
        ended=None,
        expires=now + store.limits.batch_s,
    )
    with store.write() as rows:
        if data is not None:
            write_atomic(store.blob(sha256), data)
        elif not store.blob(sha256).exists():  # deleted in the meantime
            raise no_file(str(file).removeprefix("files/"))
        values = list(vars(batch).values())
        rows.execute(f"INSERT INTO batches VALUES ({', '.join('?' * len(values))})", values)
        rows.executemany(
            "INSERT INTO items (batch, position, start, length) VALUES (?, ?, ?, ?)",
            ((name, position, *line) for position, line in enumerate(lines)),
        )
    return name


def find_batch(store: Store, name: str) -> Batch:
    """The batch of this name.

    Raises:
        Refusal: 404, there is none.
    """
    with store.read() as rows:
        row = rows.execute("SELECT * FROM batches WHERE name = ?", [name]).fetchone()
    if row is None:
        raise Refusal(404, f"{name} was not found.")
    return of_row(row)


def operation(store: Store, name: str) -> Operation:
    """A batch with all its answers, if they are not in a file.

    Raises:
        Refusal: 404, there is none.
    """
    counted = _counted(store, find_batch(store, name))
    if counted.batch.input_file is not None or counted.batch.state != SUCCEEDED:
        return counted
    query = "SELECT answer FROM items WHERE batch = ? ORDER BY position"
    with store.read() as rows:
        answers = tuple(json.loads(row[0]) for row in rows.execute(query, [name]))
    return replace(counted, answers=answers)


def cancel(store: Store, name: str) -> None:
    """Give a batch up; one that is over stays as it is.

    Raises:
        Refusal: 404, there is none.
    """
    find_batch(store, name)
    close(store, name, CANCELLED)


def delete(store: Store, name: str) -> None:
    """Forget a batch, also one under way; the file of its answers stays.

    Raises:
        Refusal: 404, there is none.
    """
    batch = find_batch(store, name)
    with store.write() as rows:
        rows.execute("DELETE FROM batches WHERE name = ?", [name])
    store.release(batch.requests)


def close(
    store: Store, name: str, state: str, *, output_file: str | None = None, error: str | None = None
) -> None:
    """End a batch that is open. Its answers stay if it succeeded and has no file of them."""
    kept = state == SUCCEEDED and output_file is None
    with store.write() as rows:
        row = rows.execute("SELECT * FROM batches WHERE name = ?", [name]).fetchone()
        if row is None or row["ended"] is not None:
            return
        now, (answered, failed) = store.now(), _counts(rows, name)
        change = """UPDATE batches SET state = ?, output_file = ?, error = ?, answered = ?,
                    failed = ?, updated = ?, ended = ? WHERE name = ?"""
        rows.execute(change, [state, output_file, error, answered, failed, now, now, name])
        if not kept:
            rows.execute("DELETE FROM items WHERE batch = ?", [name])
    store.release(row["requests"])


def _listed(store: Store, page: Page) -> list[Operation]:
    rows = newest(store, "batches", page, expired=True)
    return [_counted(store, of_row(row)) for row in rows]


def of_row(row: sqlite3.Row) -> Batch:
    """A row of the table as a Batch."""
    return Batch(**dict(row))


def _counted(store: Store, batch: Batch) -> Operation:
    if batch.ended is not None:
        return Operation(batch, batch.answered, batch.failed)
    with store.read() as rows:
        return Operation(batch, *_counts(rows, batch.name))


def _counts(rows: sqlite3.Connection, name: str) -> tuple[int, int]:
    """Items with an answer, and items with an error."""
    query = """SELECT COUNT(answer) - COALESCE(SUM(failed), 0), COALESCE(SUM(failed), 0)
               FROM items WHERE batch = ?"""
    answered, failed = rows.execute(query, [name]).fetchone()
    return answered, failed


def _as_lines(config: dict[str, Any]) -> bytes:
    requests = field(config, "requests")
    if not isinstance(requests, list):
        raise bad(f"{INPUT}.requests.requests is a list of requests")
    return b"".join(json.dumps(item).encode() + b"\n" for item in cast("list[Any]", requests))


def _of_data(data: bytes) -> tuple[str, list[tuple[int, int]]]:
    lines = _lines(io.BytesIO(data), f"{INPUT}.requests")
    return hashlib.sha256(data).hexdigest(), lines


def _of_file(store: Store, name: str) -> tuple[str, str, list[tuple[int, int]]]:
    found = LAST.search(name)
    file = None if found is None else find(store, found[1])
    try:
        if file is not None:
            with store.blob(file.sha256).open("rb") as stream:
                return file.name, file.sha256, _lines(stream, file.name)
    except FileNotFoundError:
        pass  # deleted in the meantime
    raise no_file(name.removeprefix("files/"))


def _lines(stream: io.BufferedIOBase, place: str) -> list[tuple[int, int]]:
    """Where the lines start that say something, and their lengths."""
    lines: list[tuple[int, int]] = []
    start = 0
    while line := stream.readline(BODY_BYTES + 1):
        if len(line) > BODY_BYTES:
            raise bad(f"{place}: a line may have {BODY_BYTES} bytes")
        if line.strip():
            lines.append((start, len(line)))
        start += len(line)
    if not lines:
        raise bad(f"{place} holds no requests")
    return lines


def _named(request: Request) -> str:
    return f"batches/{request.path_params['id']}"
