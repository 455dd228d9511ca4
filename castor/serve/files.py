"""Files that clients upload and that batches write: looked up, listed, read, deleted.

Invariant: a file that is listed is whole, and its bytes are those that its digest names.
"""

import base64
import re
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from castor.serve.refusal import bad, no_file
from castor.serve.resources import listing, newest, page_of, timestamp
from castor.serve.store import Store

URI = "https://generativelanguage.googleapis.com/v1beta/"  # clients take ids out of this form alone
NAME = re.compile(r"files/[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
LAST = re.compile(rf"(?:^|/)({NAME.pattern})$")
PIECE = 1 << 20


@dataclass(frozen=True)
class File:
    """A row of the store."""

    name: str  # "files/ID"
    display_name: str
    mime: str
    size: int
    sha256: str  # in hexadecimal; names its bytes
    source: str  # UPLOADED or GENERATED
    created: float
    expires: float

    @property
    def wire(self) -> dict[str, Any]:
        """The File of the API. Its digest is base64 of the hexadecimal text, as Google sends it."""
        named = {"displayName": self.display_name} if self.display_name else {}
        download = {"downloadUri": f"{URI}{self.name}:download?alt=media"}
        return {
            "name": self.name,
            **named,
            "mimeType": self.mime,
            "sizeBytes": str(self.size),
            "createTime": timestamp(self.created),
            "updateTime": timestamp(self.created),
            "expirationTime": timestamp(self.expires),
            "sha256Hash": base64.b64encode(self.sha256.encode()).decode(),
            "uri": URI + self.name,
            **(download if self.source == "GENERATED" else {}),
            "state": "ACTIVE",
            "source": self.source,
        }


def routes(store: Store) -> list[Route]:
    """GET and DELETE of files; `uploads.routes` makes them."""

    async def listed(request: Request) -> Response:
        page = page_of(request, usual=10, most=100)
        rows = await run_in_threadpool(newest, store, "files", page)
        return listing("files", [of_row(row) for row in rows], page)

    async def got(request: Request) -> Response:
        file = await run_in_threadpool(find, store, _named(request))
        return JSONResponse(file.wire)

    async def deleted(request: Request) -> Response:
        await run_in_threadpool(delete, store, _named(request))
        return JSONResponse({})

    async def downloaded(request: Request) -> Response:
        file = await run_in_threadpool(find, store, _named(request))
        if file.source != "GENERATED":
            raise bad(f"File {file.name} was uploaded; only generated files can be downloaded.")
        stream = await run_in_threadpool(_opened, store, file)
        length = {"content-length": str(file.size)}
        return StreamingResponse(_pieces(stream), media_type=file.mime, headers=length)

    return [
        Route("/files", listed, methods=["GET"]),
        Route("/files/{id}:download", downloaded, methods=["GET"]),
        Route("/files/{id}", got, methods=["GET"]),
        Route("/files/{id}", deleted, methods=["DELETE"]),
    ]


def resolve(store: Store, uri: str) -> tuple[str, bytes]:
    """Mime and bytes of the file that a name or any URI ending in files/ID means. It blocks.

    Raises:
        LookupError: there is none, or it has expired.
    """
    found = LAST.search(uri.partition("?")[0])
    file = _found(store, found[1]) if found else None
    try:
        if file is not None:
            return file.mime, store.blob(file.sha256).read_bytes()
    except FileNotFoundError:
        pass  # deleted in the meantime
    raise LookupError(f"there is no file {uri}")


def find(store: Store, name: str) -> File:
    """The file of this name.

    Raises:
        Refusal: 403, there is none or it has expired.
    """
    file = _found(store, name)
    if file is None:
        raise no_file(name.removeprefix("files/"))
    return file


def delete(store: Store, name: str) -> None:
    """Forget a file, and its bytes unless something else points to them.

    Raises:
        Refusal: 403, there is none or it has expired.
    """
    file = find(store, name)
    with store.write() as rows:
        rows.execute("DELETE FROM files WHERE name = ?", [name])
    store.release(file.sha256)


def of_row(row: sqlite3.Row) -> File:
    """A row of the table as a File."""
    return File(**dict(row))


def _found(store: Store, name: str) -> File | None:
    query = "SELECT * FROM files WHERE name = ? AND expires > ?"
    with store.read() as rows:
        row = rows.execute(query, [name, store.now()]).fetchone()
    return None if row is None else of_row(row)


def _named(request: Request) -> str:
    return f"files/{request.path_params['id']}"


def _opened(store: Store, file: File) -> BinaryIO:
    try:
        return store.blob(file.sha256).open("rb")
    except FileNotFoundError:
        raise no_file(file.name.removeprefix("files/")) from None


async def _pieces(stream: BinaryIO) -> AsyncIterator[bytes]:
    with stream:
        while piece := await run_in_threadpool(stream.read, PIECE):
            yield piece
