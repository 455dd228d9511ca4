"""Cached contents: the beginning of a prompt, kept under a name for many requests.

What is kept is the JSON that was sent and its number of tokens; the engine's own prefix reuse makes
it quick.
"""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from castor.serve.paths import model_of
from castor.serve.refusal import Refusal, bad, refusals
from castor.serve.resources import (
    field,
    json_body,
    listing,
    new_id,
    newest,
    page_of,
    read_duration,
    read_timestamp,
    text_field,
    timestamp,
)
from castor.serve.store import HOUR, Store

CONTENT = ("contents", "systemInstruction", "tools", "toolConfig")
USUAL_S = HOUR

Count = Callable[[dict[str, Any]], int]
"""Tokens of a request's fields. Blocks. Raises Refusal or ValueError for what is none."""


@dataclass(frozen=True)
class Cache:
    """A row of the store."""

    name: str  # "cachedContents/ID"
    display_name: str
    model: str  # "models/ID"
    payload: str  # JSON of the request's fields, as they were sent
    tokens: int
    created: float
    updated: float
    expires: float

    @property
    def wire(self) -> dict[str, Any]:
        """The CachedContent of the API, without the contents, which it never tells."""
        return {
            "name": self.name,
            "model": self.model,
            **({"displayName": self.display_name} if self.display_name else {}),
            "createTime": timestamp(self.created),
            "updateTime": timestamp(self.updated),
            "expireTime": timestamp(self.expires),
            "usageMetadata": {"totalTokenCount": self.tokens},
        }


Check = Callable[[str], None]
"""Raises Refusal if no model of that name is served."""


def routes(store: Store, count: Count, check: Check = lambda model: None) -> list[Route]:
    """Create, get, list, update and delete."""

    async def created(request: Request) -> Response:
        body = await json_body(request)
        made = await run_in_threadpool(create, store, body, count, check)
        return JSONResponse(made.wire)

    async def got(request: Request) -> Response:
        return JSONResponse((await run_in_threadpool(find, store, _named(request))).wire)

    async def listed(request: Request) -> Response:
        page = page_of(request, usual=50, most=1000)
        rows = await run_in_threadpool(newest, store, "caches", page)
        return listing("cachedContents", [_of_row(row) for row in rows], page)

    async def updated(request: Request) -> Response:
        body = await json_body(request)
        cache = await run_in_threadpool(prolong, store, _named(request), body)
        return JSONResponse(cache.wire)

    async def deleted(request: Request) -> Response:
        await run_in_threadpool(delete, store, _named(request))
        return JSONResponse({})

    return [
        Route("/cachedContents", created, methods=["POST"]),
        Route("/cachedContents", listed, methods=["GET"]),
        Route("/cachedContents/{id}", got, methods=["GET"]),
        Route("/cachedContents/{id}", updated, methods=["PATCH"]),
        Route("/cachedContents/{id}", deleted, methods=["DELETE"]),
    ]


def cached(store: Store, name: str, *, model: str = "") -> dict[str, Any]:
    """The request fields that a cache holds, as they were sent. It blocks.

    Raises:
        LookupError: there is no such cache (any more).
        ValueError: it was made for another model than this one.
    """
    cache = _found(store, name if name.startswith("cachedContents/") else f"cachedContents/{name}")
    if cache is None:
        raise LookupError(f"there is no {name}")
    if model and model_of(model) != model_of(cache.model):
        raise ValueError(
            f"Model used by GenerateContent request (models/{model_of(model)}) and CachedContent "
            f"({cache.model}) has to be the same."
        )
    return json.loads(cache.payload)


def create(store: Store, body: dict[str, Any], count: Count, check: Check) -> Cache:
    """Keep the contents of a CachedContent.

    Raises:
        Refusal: 400, there is nothing to keep, no model, or no time in the future; 404, there is
            no such model.
    """
    model = text_field(body, "model")
    if not model:
        raise bad("* CreateCachedContentRequest.model: model is required")
    check(model)
    kept = {name: field(body, name) for name in CONTENT if field(body, name)}
    if not kept:
        raise bad(f"A CachedContent holds one or more of {', '.join(CONTENT)}")
    now = store.now()
    expires = _expiry(body, now)
    model = f"models/{model_of(model)}"
    with refusals():
        tokens = count({"model": model, **kept})
    cache = Cache(
        name=f"cachedContents/{new_id(24)}",
        display_name=text_field(body, "displayName"),
        model=model,
        payload=json.dumps(kept),
        tokens=tokens,
        created=now,
        updated=now,
        expires=now + USUAL_S if expires is None else expires,
    )
    with store.write() as rows:
        values = list(vars(cache).values())
        rows.execute("INSERT INTO caches VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    return cache


def find(store: Store, name: str) -> Cache:
    """The cache of this name.

    Raises:
        Refusal: 403, there is none or it has expired.
    """
    cache = _found(store, name)
    if cache is None:
        raise Refusal(403, "CachedContent not found (or permission denied)")
    return cache


def prolong(store: Store, name: str, body: dict[str, Any]) -> Cache:
    """Let a cache expire at another time; nothing else of it can be changed.

    Raises:
        Refusal: 403, there is none; 400, no time in the future is named, or something else is.
    """
    find(store, name)
    now = store.now()
    expires = _expiry(body, now)
    others = [key for key in (*CONTENT, "model", "displayName") if field(body, key) is not None]
    if expires is None or others:
        raise bad("Only ttl or expireTime of a CachedContent can be changed; one of them is needed")
    with store.write() as rows:
        change = "UPDATE caches SET expires = ?, updated = ? WHERE name = ?"
        rows.execute(change, [expires, now, name])
    return find(store, name)


def delete(store: Store, name: str) -> None:
    """Forget a cache.

    Raises:
        Refusal: 403, there is none or it has expired.
    """
    find(store, name)
    with store.write() as rows:
        rows.execute("DELETE FROM caches WHERE name = ?", [name])


def _expiry(body: dict[str, Any], now: float) -> float | None:
    ttl, moment = text_field(body, "ttl"), text_field(body, "expireTime")
    if ttl and moment:
        raise bad("ttl and expireTime are two ways to say one thing: give one of them")
    if not (ttl or moment):
        return None
    expires = now + read_duration(ttl) if ttl else read_timestamp(moment)
    if expires <= now:
        raise bad(f"expireTime {moment} is in the past")
    return expires


def _found(store: Store, name: str) -> Cache | None:
    query = "SELECT * FROM caches WHERE name = ? AND expires > ?"
    with store.read() as rows:
        row = rows.execute(query, [name, store.now()]).fetchone()
    return None if row is None else _of_row(row)


def _of_row(row: sqlite3.Row) -> Cache:
    return Cache(**dict(row))


def _named(request: Request) -> str:
    return f"cachedContents/{request.path_params['id']}"
