"""Signs of life: how far a process has come, in a file that whoever started it looks at, and beside
it a pulse, which tells only that the process is not stopped.

Invariant: a process that hangs stops writing the file, and nothing else does.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

BEAT = "CASTOR_BEAT"  # in the environment: the file
PULSE_S = 0.5


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


@contextmanager
def pulsing(path: Path) -> Generator[None]:
    """While the block lasts, count up beside `path` twice a second, from a thread of its own: also
    where the process reads data, compiles or waits, and has no other sign of life to give."""
    over = threading.Event()

    def pulse() -> None:
        count = 0
        while not over.wait(PULSE_S):
            count += 1
            with suppress(OSError):  # no room: the next time, perhaps
                _pulse_file(path).write_text(str(count))

    thread = threading.Thread(target=pulse, daemon=True, name="pulse")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def pulse_of(path: Path) -> str | None:
    """The last pulse of the process whose signs of life are in a file; None before the first."""
    try:
        return _pulse_file(path).read_text()
    except FileNotFoundError:
        return None


def _pulse_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.pulse")
