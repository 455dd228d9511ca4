"""A sign of life: how far a process has come, in a file that whoever started it looks at.

Invariant: a process that hangs stops writing it, and nothing else does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

BEAT = "CASTOR_BEAT"  # in the environment: the file


def beating[T](path: Path, report: Callable[[T], Any] = lambda _: None) -> Callable[[T], None]:
    """The report, which writes down beside that it was called. Where the file is removed, nobody
    waits for a sign of life any more."""
    count = 0

    def told(place: T) -> None:
        nonlocal count
        count += 1
        path.write_text(str(count))
        report(place)

    return told


def beat_of(path: Path) -> int | None:
    """How often a process has reported; None before the first time, and when it is at rest."""
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return None
