"""Faults on purpose: which befalls which process when, and how each of them is made.

Invariant: the schedule is a function of its seed; what is done is what a failing process, host,
memory or disk would do, by the means of the system, to a run that does not know of the drill.
"""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from castor.core.files import write_atomic
from castor.fleet.keeper import announced
from castor.fleet.ledger import Ledger
from castor.fleet.network import Network
from castor.fleet.shelf import Shelf

KINDS = {
    "worker": "a training process is killed",
    "coordinator": "the first process is killed, which all others are joined by",
    "keeper": "the keeper beside a process is killed",
    "host": "a process, its keeper and what that held are gone together",
    "stop": "a process is stopped for a minute",
    "gradient": "a bit of a gradient is turned on one device",
    "weight": "a bit of a weight is turned in one device's memory",
    "kept": "a bit of a kept state is turned, and its process is killed",
    "checkpoint": "the newest checkpoint is cut short, and a process is killed",
    "disk": "the disk is full for some time",
    "network": "a host is cut off from the others for some time",
    "memory": "all processes and all that is in memory are gone: only checkpoints are left",
    "device": "a device turns a bit of its gradient again and again",
}
UNUSUAL = ("memory", "device")  # steps since the last save are lost; another mesh, so other bits
USUAL = tuple(kind for kind in KINDS if kind not in UNUSUAL)
STOP_S, FULL_S, CUT_S = 60.0, 20.0, 10.0
TURNS_S = 4.0  # between bits that a failing device turns: a step that never goes right names nobody
SOME = 8  # steps that are taken before the first fault

FLIP, WEIGHT = "flip.json", "weight.json"  # in the folder in which a process's state is kept


class Planned(NamedTuple):
    """A fault: so many seconds after the one before, to which process."""

    after_s: float
    kind: str
    process: int


def schedule(
    kinds: Sequence[str], processes: int, *, every_s: float, seed: int
) -> Iterator[Planned]:
    """Faults without end, `every_s` seconds apart on average (exponentially distributed), each kind
    as often as the others.

    Raises:
        ValueError: there is no such kind.
    """
    if unknown := sorted(set(kinds) - KINDS.keys()):
        raise ValueError(f"there is no fault {unknown[0]!r}; there is {', '.join(KINDS)}")
    rng = np.random.default_rng([seed, 7])
    while True:
        for kind in rng.permutation(np.array(kinds)):
            process = 0 if kind == "coordinator" else int(rng.integers(processes))
            yield Planned(float(rng.exponential(every_s)), str(kind), process)


def ask(folder: Path, what: str, *, device: int, word: int, bit: int) -> None:
    """Ask the process whose state is kept in a folder for FLIP or WEIGHT on one of its devices."""
    write_atomic(folder / what, json.dumps([device, word, bit]).encode())


class Drill:
    """Does what a schedule says to a run, from a thread of its own, until it is told to stop.

    `folders` says where each process's state is kept, `running` which processes there are now (by
    number, 0 = none). A fault waits until all of them run. Each of them is on a host of `network`,
    if there is one.
    """

    def __init__(
        self,
        plan: Iterator[Planned],
        *,
        out: Path,
        ledger: Ledger,
        folders: Callable[[], list[Path]],
        running: Callable[[], list[int]],
        seed: int,
        network: Network | None = None,
    ) -> None:
        self._plan, self._out, self._ledger, self._hosts = plan, out, ledger, network
        self._folders, self._running = folders, running
        self._rng = np.random.default_rng([seed, 8])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._all, daemon=True)
        self.done: list[Planned] = []

    def __enter__(self) -> "Drill":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _all(self) -> None:
        for fault in self._plan:
            if self._over.wait(fault.after_s) or not self._ready():
                return
            process = fault.process % len(self._running())
            self._ledger.happened("fault", what=fault.kind, process=process)
            getattr(self, f"_{fault.kind}")(process)
            self.done.append(fault)

    def _ready(self) -> bool:
        """Wait until all processes run and hold something; false if the drill is over before."""
        while not self._over.wait(0.05):
            folders = self._folders()
            if all(self._running()) and folders and all(map(_holds, folders, range(99))):
                return True
        return False

    def _worker(self, process: int) -> None:
        _signal(self._running()[process], signal.SIGKILL)

    _coordinator = _worker

    def _keeper(self, process: int) -> None:
        if (keeper := announced(self._folders()[process])) is not None:
            _signal(keeper.pid, signal.SIGKILL)

    def _host(self, process: int) -> None:
        folder = self._folders()[process]
        self._worker(process)
        self._keeper(process)
        shutil.rmtree(folder, ignore_errors=True)

    def _stop(self, process: int) -> None:
        number = self._running()[process]
        _signal(number, signal.SIGSTOP)
        awake = threading.Timer(STOP_S, _signal, [number, signal.SIGCONT])
        awake.daemon = True
        awake.start()

    def _gradient(self, process: int) -> None:
        self._ask(FLIP, process)

    def _device(self, process: int) -> None:
        processes = len(self._running())
        while not self._over.wait(TURNS_S) and len(now := self._running()) == processes:
            if all(now):
                self._gradient(process)

    def _weight(self, process: int) -> None:
        self._ask(WEIGHT, process)

    def _ask(self, what: str, process: int) -> None:
        word, bit = int(self._rng.integers(1000)), int(self._rng.integers(32))
        ask(self._folders()[process], what, device=0, word=word, bit=bit)

    def _kept(self, process: int) -> None:
        folder = self._folders()[process]
        with suppress(IndexError, OSError):
            slot = Shelf(folder, run_in(folder)).slots(process)[0]
            place = int(self._rng.integers(slot.start, slot.stop))
            with slot.path.open("rb+") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << int(self._rng.integers(8))]))
        self._worker(process)

    def _checkpoint(self, process: int) -> None:
        saved = sorted(self._out.glob("step_*/weights.safetensors"))
        if saved:
            os.truncate(saved[-1], saved[-1].stat().st_size // 2)
        self._worker(process)

    def _memory(self, process: int) -> None:
        del process
        for number in self._running():
            _signal(number, signal.SIGKILL)
        for other, folder in enumerate(self._folders()):
            self._keeper(other)
            shutil.rmtree(folder, ignore_errors=True)

    def _network(self, process: int) -> None:
        if self._hosts is not None:
            self._hosts.cut(process)
            self._over.wait(CUT_S)
            self._hosts.mend(process)

    def _disk(self, process: int) -> None:
        del process
        ballast = self._out / ".ballast"
        with suppress(OSError), ballast.open("wb") as file:
            while not self._over.is_set():
                file.write(bytes(2**20))
                file.flush()
        self._over.wait(FULL_S)
        ballast.unlink(missing_ok=True)


def run_in(folder: Path) -> str:
    """The name of the run whose states a folder holds."""
    return (folder / "run").read_text()


def _holds(folder: Path, process: int) -> bool:
    """Whether a process has taken some steps."""
    if not (folder / "run").exists():
        return False
    slots = Shelf(folder, run_in(folder)).slots(process)
    return len(slots) == 2 and slots[0].step >= SOME


def _signal(number: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if number:
            os.kill(number, what)
