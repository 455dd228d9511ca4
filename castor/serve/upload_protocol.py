"""Uploads on the wire: resumable ones (X-Goog-Upload-…), and those of one request.

The address of an upload is its own key: its id cannot be guessed.
"""

import asyncio
import mimetypes
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from castor.serve import refusal
from castor.serve.files import PIECE
from castor.serve.incoming import json_object
from castor.serve.multipart import MOST_HEAD, Multipart
from castor.serve.refusal import Refusal, bad
from castor.serve.resources import as_object, field, text_field
from castor.serve.store import Store, flush
from castor.serve.uploads import Upload, append, begin, cancel, find_upload, finish

STATUS, RECEIVED = "x-goog-upload-status", "x-goog-upload-size-received"
COMMANDS = ("upload", "finalize", "query", "cancel")
UNSPOKEN = 499  # nobody is there to read it
PATIENCE_S = 10.0  # to read the rest of a request that is refused: else its sender may not listen
DELAY_S = 1.0  # how long bytes of a slow sender wait in memory


def routes(store: Store) -> list[Route]:
    """Uploads begin at /upload/files and go on at the same path with upload_id."""

    async def uploaded(request: Request) -> Response:
        stream = request.stream()
        id = request.query_params.get("upload_id")
        try:
            if id is not None:
                return await _continued(store, id, request, stream)
            return await _begun(store, request, stream)
        except Refusal as error:
            await _drain(stream)
            body = refusal.encoded(error, "gemini")
            # "final" also where one may go on: clients send what has no such header thrice.
            known = {} if id is None else await run_in_threadpool(_received, store, id)
            headers = known | refusal.headers(error) | {STATUS: "final"}
            return Response(body, error.code, headers, "application/json")
        except ClientDisconnect:
            return Response(status_code=UNSPOKEN)

    return [Route("/upload/files", uploaded, methods=["POST", "PUT"])]


async def _begun(store: Store, request: Request, stream: AsyncGenerator[bytes]) -> Response:
    headers = request.headers
    kind = headers.get("x-goog-upload-protocol") or request.query_params.get("uploadType", "")
    if kind == "resumable" and "x-goog-upload-protocol" not in headers:
        kind = "uploadType=resumable"  # an older protocol, with Content-Range
    if kind == "resumable":
        told = json_object(await _head(stream))
        upload = await run_in_threadpool(_announced, store, told, request)
        url = f"{_origin(request)}/upload/v1beta/files?upload_id={upload.id}"
        return _so_far({"x-goog-upload-url": url, STATUS: "active"})
    if kind == "multipart":
        parser = Multipart(headers.get("content-type", ""))
        first = b""
        while not parser.ready:
            try:
                first = parser.feed(await anext(stream))
            except StopAsyncIteration:
                parser.close()
        upload = await run_in_threadpool(_announced, store, parser.metadata, request, parser.mime)
        return await _whole(store, upload, _rest(parser, first, stream))
    if kind in ("raw", "media"):
        mime = headers.get("content-type", "")
        upload = await run_in_threadpool(_announced, store, {}, request, mime)
        return await _whole(store, upload, stream)
    raise bad(f"X-Goog-Upload-Protocol is resumable, multipart or raw; got {kind!r}")


async def _continued(
    store: Store, id: str, request: Request, stream: AsyncGenerator[bytes]
) -> Response:
    upload = await run_in_threadpool(find_upload, store, id)
    given = request.headers.get("x-goog-upload-command", "")
    commands = [command.strip().lower() for command in given.split(",")]
    if not set(commands) <= set(COMMANDS):
        raise bad(f"X-Goog-Upload-Command is one or two of {', '.join(COMMANDS)}; got {given!r}")
    if "cancel" in commands:
        await run_in_threadpool(cancel, store, id)
        return _so_far({STATUS: "cancelled"})
    if "query" not in commands and upload.file is None:
        if "upload" in commands:
            offset = request.headers.get("x-goog-upload-offset", "")
            if not re.fullmatch(r"\d{1,18}", offset):
                raise bad(f"X-Goog-Upload-Offset is a number of bytes; got {offset!r}")
            await _receive(store, id, int(offset), stream)
        if "finalize" in commands:
            return await _finished(store, id)
    elif "finalize" in commands:  # whoever missed the reply gets it again
        return await _finished(store, id)
    return _so_far(await run_in_threadpool(_received, store, id))


