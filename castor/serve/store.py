"""What outlives the server's process: rows in SQLite, and bytes in a folder that hashes name.

    castor.db         files, uploads, caches, batches, interactions
    parts/<upload>    bytes of uploads under way; a row says how many of them count
    blobs/<sha256>    whole contents, each stored once however many rows point to it

Invariant: a row that points to a blob is committed only after the blob is whole and in its place,
and a blob is removed only when no row points to it. So the process may be killed at any moment:
what is left over is room on the disk that `clean` gives back, never a file that is not whole.

Several servers may use one folder: every change is a short transaction, and a second one waits its
turn. A folder on a network drive without working locks is not guarded.
"""

import asyncio
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from castor.core.files import FULL
from castor.serve.refusal import Refusal

DATABASE, PARTS, BLOBS = "castor.db", "parts", "blobs"
VERSION = 1
HOUR = 3600.0
WAIT_S = 30.0  # how long a change waits for those of other servers
REFERENCES = "SELECT sha256 FROM files UNION SELECT requests FROM batches WHERE ended IS NULL"
SCHEMA = (
    """CREATE TABLE files (
        name TEXT PRIMARY KEY, display_name TEXT NOT NULL, mime TEXT NOT NULL,
        size INTEGER NOT NULL, sha256 TEXT NOT NULL, source TEXT NOT NULL,
        created REAL NOT NULL, expires REAL NOT NULL)""",
    "CREATE INDEX files_of_a_blob ON files (sha256, size)",
    """CREATE TABLE uploads (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, display_name TEXT NOT NULL, mime TEXT NOT NULL,
        declared INTEGER, received INTEGER NOT NULL DEFAULT 0,
        file TEXT, touched REAL NOT NULL)""",
    """CREATE TABLE caches (
        name TEXT PRIMARY KEY, display_name TEXT NOT NULL, model TEXT NOT NULL,
        payload TEXT NOT NULL, tokens INTEGER NOT NULL,
        created REAL NOT NULL, updated REAL NOT NULL, expires REAL NOT NULL)""",
    """CREATE TABLE batches (
        name TEXT PRIMARY KEY, display_name TEXT NOT NULL, model TEXT NOT NULL,
        priority INTEGER NOT NULL, state TEXT NOT NULL,
        input_file TEXT, requests TEXT NOT NULL, output_file TEXT, error TEXT,
        items INTEGER NOT NULL, answered INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL, updated REAL NOT NULL, ended REAL, expires REAL NOT NULL)""",
    """CREATE TABLE items (
        batch TEXT NOT NULL REFERENCES batches (name) ON DELETE CASCADE,
        position INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0, answer TEXT,
        PRIMARY KEY (batch, position)) WITHOUT ROWID""",
    """CREATE TABLE interactions (
        id TEXT PRIMARY KEY, body TEXT NOT NULL, expires REAL NOT NULL)""",
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much is kept, and for how many seconds; the defaults are those of the Gemini API."""

    file_bytes: int = 2 * 2**30
    total_bytes: int = 20 * 2**30  # of all files and uploads; equal contents count once
    file_s: float = 48 * HOUR
    upload_s: float = 48 * HOUR  # since the last byte of an upload that was never finished
    batch_s: float = 48 * HOUR  # to answer a batch
    answers_s: float = 30 * 24 * HOUR  # from then on until the batch is forgotten [ours]
    interaction_s: float = 55 * 24 * HOUR


class Store:
    """The data folder of a server. All methods block; call them off the event loop."""

    def __init__(
        self, folder: Path, *, limits: Limits | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Open the folder, or make it.

        Raises:
            ValueError: it was written by a newer castor, or its database is none.
            OSError: it cannot be written.
        """
        self.folder, self.limits, self.now = folder, limits or Limits(), clock
        for part in (folder, folder / PARTS, folder / BLOBS):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        try:
            self._writer, self._reader = self._connected(), self._connected()
            self._migrate()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise ValueError(f"{folder / DATABASE} is not a database of castor's") from None
            raise

    def close(self) -> None:
        """Nothing may be asked of the store afterwards."""
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """A view of the rows; it does not wait for those who write."""
        with self._reading, self.told():
            yield self._reader

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        """A change that happens whole or not at all, with no other change beside it.

        Raises:
            Refusal: 503, the disk is full or other servers write without a pause.
        """
        with self._writing, self.told():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # SQLite has rolled some errors back itself
                    self._writer.execute("ROLLBACK")
                raise

    def part(self, upload: str) -> Path:
        """Where the bytes of an upload grow."""
        return self.folder / PARTS / upload

    def blob(self, sha256: str) -> Path:
        """Where a content lies."""
        return self.folder / BLOBS / sha256

    def place(self, part: Path, sha256: str) -> None:
        """Make a part that is whole and flushed a blob. Call it within `write`, before the row."""
        os.replace(part, self.blob(sha256))
        flush(self.folder / BLOBS)

    def release(self, sha256: str) -> None:
        """Remove a blob that no row points to any more. Call it after the row's change."""
        with self.write() as rows:
            if not rows.execute(
                f"SELECT 1 FROM ({REFERENCES}) WHERE sha256 = ?", [sha256]
            ).fetchone():
                self.blob(sha256).unlink(missing_ok=True)

    def used(self, rows: sqlite3.Connection) -> int:
        """Bytes that files and uploads under way take on the disk."""
        files = "SELECT DISTINCT sha256, size FROM files"
        held = rows.execute(f"SELECT COALESCE(SUM(size), 0) FROM ({files})").fetchone()[0]
        growing = "SELECT COALESCE(SUM(received), 0) FROM uploads WHERE file IS NULL"
        return held + rows.execute(growing).fetchone()[0]

    def clean(self) -> None:
        """Forget what has expired, and remove bytes that nothing points to."""
        now, limits = self.now(), self.limits
        with self.write() as rows:
            for table in ("files", "caches", "interactions"):
                rows.execute(f"DELETE FROM {table} WHERE expires <= ?", [now])
            rows.execute("DELETE FROM uploads WHERE touched <= ?", [now - limits.upload_s])
            rows.execute("DELETE FROM batches WHERE ended <= ?", [now - limits.answers_s])
            stored = {path.name for path in (self.folder / BLOBS).iterdir()}
            wanted = {row[0] for row in rows.execute(REFERENCES)}
            lost = [[sha256] for sha256 in wanted - stored]  # someone has emptied the folder
            rows.executemany("DELETE FROM files WHERE sha256 = ?", lost)
        with self.write() as rows:  # only now: the rows above are gone for good
            wanted = {row[0] for row in rows.execute(REFERENCES)}
            growing = {row[0] for row in rows.execute("SELECT id FROM uploads WHERE file IS NULL")}
            for folder, kept in ((BLOBS, wanted), (PARTS, growing)):
                for path in (self.folder / folder).iterdir():
                    if path.name not in kept:
                        path.unlink()

    def save_interaction(self, id: str, body: dict[str, Any]) -> None:
        """Keep a JSON object under this id, for 55 days from now."""
        row = [id, json.dumps(body), self.now() + self.limits.interaction_s]
        with self.write() as rows:
            rows.execute("INSERT OR REPLACE INTO interactions VALUES (?, ?, ?)", row)

    def load_interaction(self, id: str) -> dict[str, Any] | None:
        """What was kept under this id; None if there is nothing (any more)."""
        with self.read() as rows:
            query = "SELECT body FROM interactions WHERE id = ? AND expires > ?"
            row = rows.execute(query, [id, self.now()]).fetchone()
        return None if row is None else json.loads(row[0])

    def delete_interaction(self, id: str) -> bool:
        """Whether there was something under this id."""
        with self.write() as rows:
            return rows.execute("DELETE FROM interactions WHERE id = ?", [id]).rowcount > 0

    def _connected(self) -> sqlite3.Connection:
        rows = sqlite3.connect(
            self.folder / DATABASE, timeout=WAIT_S, isolation_level=None, check_same_thread=False
        )
        rows.row_factory = sqlite3.Row
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("PRAGMA synchronous = NORMAL")
        rows.execute("PRAGMA foreign_keys = ON")
        return rows

    def _migrate(self) -> None:
        with self.write() as rows:
            version = rows.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise ValueError(
                    f"{self.folder} was written by a newer castor (its layout is {version}, this "
                    f"one knows {VERSION}): use that version, or another data folder"
                )
            if version == 0:
                for statement in SCHEMA:
                    rows.execute(statement)
                rows.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def told(self) -> Generator[None]:
        """Errors of the disk in the words of the API."""
        full = f"The disk that holds {self.folder} is full. Free some space on it, and try again."
        fails = f"The disk that holds {self.folder} cannot be written. Is it full? Try again."
        busy = f"Other servers keep {self.folder} busy. Try again."
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise Refusal(503, full) from error
            raise
        except sqlite3.OperationalError as error:
            code = error.sqlite_errorcode & 0xFF
            told = {
                sqlite3.SQLITE_FULL: full,
                sqlite3.SQLITE_IOERR: fails,
                sqlite3.SQLITE_BUSY: busy,
            }
            if code in told:
                raise Refusal(503, told[code]) from error
            raise


async def keep_clean(store: Store, *, every_s: float = 600.0) -> None:
    """Clean the store now and then, until cancelled."""
    while True:
        try:
            await asyncio.to_thread(store.clean)
        except (Refusal, OSError):
            log.exception("the store could not be cleaned")
        await asyncio.sleep(every_s)


def flush(path: Path) -> None:
    """Ask the file system to keep a file, or the names in a folder, through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
