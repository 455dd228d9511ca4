"""The ledger of a run: what its time went to and what befell it, one JSON object a line.

Invariant: a process that is killed at any byte leaves at most one torn line, its last; whoever
writes next begins a new one, and reading leaves torn lines out.
"""

import json
import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from castor.core.files import FULL

LEDGER = "ledger.jsonl"  # in the run's folder, of its first process; others have ledger_1.jsonl ...
CAUSES = ("step", "compile", "restore", "data", "checkpoint", "evaluation", "restart", "host")
EVENTS = ("fault", "detected", "started", "ended")
FAR = 1e11  # no clock shows as many seconds; one that counts milliseconds shows more
WAITING = 10_000  # lines that a full disk may hold up; older ones are lost, their time is "other"


@dataclass(frozen=True)
class Interval:
    """A stretch of time and its cause; `begun` and `ended` are unix seconds.

    "step" is one training step, with its number; "data" and "checkpoint" are what the device
    waited, not work beside it; "restart" is from the death of a process to its next life; "host" is
    within a step, from the end of the one before until its host was ready to begin it. Steps of
    another `stage` (a codec before its model) have numbers of their own.

    Raises:
        ValueError: there is no such cause, a step has no number, or it ends before it begins.
    """

    cause: str
    begun: float
    ended: float
    step: int | None = None
    stage: str = ""

    def __post_init__(self) -> None:
        if self.cause not in CAUSES:
            raise ValueError(f"time has no cause {self.cause!r}; it has {', '.join(CAUSES)}")
        if self.cause == "step" and self.step is None:
            raise ValueError("a step's time is written with the step's number")
        for moment in (self.begun, self.ended):
            if not 0 <= moment < FAR:
                raise ValueError(f"{moment} is no moment; times are unix seconds")
        if self.ended < self.begun:
            raise ValueError(
                f"{self.cause} ends {self.begun - self.ended:.6f} s before it begins; take both "
                "moments from one clock, such as Ledger.now"
            )


@dataclass(frozen=True)
class Event:
    """What befell the run `at` a moment (unix seconds); `details` say to whom and how.

    "fault" is written by who causes one, "detected" by who notices one, once for each; "started"
    and "ended" are a process's.

    Raises:
        ValueError: there is no such event, or no such moment.
    """

    event: str
    at: float
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.event not in EVENTS:
            raise ValueError(f"there is no event {self.event!r}; there is {', '.join(EVENTS)}")
        if not 0 <= self.at < FAR:
            raise ValueError(f"{self.at} is no moment; times are unix seconds")


def ledger_of(process: int) -> str:
    """The name of the ledger that a process of a run writes, in the run's folder."""
    return LEDGER if process == 0 else f"ledger_{process}.jsonl"


class Entries(NamedTuple):
    """What a ledger holds, in the order of its lines."""

    intervals: list[Interval]
    events: list[Event]
    torn: int  # lines that were cut off and left out


class Ledger:
    """Adds lines to a ledger that other processes may be adding to.

    A line is one write, so that lines never mix. On a full disk, lines wait for the next one.

    Raises:
        OSError: the file cannot be opened or written; a full disk is no error.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._ahead = time.time() - time.monotonic()
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque(maxlen=WAITING)

    def now(self) -> float:
        """Unix seconds that never go back, whoever sets the clock meanwhile."""
        return self._ahead + time.monotonic()

    def spent(
        self, cause: str, *, begun: float, ended: float, step: int | None = None, stage: str = ""
    ) -> None:
        """Write an interval.

        Raises:
            ValueError: it is none, as Interval says.
        """
        found = Interval(cause, begun, ended, step, stage)
        record: dict[str, Any] = {"cause": cause, "begun": _micro(begun), "ended": _micro(ended)}
        if found.step is not None:
            record["step"] = found.step
        if found.stage:
            record["stage"] = found.stage
        self._append(record)

    @contextmanager
    def timed(self, cause: str, *, step: int | None = None, stage: str = "") -> Generator[None]:
        """The block's time is written when it ends, but not if it ends with an error."""
        begun = self.now()
        yield
        self.spent(cause, begun=begun, ended=self.now(), step=step, stage=stage)

    def happened(self, event: str, *, at: float | None = None, **details: Any) -> None:
        """Write an event, of now if `at` is not given; details are what JSON can say.

        Raises:
            ValueError: it is none, as Event says.
        """
        found = Event(event, self.now() if at is None else at, details)
        self._append({"event": event, "at": _micro(found.at), **details})

    def close(self) -> None:
        """No more lines; those that still wait for room on the disk are lost."""
        os.close(self._handle)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, record: dict[str, Any]) -> None:
        with self._lock:
            self._waiting.append(json.dumps(record).encode() + b"\n")
            first = b"\n" if self._is_torn() else b""
            try:
                written = os.write(self._handle, first + b"".join(self._waiting)) - len(first)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                return
            while self._waiting and written >= len(self._waiting[0]):
                written -= len(self._waiting.popleft())

    def _is_torn(self) -> bool:
        size = os.fstat(self._handle).st_size
        return size > 0 and os.pread(self._handle, 1, size - 1) != b"\n"


def entries(lines: Iterable[str]) -> Entries:
    """The lines of a ledger, each with or without its end; torn and empty ones are left out.

    A line that is there twice counts once.

    Raises:
        ValueError: a line is whole and is none of a ledger.
    """
    intervals: dict[Interval, None] = {}
    events: dict[str, Event] = {}
    torn = 0
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        try:
            record = json.loads(text)
        except ValueError:
            if not text.startswith(("{", "\0")):  # a power cut may leave zeros
                raise ValueError(f"line {number} is none of a ledger: {text[:60]!r}") from None
            torn += 1
            continue
        try:
            entry = _entry(record)
        except ValueError as error:
            raise ValueError(f"line {number} is none of a ledger: {error}") from None
        if isinstance(entry, Interval):
            intervals[entry] = None
        else:
            events[text] = entry
    return Entries(list(intervals), list(events.values()), torn)


def _entry(record: object) -> Interval | Event:
    if not isinstance(record, dict) or not {"cause", "event"} & record.keys():
        raise ValueError("it has neither a cause nor an event")
    if "event" in record:
        details = {key: value for key, value in record.items() if key not in ("event", "at")}
        return Event(str(record["event"]), _moment(record, "at"), details)
    step, stage = record.get("step"), record.get("stage", "")
    if step is not None and type(step) is not int:
        raise ValueError(f"its step is {step!r}, not a whole number")
    begun, ended = _moment(record, "begun"), _moment(record, "ended")
    return Interval(str(record["cause"]), begun, ended, step, str(stage))


def _moment(record: dict[str, Any], key: str) -> float:
    value: Any = record.get(key)
    if type(value) not in (int, float) or not 0 <= value < FAR:
        raise ValueError(f"its {key!r} is {value!r}, not unix seconds")
    return float(value)


def _micro(moment: float) -> float:
    return round(moment, 6)
