"""Signs of life: how far a process has come, in a file that whoever started it looks at.

Invariant: a process that hangs stops writing it, and nothing else does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

BEAT = "CASTOR_BEAT"  # in the environment: the file


class Beat(NamedTuple):
    """What a process has reported."""

    steps: int  # in the stage that it is in
    signs: int  # reports, which from one place may be many


NONE = Beat(0, 0)


def beating[T](
    path: Path,
    report: Callable[[T], Any] = lambda _: None,
    *,
    place: Callable[[T], tuple[str, int]],
) -> Callable[[T], None]:
    """The report, which writes down beside that it was called, and how many steps it told of; a
    `place` is a stage and a step of it. Where the file is removed, nobody waits for a sign of life
    any more."""
    beat, last = NONE, ("", 0)

    def told(what: T) -> None:
        nonlocal beat, last
        here = place(what)
        steps = beat.steps + (here != last) if here[0] == last[0] else 0
        beat, last = Beat(steps, beat.signs + 1), here
        path.write_text(f"{beat.steps} {beat.signs}")
        report(what)

    return told


def beat_of(path: Path) -> Beat | None:
    """What a process has reported; None before the first time, and when it is at rest."""
    try:
        words = path.read_text().split()
    except FileNotFoundError:
        return None
    return Beat(*map(int, words)) if len(words) == 2 else NONE
