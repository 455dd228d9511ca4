"""Processes that start at once: each is forked from one that has imported what they need.

That one runs no thread and opens no device, so what is forked from it is as good as new. Importing
JAX takes longer than all else that a restart does, and on few cores each process adds to it.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

LOOK_S = 0.005  # between two looks at a process

Entry = Callable[[Sequence[str], Mapping[str, str]], int]  # words and environment to an exit code


class Command(NamedTuple):
    """What a process is started with."""

    words: Sequence[str]
    environment: Mapping[str, str]
    log: Path  # what it prints is added to it
    shown: bool  # or goes where this process prints; only what libraries say beside it is added


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


def forked(entry: Entry, imports: Sequence[str]) -> Callable[[Command], Forked]:
    """A function that starts `entry`, which can be pickled. What SIGTERM ends is the processes that
    are forked, never the one that they are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *imports])

    def start(command: Command) -> Forked:
        resource_tracker.ensure_running()  # which lets SIGTERM through again
        given = entry, command._replace(environment=dict(command.environment))
        process = context.Process(target=_begin, args=given, name=" ".join(command.words[:2]))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Forked(process)

    return start


def _begin(entry: Entry, command: Command) -> None:
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    environment = dict(command.environment)
    if command.shown:
        environment.setdefault("COLUMNS", str(shutil.get_terminal_size().columns))
        sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", buffering=1) for n in (1, 2))
    with command.log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(entry(command.words, environment))
