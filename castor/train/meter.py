"""What a run does with its time: tokens and arithmetic per second, and waiting for data.

The loop reads a step's numbers only when the next step is on its way, so that the device never
waits for the host; the meter keeps the numbers of one step in flight.
"""

import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax

from castor.core.files import write_atomic
from castor.fleet.ledger import Ledger
from castor.fleet.team import Team
from castor.models.layout import rows_here
from castor.train.corruption import Doubts
from castor.train.flops import peak_flops
from castor.train.job import Job, Progress
from castor.train.metrics import Sums, Tally, shared
from castor.train.objectives import Loss
from castor.train.recipe import Run
from castor.train.step import StepMetrics, TrainState

PATIENCE = 50  # steps in a row whose gradient is not finite, before the run gives up


class Meter:
    """The clock and the sums between two lines of the log."""

    def __init__(self, job: Job, ledger: Ledger, team: Team, *, first: int, peak: float) -> None:
        self._job, self._ledger, self._team, self._first = job, ledger, team, first
        self._number, self._landed = first, ledger.now()  # of the step before the one in flight
        self._rate = job.run.optimizer.schedule.at(job.run.optimizer.peak_lr, job.run.steps)
        self._peak = peak
        self._flight: tuple[StepMetrics, Tally] | None = None
        self._window: dict[int, tuple[Loss, Tally]] = {}  # of the steps since the last line
        self._waited, self._skipped = 0.0, 0
        self._begun = self._since = 0.0  # of all steps, and of those since the last line
        self._forward, self._norm, self._doubts = 0, 0.0, Doubts(ledger)
        self._latest: dict[str, float] = {}

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches; what the device waits for them is added up, but not for the first one."""
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            if self._flight and all(x.is_ready() for x in jax.tree.leaves(self._flight[0])):
                waited, now = time.perf_counter() - begun, self._ledger.now()
                self._waited += waited
                self._ledger.spent("data", begun=now - waited, ended=now)
            if self._team.processes > 1 and self._flight:  # what this host did by itself
                own = {"begun": self._landed, "ended": self._ledger.now(), "step": self._number + 2}
                self._ledger.spent("host", **own)
            yield batch

    def add(self, metrics: StepMetrics, batch: Any) -> int | None:
        """One more step is on its way; the one before it is read, which waits until it is done.

        The number of that one if it must be taken again; what is on its way then changes nothing.

        Raises:
            ValueError: no step of the last `PATIENCE` had a finite gradient, or the replicas of a
                mesh never agreed about one.
            Faulty: a device of a mesh with replicas is wrong again and again.
        """
        if (again := self.land()) is not None:
            return again
        self._flight = metrics, self._job.told(batch)
        if not self._begun:  # compiled by now, and the sources are open
            run = self._job.run
            if self._team.first:  # which writes the log
                self._forward = self._job.forward(batch) * run.rows // len(rows_here(run.rows))
            self._begun = self._since = time.perf_counter()
            self._landed = self._ledger.now()
        return None

    def record(self, n: int, state: TrainState) -> dict[str, Any]:
        """The line of the log at step n; the sums begin anew."""
        self.land()
        sums = Sums()
        for loss, told in self._window.values():
            sums.add(loss, told)
        sums, spent = shared(sums, self._team), time.perf_counter() - self._since
        work = self._job.passes * (self._forward * sums.steps + self._job.per_target * sums.learned)
        self._latest = {"loss": sums.loss, "tokens_per_s": sums.tokens / spent}
        line = {
            "step": n,
            **self._latest,
            "lr": float(self._rate(n - 1)),
            "gradient_norm": self._norm,
            "utilisation": work / spent / self._peak,
            "seconds": spent,
            "waiting_s": self._waited,
            "skipped": int(state.skipped),
            **self._job.numbers(sums),
        }
        self._window, self._waited, self._since = {}, 0.0, time.perf_counter()
        return line

    def progress(self, n: int) -> Progress:
        """Where the run stands after step n, and how long it will still take at its pace."""
        run, spent = self._job.run, time.perf_counter() - self._begun
        left = spent / max(1, n - self._first) * (run.steps - n)
        return Progress(self._job.stage, n, run.steps, self._latest, left)

    @contextmanager
    def aside(self, cause: str) -> Iterator[None]:
        """Time in this block is not counted as training, but written down under its cause."""
        self.land()
        begun = time.perf_counter()
        with self._ledger.timed(cause):
            yield
        self._since += time.perf_counter() - begun
        self._landed = self._ledger.now()

    def limit(self, number: int) -> float:
        """The most that the loss of a step may be, in nats a target, before it is taken again."""
        return self._doubts.limit(number)

    @property
    def spoilt(self) -> list[int]:
        """The devices whose weights changed by themselves before the step that is to be taken
        again; read once."""
        found, self._doubts.spoilt = self._doubts.spoilt, []
        return found

    def back(self, number: int) -> None:
        """The run goes on from after that step; what was in flight changed nothing."""
        self._number, self._flight = number, None

    def land(self) -> int | None:
        """Read the step that is on its way, if one is; its number if it must be taken again."""
        if self._flight is None:
            return None
        metrics, told = self._flight
        self._flight = None
        finite, now = bool(metrics.finite), self._ledger.now()
        self._ledger.spent("step", begun=self._landed, ended=now, step=self._number + 1)
        self._landed = now
        if self._doubts.about(self._number + 1, metrics):
            return self._number + 1
        self._number, self._norm = self._number + 1, float(metrics.gradient_norm)
        self._count(finite, metrics, told)
        return None

    def _count(self, finite: bool, metrics: StepMetrics, told: Tally) -> None:
        if finite:
            self._window[self._number] = metrics.loss, told
            self._skipped = 0
            return
        self._skipped += 1
        if self._skipped == PATIENCE:
            raise ValueError(
                f"the gradient has not been finite for {PATIENCE} steps: lower "
                "optimizer.peak_lr, or set precision=float32"
            )


def peak_of(run: Run, out: Path, team: Team) -> float:
    """Operations per second of all devices of a run, if they are like those of its first process,
    which alone measures them, once on each machine; the devices of a CPU share its cores."""
    if not team.first:
        return math.inf
    devices, path = jax.local_devices(), out / ".peak"
    here = 1 if devices[0].platform == "cpu" else len(devices)
    machine = f"{platform.node()} {devices[0].device_kind} {run.precision}"
    with suppress(OSError, ValueError):
        told, found = path.read_text().split("\n")
        if told == machine:
            return float(found) * here * team.processes
    found = peak_flops(run.precision)
    write_atomic(path, f"{machine}\n{found}".encode())
    return found * here * team.processes
