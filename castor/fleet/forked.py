"""Processes that start at once: each is forked from one that has imported what they need.

That one runs no thread and opens no device, so what is forked from it is as good as new. Importing
JAX takes longer than all else that a restart does, and on few cores each process adds to it.
"""

import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

LOOK_S = 0.005  # between two looks at a process

Entry = Callable[[Sequence[str], Mapping[str, str]], int]  # words and environment to an exit code


class Forked:
    """One such process, in a session of its own; used like one of `subprocess`."""

    def __init__(self, process: BaseProcess) -> None:
        self._process, self._lock = process, threading.Lock()  # its end is told once
        self.pid: int = process.pid or 0

    def poll(self) -> int | None:
        """Its exit code, less than 0 if a signal ended it; None while it runs."""
        with self._lock:
            return self._process.exitcode

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        while (code := self.poll()) is None:
            time.sleep(LOOK_S)
        return code

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self._process.terminate()


def forked(
    entry: Entry, imports: Sequence[str]
) -> Callable[[Sequence[str], Mapping[str, str], Path, bool], Forked]:
    """A function that starts `entry`, which can be pickled, with words and an environment.

    It takes a file, too, that is added to with what is printed, and whether that is `shown`: then
    what Python prints goes where this process prints, and only what libraries say beside it goes to
    the file.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *imports])

    def start(
        words: Sequence[str], environment: Mapping[str, str], log: Path, shown: bool
    ) -> Forked:
        given = entry, list(words), dict(environment), log, shown
        process = context.Process(target=_begin, args=given, name=" ".join(words[:2]))
        process.start()
        return Forked(process)

    return start


def _begin(
    entry: Entry, words: Sequence[str], environment: dict[str, str], log: Path, shown: bool
) -> None:
    os.setsid()
    if shown:
        environment.setdefault("COLUMNS", str(shutil.get_terminal_size().columns))
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(entry(words, environment))
