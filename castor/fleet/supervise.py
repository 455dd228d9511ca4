"""The processes of a run on one machine, started together and started again together.

Invariant: either all processes of a generation live, or all of them are ended before the next one
begins: the devices of a run wait for each other, so none can go on without the others.
"""

import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from castor.fleet.beat import BEAT, beat_of
from castor.fleet.ledger import Ledger
from castor.fleet.team import Seat

LOOK_S = 0.02  # between two looks at the processes
GRACE_S = 120.0  # after SIGTERM, to save
IN_VAIN = 6  # generations in a row that came no further, each begun later than the one before
SLOW = 5  # times the median time between two signs of life, and a process hangs
AGAIN = 128 + signal.SIGTERM  # the code of who was told to end, and saved: start me again
WARM = 5  # signs of life before a process is known to train


class Limits(NamedTuple):
    """How long a sign of life may be missing, in seconds."""

    begin: float = 900.0  # before the first steps, while data is read and programs are compiled
    least: float = 60.0  # after that, or SLOW times what is usual if that is more


@runtime_checkable
class Process(Protocol):
    """One that was started: `subprocess.Popen`, or what does the same."""

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        ...

    def poll(self) -> int | None:
        """Its exit code, less than 0 if a signal ended it; None while it runs."""
        ...

    def wait(self) -> int | None:
        """Its exit code, when it has ended."""
        ...

    def terminate(self) -> None:
        """Send it SIGTERM."""
        ...


Start = Callable[[Sequence[str], Mapping[str, str], Path, bool], Process]


def spawned(
    words: Sequence[str], environment: Mapping[str, str], log: Path, shown: bool
) -> Process:
    """Start a command; what it prints goes where this process prints if it is `shown`, and is added
    to `log` if not."""
    with log.open("ab") as file:
        into = None if shown else file
        return subprocess.Popen(
            words, env=environment, start_new_session=True, stdout=into, stderr=into
        )


class Ended(NamedTuple):
    """Why a generation ended."""

    code: int  # 0 = done
    process: int  # the first one that ended otherwise, or hung
    what: str  # in words