async def _receive(store: Store, id: str, position: int, stream: AsyncIterator[bytes]) -> None:
    """Put what comes on the disk, also what came before a sender was cut off."""
    held, since = bytearray(), monotonic()

    async def put() -> None:
        nonlocal position, since
        await run_in_threadpool(append, store, id, position, bytes(held))
        position, since = position + len(held), monotonic()
        held.clear()

    try:
        async for piece in stream:
            held += piece
            if len(held) >= PIECE or (held and monotonic() - since > DELAY_S):
                await put()
    except ClientDisconnect:
        await put()
        raise
    await put()
    await run_in_threadpool(flush, store.part(id))


async def _whole(store: Store, upload: Upload, stream: AsyncIterator[bytes]) -> Response:
    try:
        await _receive(store, upload.id, 0, stream)
        return await _finished(store, upload.id)
    except BaseException:  # nobody knows its address
        await run_in_threadpool(cancel, store, upload.id)
        raise


async def _rest(
    parser: Multipart, first: bytes, stream: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    yield first
    async for piece in stream:
        yield parser.feed(piece)
    parser.close()


async def _head(stream: AsyncIterator[bytes]) -> bytes:
    data = b""
    async for piece in stream:
        data += piece
        if len(data) > MOST_HEAD:
            raise bad(f"What is told of a file may have {MOST_HEAD} bytes")
    return data


async def _finished(store: Store, id: str) -> Response:
    file = await run_in_threadpool(finish, store, id)
    headers = {STATUS: "final", RECEIVED: str(file.size)}
    return JSONResponse({"file": file.wire}, headers=headers)


def _so_far(headers: dict[str, str]) -> Response:
    return Response(headers=headers, media_type="text/plain")


async def _drain(stream: AsyncIterator[bytes]) -> None:
    with suppress(ClientDisconnect, TimeoutError, Refusal):
        async with asyncio.timeout(PATIENCE_S):
            async for _ in stream:
                pass


def _announced(store: Store, told: dict[str, Any], request: Request, mime: str = "") -> Upload:
    """Begin what the headers and the File in the body say; the body counts first."""
    headers, file = request.headers, as_object(told.get("file", told), "file")
    size = field(file, "sizeBytes")
    if size is None:
        size = headers.get("x-goog-upload-header-content-length")
    if size is not None and not re.fullmatch(r"\d{1,18}", str(size)):
        raise bad(f"The size of a file is a number of bytes; got {size!r}")
    named = headers.get("x-goog-upload-file-name", "")
    return begin(
        store,
        name=text_field(file, "name"),
        display_name=text_field(file, "displayName"),
        mime=text_field(file, "mimeType")
        or headers.get("x-goog-upload-header-content-type", "")
        or mime
        or mimetypes.guess_type(named)[0]
        or "",
        size=None if size is None else int(size),
    )


def _received(store: Store, id: str) -> dict[str, str]:
    """Headers that say how an upload stands; none if there is no such upload."""
    try:
        upload = find_upload(store, id)
    except Refusal:
        return {}
    return {STATUS: "final" if upload.file else "active", RECEIVED: str(upload.received)}


def _origin(request: Request) -> str:
    """Scheme and host as the client wrote them, also through a proxy."""
    headers = request.headers
    scheme = headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", request.url.netloc))
    return f"{scheme}://{host.partition(',')[0].strip()}"
