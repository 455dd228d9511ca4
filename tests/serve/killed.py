"""A life of a store, cut off at every n-th line of it in turn: `python killed.py FOLDER n`.

A child process lives it, and ends without a word (as after SIGKILL) when that line of the
modules below is reached; then this process looks at what is left.
"""

import hashlib
import itertools
import os
import shutil
import sqlite3
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from castor.serve import batches, caches, files, uploads
from castor.serve.store import Store

TRACED = ("serve/store.py", "serve/uploads.py", "serve/files.py", "serve/batches.py")
BODY = {"batch": {"inputConfig": {"requests": {"requests": [{"request": {"a": 1}}]}}}}


def live(folder: Path, said: int) -> None:
    """Change everything that can be changed; what is acknowledged is written to `said`."""
    store = Store(folder)
    first = uploads.begin(store, name="first", mime="text/plain", size=6)
    uploads.append(store, first.id, 0, b"abc")
    uploads.append(store, first.id, 3, b"def")
    uploads.finish(store, first.id)
    os.write(said, b"+first abcdef\n")
    second = uploads.begin(store, name="second")  # the same content: the same blob
    uploads.append(store, second.id, 0, b"abcdef")
    uploads.finish(store, second.id)
    os.write(said, b"+second abcdef\n")
    os.write(said, b"-first abcdef\n")
    files.delete(store, "files/first")
    uploads.generated(store, [b"x", b"yz"], mime="text/plain", name="third")
    os.write(said, b"+third xyz\n")
    batch = batches.create(store, "models/m", BODY)
    batches.cancel(store, batch)
    caches.create(store, {"model": "m", "contents": [1]}, len, lambda model: None)
    left = uploads.begin(store)
    uploads.append(store, left.id, 0, b"left")
    store.clean()
    store.close()


def cut_off_after(lines: int, folder: Path, said: int) -> None:
    left = itertools.count(lines, -1)

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.endswith(TRACED):
            return None
        if event == "line" and next(left) == 0:
            os._exit(9)
        return trace

    sys.settrace(trace)
    live(folder, said)
    sys.settrace(None)
    os._exit(0)


class Quick(sqlite3.Connection):
    """Does not wait for the disk, which only a power cut would make a difference to."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("= NORMAL", "= OFF"), *values)


def check(folder: Path, said: str) -> None:
    """What was acknowledged is there, what is there is whole, and nothing else stays."""
    store = Store(folder)
    told = [line.split() for line in said.splitlines()]
    doubtful = {name[1:] for name, _ in told if name[0] == "-"}
    for name, content in told:
        if name[1:] not in doubtful:
            assert files.resolve(store, f"files/{name[1:]}")[1] == content.encode(), name
    store.clean()
    with store.read() as rows:
        kept = {row["name"]: row["sha256"] for row in rows.execute("SELECT * FROM files")}
        wanted = {
            row[0] for row in rows.execute("SELECT requests FROM batches WHERE ended IS NULL")
        }
        growing = list(rows.execute("SELECT id, received FROM uploads WHERE file IS NULL"))
    for name, sha256 in kept.items():
        content = files.resolve(store, name)[1]
        assert content in (b"abcdef", b"xyz"), (name, content)
        assert hashlib.sha256(content).hexdigest() == sha256
    assert {path.name for path in (folder / "blobs").iterdir()} == set(kept.values()) | wanted
    assert {path.name for path in (folder / "parts").iterdir()} <= {row["id"] for row in growing}
    for row in growing:  # an upload goes on from where it says
        upload = uploads.find_upload(store, row["id"])
        if upload.name == "files/first":
            uploads.append(store, upload.id, upload.received, b"abcdef"[upload.received :])
            file = uploads.finish(store, upload.id)
            assert files.resolve(store, file.name)[1] == b"abcdef"
    store.close()


def main(folder: Path, step: int) -> None:
    for lines in itertools.count(0, step):
        shutil.rmtree(folder, ignore_errors=True)
        hear, say = os.pipe()
        child = os.fork()
        if child == 0:
            cut_off_after(lines, folder, say)
        os.close(say)
        with os.fdopen(hear) as stream:
            said = stream.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9), (lines, code)
        if folder.exists():
            check(folder, said)
        if code == 0:
            sys.stdout.write(f"{lines}\n")
            return


if __name__ == "__main__":
    os.fsync = lambda handle: None
    sqlite3.connect = partial(sqlite3.connect, factory=Quick)
    main(Path(sys.argv[1]), int(sys.argv[2]))
