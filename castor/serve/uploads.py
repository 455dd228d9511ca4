"""Uploads under way: bytes that grow in a part until they are a file.

Bytes go to the disk as they come, and the row says how many count, so whoever was cut off goes on
from there.

Invariant: however the bytes were cut into pieces, and whatever died in between, the file that comes
of them is the bytes in order, or there is none.
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from castor.core.mime import sniff
from castor.serve.files import NAME, File, find
from castor.serve.refusal import Refusal, bad
from castor.serve.resources import new_id
from castor.serve.store import Store, flush


@dataclass(frozen=True)
class Upload:
    """An upload under way, or done: then `file` is the name of what came of it."""

    id: str
    name: str  # that was asked for; "" = any
    display_name: str
    mime: str  # "" = see the first bytes
    declared: int | None  # bytes that are to come
    received: int
    file: str | None


def begin(
    store: Store, *, name: str = "", display_name: str = "", mime: str = "", size: int | None = None
) -> Upload:
    """An upload of no bytes yet.

    Raises:
        Refusal: the name is taken (409) or no name, the file would be too large (400), or there is
            no room for it (429, 503).
    """
    if name:
        name = name if name.startswith("files/") else f"files/{name}"
        if not NAME.fullmatch(name):
            raise bad(
                f"{name!r} is no file name: it is files/ and up to 40 lower-case letters, digits "
                "and dashes, no dash first or last"
            )
    if len(display_name) > 512:
        raise bad(f"A displayName has up to 512 characters; got {len(display_name)}")
    upload = Upload(new_id(40), name, display_name, mime, size, 0, None)
    with store.write() as rows:
        _check_room(store, store.used(rows), size or 0, size or 0)
        query = "SELECT 1 FROM files WHERE name = ? AND expires > ?"
        if rows.execute(query, [name, store.now()]).fetchone():
            raise Refusal(409, f"File {name} already exists.")
        rows.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, 0, NULL, ?)",
            [upload.id, name, display_name, mime, size, store.now()],
        )
    return upload


def append(store: Store, id: str, position: int, data: bytes) -> None:
    """Add bytes to an upload that has `position` of them.

    Raises:
        Refusal: it has another number of them (400), they are too many (400), or there is no room
            (429, 503); then it has what it had before.
    """
    with store.write() as rows:
        upload = _upload(store, rows, id)
        if upload.file is not None or position != upload.received:
            raise bad(
                f"The bytes from {position} on came, but those from {upload.received} on are due. "
                'Ask with the command "query" where to go on.'
            )
        after = position + len(data)
        if upload.declared is not None and after > upload.declared:
            raise bad(f"{upload.declared} bytes are due and {after} came")
        _check_room(store, store.used(rows), after, len(data))
        _put(store.part(id), position, data)
        rows.execute(
            "UPDATE uploads SET received = ?, touched = ? WHERE id = ?", [after, store.now(), id]
        )


def finish(store: Store, id: str, *, source: str = "UPLOADED") -> File:
    """The file that an upload has become; the same if it was asked for before.

    Raises:
        Refusal: not all bytes are there (400), the name was taken meanwhile (409), or there is no
            room (503).
    """
    part = store.part(id)
    with store.write() as rows:
        upload = _upload(store, rows, id)
        if upload.file is not None:
            return find(store, upload.file)
        counted = rows.execute("SELECT received FROM uploads WHERE id = ?", [id]).fetchone()[0]
        due = counted if upload.declared is None else upload.declared
        if due != upload.received:
            raise bad(f"{due} bytes are due and {upload.received} came")
        with part.open("ab") as stream:
            stream.truncate(upload.received)
    try:
        with store.told(), part.open("rb") as stream:
            mime = upload.mime or sniff(stream.read(64)) or "application/octet-stream"
            stream.seek(0)
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            flush(part)
    except FileNotFoundError:  # another request has finished it, or cancelled it
        return finish(store, id, source=source)
    now = store.now()
    name, expires = upload.name or f"files/{new_id(12)}", now + store.limits.file_s
    file = File(name, upload.display_name, mime, upload.received, sha256, source, now, expires)
    with store.write() as rows:
        current = _upload(store, rows, id)
        if current.file is not None:
            return find(store, current.file)
        if current != upload:
            raise Refusal(409, "Another request has changed this upload.", status="ABORTED")
        rows.execute("DELETE FROM files WHERE name = ? AND expires <= ?", [name, now])
        if rows.execute("SELECT 1 FROM files WHERE name = ?", [name]).fetchone():
            raise Refusal(409, f"File {name} already exists.")
        values = list(vars(file).values())
        rows.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        rows.execute("UPDATE uploads SET file = ? WHERE id = ?", [name, id])
        store.place(part, sha256)
    return file


def cancel(store: Store, id: str) -> None:
    """Forget an upload; a file that has come of it stays."""
    with store.write() as rows:
        if rows.execute("DELETE FROM uploads WHERE id = ?", [id]).rowcount:
            store.part(id).unlink(missing_ok=True)


def find_upload(store: Store, id: str) -> Upload:
    """The upload of this id.

    Raises:
        Refusal: 404, there is none (any more).
    """
    with store.read() as rows:
        return _upload(store, rows, id)


def generated(
    store: Store, pieces: Iterable[bytes], *, mime: str, name: str = "", display_name: str = ""
) -> File:
    """A file that the server writes; clients may download it. It blocks.

    Raises:
        Refusal: as in `begin`, `append` and `finish`; nothing is left behind.
    """
    upload, position = begin(store, name=name, display_name=display_name, mime=mime), 0
    try:
        for piece in pieces:
            append(store, upload.id, position, piece)
            position += len(piece)
        return finish(store, upload.id, source="GENERATED")
    except BaseException:
        cancel(store, upload.id)
        raise


def _check_room(store: Store, used: int, size: int, more: int) -> None:
    limits = store.limits
    if size > limits.file_bytes:
        raise bad(f"A file has up to {limits.file_bytes} bytes; this one has {size} or more")
    if used + more > limits.total_bytes:
        raise Refusal(
            429,
            f"All files may take {limits.total_bytes} bytes together; they take {used}, and {more} "
            "more were to come. Delete some, or wait until they expire.",
        )


def _put(part: Path, position: int, data: bytes) -> None:
    with part.open("r+b" if part.exists() else "wb", buffering=0) as stream:
        stream.seek(position)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[stream.write(rest) :]
        except OSError:
            stream.truncate(position)
            raise


def _upload(store: Store, rows: sqlite3.Connection, id: str) -> Upload:
    columns = "id, name, display_name, mime, declared, received, file"
    row = rows.execute(f"SELECT {columns} FROM uploads WHERE id = ?", [id]).fetchone()
    if row is None:
        raise Refusal(404, "There is no such upload: it was cancelled, or waited too long.")
    upload = Upload(**dict(row))
    if upload.file is not None:
        return upload
    return replace(upload, received=min(upload.received, _there(store, id)))


def _there(store: Store, id: str) -> int:
    """Bytes on the disk: fewer than were counted after a power cut, or an end while finishing."""
    try:
        return store.part(id).stat().st_size
    except FileNotFoundError:
        return 0
