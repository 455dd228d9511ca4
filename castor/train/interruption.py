"""Stopping between two steps, and keeping others out of a run's folder."""

import fcntl
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGTERM or Ctrl-C has asked the block to come to an end.

    When it has ended by itself, the process does what was asked. A second Ctrl-C does not wait.
    Outside the main thread nothing is caught.
    """
    got: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if got and number == signal.SIGINT:
            raise KeyboardInterrupt
        got.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield lambda: bool(got)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if signal.SIGINT in got:
        raise KeyboardInterrupt
    if got:
        raise SystemExit(128 + got[0])


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else is in such a block over the same folder, whatever happens to this process.

    Raises:
        ValueError: another process is.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{folder} is being trained by another process") from None
        yield