class Supervisor:
    """Starts `command(seat)` for each of so many processes, and again whenever one of them ends.

    What processes but the first one print goes to `logs`. Each generation has a coordinator of its
    own, at the `address` of the first one's host, with a port that was free. `fewer` says before a
    next one of how many processes it is from now on, if some are left out.
    """

    def __init__(
        self,
        command: Callable[[Seat], Sequence[str]],
        processes: int,
        *,
        logs: Path,
        ledger: Ledger,
        limits: Limits,
        environment: Mapping[str, str],
        start: Start = spawned,
        address: str = "127.0.0.1",
        fewer: Callable[[], int | None] = lambda: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._begin, self._address, self._fewer = start, address, fewer
        self._command, self._processes, self._ledger = command, processes, ledger
        self._logs, self._limits, self._tell = logs, limits, tell
        self._environment = environment
        self._beats = Path(tempfile.mkdtemp(prefix="castor-beats-"))
        self._asked: int | None = None
        self._vain, self._ever = 0, False  # whether a generation has ever taken steps
        self.running: list[Process] = []

    @property
    def alive(self) -> list[int]:
        """The process numbers of those that run; 0 = has ended."""
        return [0 if p.poll() is not None else p.pid for p in self.running]

    def run(self) -> int:
        """The exit code of the run: that of its processes, or AGAIN if this one was told to end.

        Raises:
            ValueError: the processes end again and again and come no further.
        """
        before = {n: signal.signal(n, self._ask) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            while True:
                ended = self._generation()
                if ended.code == 0:
                    return 0
                if self._asked is not None:
                    return 128 + self._asked
                self._ledger.happened("detected", what=ended.what, process=ended.process)
                self._processes = self._fewer() or self._processes
                self._tell(f"{ended.what}; starting all {self._processes} again")
                if self._vain:
                    time.sleep(2.0**self._vain)  # a full disk, or data that cannot be reached
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            shutil.rmtree(self._beats, ignore_errors=True)

    def _ask(self, number: int, frame: object) -> None:
        del frame
        self._asked = number
        for process in self.running:
            if process.poll() is None:
                process.terminate()

    def _generation(self) -> Ended:
        with socket.create_server(("127.0.0.1", 0)) as free:
            coordinator = f"{self._address}:{free.getsockname()[1]}"
        beats = [self._beats / str(process) for process in range(self._processes)]
        for beat in beats:
            beat.unlink(missing_ok=True)
        seats = [Seat(process, self._processes, coordinator) for process in range(self._processes)]
        self.running = [self._start(seat, beat) for seat, beat in zip(seats, beats, strict=True)]
        try:
            ended = self._watched(_Watch(beats, self._limits))
        finally:
            self._end_all()
        self._count(ended, max(beat_of(beat) or 0 for beat in beats))
        return ended

    def _count(self, ended: Ended, steps: int) -> None:
        """Give up if several generations came no further.

        Raises:
            ValueError: they did not.
        """
        if ended.code == 0 or self._asked is not None:
            return
        self._vain = 0 if steps > WARM else self._vain + 1
        self._ever = self._ever or steps > WARM
        if ended.code == 2 or self._vain == (IN_VAIN if self._ever else 2):
            raise ValueError(
                f"{ended.what}, {self._vain} times without a step between: {self._last(ended)}"
            )

    def _last(self, ended: Ended) -> str:
        """What a process printed last."""
        if ended.process == 0:
            return f"it says why above, or in {self._log(0)}"
        lines = self._log(ended.process).read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")

    def _log(self, process: int) -> Path:
        return self._logs / f"log_{process}.txt"

    def _start(self, seat: Seat, beat: Path) -> Process:
        environment, shown = {**self._environment, BEAT: str(beat)}, seat.process == 0
        return self._begin(self._command(seat), environment, self._log(seat.process), shown)

    def _watched(self, watch: "_Watch") -> Ended:
        """Wait until one of the processes ends badly or hangs, or all have ended well."""
        while True:
            codes = [process.poll() for process in self.running]
            bad = [(c, p) for p, c in enumerate(codes) if c not in (None, 0)]
            if bad:
                time.sleep(LOOK_S)  # who was killed ends before those who miss it
                codes = [process.poll() for process in self.running]
                bad = [(c, p) for p, c in enumerate(codes) if c not in (None, 0)]
                code, process = min((c, p) for c, p in bad if c is not None)
                if self._asked is not None:
                    self._wait(GRACE_S)
                return Ended(code, process, f"process {process} {_told(code)}")
            if all(code == 0 for code in codes):
                return Ended(0, 0, "done")
            if (hung := watch.hung(codes)) is not None:
                process, silent = hung
                return Ended(-signal.SIGKILL, process, f"process {process} hung for {silent:.0f} s")
            time.sleep(LOOK_S)

    def _wait(self, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while time.monotonic() < end and any(p.poll() is None for p in self.running):
            time.sleep(LOOK_S)

    def _end_all(self) -> None:
        for process in self.running:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # and those that make its batches
            except ProcessLookupError:  # it has ended, or only begun
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
        for process in self.running:
            process.wait()


class _Watch:
    """Looks for the process that no longer gives signs of life."""

    def __init__(self, beats: Sequence[Path], limits: Limits) -> None:
        now = time.monotonic()
        self._limits = limits
        self._seen = {beat: (0, now) for beat in beats}
        self._gaps: list[float] = []

    def hung(self, codes: Sequence[int | None]) -> tuple[int, float] | None:
        """A process that hangs, and for how many seconds; of several the one silent longest."""
        now = time.monotonic()
        for beat, (before, since) in list(self._seen.items()):
            count = beat_of(beat)
            if count is None or codes[int(beat.name)] == 0:
                if before:  # it is done with its steps
                    del self._seen[beat]
            elif count != before:
                self._seen[beat] = count, now
                if count > WARM:
                    self._gaps = [*self._gaps[-99:], now - since]
        if not self._seen:
            return None
        counts = [count for count, _ in self._seen.values()]
        usual = statistics.median(self._gaps) if self._gaps else 0.0
        warm = min(counts) > WARM
        limit = max(self._limits.least, SLOW * usual) if warm else self._limits.begin
        silent, beat = max((now - since, beat) for beat, (_, since) in self._seen.items())
        return (int(beat.name), silent) if silent > limit else None


def _told(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    if code == AGAIN:
        return "was told to end, and saved"
    return f"ended with code {code}"
