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
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from castor.fleet.beat import BEAT, NONE, beat_of, pulse_of
from castor.fleet.forked import Command
from castor.fleet.ledger import Ledger
from castor.fleet.team import Seat

LOOK_S = 0.02  # between two looks at the processes
GRACE_S = 120.0  # after SIGTERM, to save
IN_VAIN = 6  # generations in a row that came no further, each begun later than the one before
AGAIN = 128 + signal.SIGTERM  # the code of who was told to end, and saved: start me again
WARM = 5  # steps before a process is known to train


class Limits(NamedTuple):
    """How long a sign of life may be missing, in seconds."""

    begin: float = 900.0  # before the first steps, while data is read and programs are compiled
    least: float = 60.0  # after that, or
    times: float = 30.0  # as long as is usual between two steps, if that is more
    stopped: float = 60.0  # without a pulse, at any time


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


def spawned(one: Command) -> Process:
    """Start it as a program of its own."""
    with one.log.open("ab") as file:
        into = None if one.shown else file
        return subprocess.Popen(
            one.words, env=one.environment, start_new_session=True, stdout=into, stderr=into
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
        start: Callable[[Command], Process] = spawned,
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
            while self._asked is None:
                ended = self._generation()
                if ended.code == 0:
                    return 0
                if self._asked is None:
                    self._again(ended)
            return 128 + self._asked
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            shutil.rmtree(self._beats, ignore_errors=True)

    def _ask(self, number: int, frame: object) -> None:
        del frame
        self._asked = number  # and nothing else: this interrupts whatever is being done

    def _again(self, ended: Ended) -> None:
        """Tell why all are started again, and wait if that was in vain before."""
        self._ledger.happened("detected", what=ended.what, process=ended.process)
        self._processes = self._fewer() or self._processes
        self._tell(f"{ended.what}; starting all {self._processes} again")
        if self._vain:  # a full disk, or data that cannot be reached
            end = time.monotonic() + 2.0**self._vain
            while self._asked is None and time.monotonic() < end:
                time.sleep(LOOK_S)

    def _generation(self) -> Ended:
        with socket.create_server(("127.0.0.1", 0)) as free:
            coordinator = f"{self._address}:{free.getsockname()[1]}"
        beats = [self._beats / str(process) for process in range(self._processes)]
        for old in self._beats.iterdir():
            old.unlink()
        self.running = []
        try:
            for process, beat in enumerate(beats):
                self.running.append(self._start(Seat(process, len(beats), coordinator), beat))
            ended = self._watched(_Watch(beats, self._limits))
        finally:
            self._end_all()
        self._count(ended, max(found.steps for beat in beats if (found := beat_of(beat) or NONE)))
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
        log = self._log(seat.process)
        return self._begin(Command(self._command(seat), environment, log, shown))

    def _watched(self, watch: "_Watch") -> Ended:
        """Wait until one of the processes ends badly or hangs, or all have ended well; let them
        save first when this one is told to end."""
        while self._asked is None:
            if (ended := self._ended()) is not None:
                return ended
            if (hung := watch.hung([process.poll() for process in self.running])) is not None:
                process, silent = hung
                return Ended(-signal.SIGKILL, process, f"process {process} hung for {silent:.0f} s")
            time.sleep(LOOK_S)
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + GRACE_S
        while time.monotonic() < end and any(p.poll() is None for p in self.running):
            time.sleep(LOOK_S)
        return self._ended() or Ended(-signal.SIGKILL, 0, f"did not end in {GRACE_S:g} s")

    def _ended(self) -> Ended | None:
        """Why this generation is over, if it is."""
        codes = [process.poll() for process in self.running]
        if any(codes):
            time.sleep(LOOK_S)  # who was killed ends before those who miss it
            codes = [process.poll() for process in self.running]
            code, process = min((c, p) for p, c in enumerate(codes) if c)
            return Ended(code, process, f"process {process} {_told(code)}")
        return Ended(0, 0, "done") if all(code == 0 for code in codes) else None

    def _end_all(self) -> None:
        for process in self.running:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # and those that make its batches
            except ProcessLookupError:  # it has ended, or only begun
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
        for process in self.running:
            process.wait()


class _Watch:
    """Looks for the process that no longer gives signs of life, or is stopped."""

    def __init__(self, beats: Sequence[Path], limits: Limits) -> None:
        now = time.monotonic()
        self._limits = limits
        self._seen = {beat: (NONE, now) for beat in beats}
        self._pulses: dict[Path, tuple[str | None, float]] = {}
        self._gaps: list[float] = []  # between two steps

    def hung(self, codes: Sequence[int | None]) -> tuple[int, float] | None:
        """A process that hangs, and for how many seconds; of several the one silent longest."""
        now = time.monotonic()
        for path, (before, since) in list(self._seen.items()):
            beat = beat_of(path)
            ended = codes[int(path.name)] == 0
            if ended or (beat is None and before.signs):  # it is done with its steps
                del self._seen[path]
            elif beat is not None and beat != before:
                self._seen[path] = beat, now
                if before.steps >= WARM and beat.steps > before.steps:
                    self._gaps = [*self._gaps[-99:], now - since]
        if not self._seen:
            return None
        limit = self._limits.begin
        if min(beat.steps for beat, _ in self._seen.values()) > WARM:
            usual = statistics.median(self._gaps) if self._gaps else 0.0
            limit = max(self._limits.least, self._limits.times * usual)
        silent, path = max((now - since, path) for path, (_, since) in self._seen.items())
        return (int(path.name), silent) if silent > limit else self._stopped(now)

    def _stopped(self, now: float) -> tuple[int, float] | None:
        """One whose pulse has stopped, or not begun since another's has."""
        pulses = {path: pulse_of(path) for path in self._seen}
        if not self._pulses and not any(pulses.values()):
            return None
        for path, pulse in pulses.items():
            last, since = self._pulses.setdefault(path, (pulse, now))
            if pulse != last:
                self._pulses[path] = pulse, now
            elif now - since > self._limits.stopped:
                return int(path.name), now - since
        return None


def _told(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    if code == AGAIN:
        return "was told to end, and saved"
    return f"ended with code {code}"
