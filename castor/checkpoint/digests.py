"""Which bytes the files of a directory have."""

import hashlib
from pathlib import Path


def digests(folder: Path) -> dict[str, str]:
    """The digest of every file in a directory, by its path there."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): digest(file) for file in files}


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
