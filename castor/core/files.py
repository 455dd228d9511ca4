"""Reading and writing whole files: local paths and, through fsspec, buckets.

Invariant: what is written here appears whole or not at all, even if the process is killed.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

FULL = (errno.ENOSPC, errno.EDQUOT)  # of an OSError: there is no room on the disk
SLICE = re.compile(r"(?P<path>.+)#(?P<offset>\d+),(?P<length>\d+)")


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a local path, of a URL that fsspec knows, or of a slice "file#offset,length".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the slice reaches past the end of the file, or a package is wanting that opens
            such a URL.
    """
    cut = SLICE.fullmatch(str(path))
    if cut is None:
        with _opened(str(path), "rb") as stream:
            return stream.read()
    offset, length = int(cut["offset"]), int(cut["length"])
    with _opened(cut["path"], "rb") as stream:
        stream.seek(offset)
        data = stream.read(length)
    if len(data) != length:
        raise ValueError(
            f"{cut['path']} ends before byte {offset + length}; the slice asks for {length} bytes "
            f"from {offset}"
        )
    return data


def write_atomic(path: Path | str, data: bytes) -> None:
    """Write bytes beside the place, then rename: readers see the old file or the new one.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
        ValueError: a package is wanting that opens such a URL.
    """
    if "://" in str(path):
        with _opened(str(path), "wb") as stream:  # object stores show whole objects only
            stream.write(data)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, target)
        _flush(target.parent)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def store(address: str) -> tuple[Any, str]:
    """The file system of fsspec's at an address such as s3://bucket/run, and the path in it.

    Raises:
        ValueError: fsspec knows no such address, or a package is wanting that opens it.
    """
    try:
        return cast(Any, fsspec).core.url_to_fs(address)
    except (ImportError, ValueError) as error:  # it names the package that is wanting
        raise ValueError(f"{address} cannot be opened: {error}") from None


@contextmanager
def folder_aside(path: Path) -> Generator[Path]:
    """A new folder beside `path` that takes its place when the block ends without an error.

    Whatever was at `path` is replaced; on an error the new folder is removed and the old one stays.
    A process killed between the two renames leaves the old folder beside, as `.old.NAME.*/was`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield aside
        aside.chmod(0o755)
        for file in aside.rglob("*"):
            _flush(file)
        _flush(aside)
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".old.{path.name}."))
            os.replace(path, old / "was")
            try:
                os.replace(aside, path)
            except OSError:
                os.replace(old / "was", path)
                raise
            finally:
                shutil.rmtree(old)
        else:
            os.replace(aside, path)
        _flush(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _opened(path: str, mode: str) -> AbstractContextManager[BinaryIO]:
    if "://" in path:
        try:
            return fsspec.open(path, mode)
        except ImportError as error:  # it names the package that is wanting
            raise ValueError(f"{path} cannot be opened: {error}") from None
    return cast(BinaryIO, open(path, mode))


def _flush(path: Path) -> None:
    """Ask the file system to keep what was written at `path` through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
