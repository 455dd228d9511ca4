"""The newest states of a run in memory, beside each of its processes and beside the next one.

Invariant: no process begins to put a step before all have put the one before, and their neighbours
hold it; so at any moment some step is whole, whichever process or host is lost. What comes back is
what was there, bit for bit.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from castor.checkpoint import set_aside
from castor.core.files import write_atomic
from castor.fleet.keeper import Announced, Keeper, announced, command
from castor.fleet.ledger import Ledger
from castor.fleet.pieces import Held, Index, Piece, newest_whole, parts_of
from castor.fleet.shelf import Shelf
from castor.fleet.team import Team
from castor.models.stored import named
from castor.train.corruption import NONE, Fault, Sums, known, refuse_changed, weighed
from castor.train.faults import injected
from castor.train.job import Job
from castor.train.programs import lean
from castor.train.recipe import name_of
from castor.train.step import TrainState

START_S = 20.0  # in which a keeper must have started
PASS_S = 5.0  # in which a step must have come to the neighbour; a run goes on without
ASK_S = 5.0  # of a keeper's silence
KEEPERS: list[subprocess.Popen[bytes]] = []  # that this process started; they outlive it
TRIES = 4  # to come back from memory; each one leaves a damaged copy out


@dataclass(frozen=True)
class Kept:
    """How a run is kept in memory."""

    every: int = 1  # steps
    folder: Path = Path("/dev/shm")  # on a memory file system
    tell: Callable[[str], None] = lambda text: None  # of a step that could not be kept


class Memory:
    """Puts the states of a run where its end does not reach them, and brings the newest one back.

    Raises:
        OSError: the folder cannot be made.
        ValueError: no keeper can be started.
    """

    def __init__(self, kept: Kept, run: str, team: Team, ledger: Ledger) -> None:
        self._kept, self.run, self._team, self._ledger = kept, run, team, ledger
        folder = place_of(kept.folder, run, team.process)
        self._shelf = Shelf(folder, run)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="memory")
        self._putting: Future[None] | None = None
        self._next = (team.process + 1) % team.processes
        # Each device keeps its own sum: nothing is exchanged beside a step.
        self._sums = lean(jax.jit(weighed, keep_unused=True), told=f"{run} sums")
        self._last = 0  # the step that was put last, unless a run has gone back since
        self._pieces: dict[str, tuple[Any, list[tuple[Piece, int]]]] = {}  # as arrays are placed
        self._keeper = self._started()
        self._addresses = team.everyones("keeper", self._keeper.address)
        self._pass_on()

    def newest(self, fresh: TrainState, *, after: int) -> TrainState | None:
        """The newest state that all processes can have back, like `fresh` (of arrays, or of shapes
        with places); None if it is of no later step than `after`. What they held beyond it is
        forgotten."""
        for _ in range(TRIES):
            step = int(self._team.told("newest", str(self._whole(fresh, after))))
            found, trouble = None, ""
            if step > after:
                try:
                    found = self._read(step, fresh)
                except (ValueError, OSError) as error:
                    trouble = str(error)
            troubles = [text for text in self._team.everyones("back", trouble) if text]
            if not troubles:
                self._keeper.forget(step)
                self._send_away()
                self._team.wait("forgotten")
                return found
            if self._team.first:
                self._ledger.happened("detected", what="memory", trouble=troubles[0])
        return None

    def leave_out(self, out: Path) -> None:
        """Go on without the checkpoints that are damaged."""
        if self._team.first:
            for trouble in set_aside(out):
                self._ledger.happened("detected", what="checkpoint", trouble=trouble)
                self._kept.tell(trouble)
        self._team.wait("whole")

    def instead(self, state: TrainState, spoilt: list[int]) -> tuple[TrainState, Sums | None]:
        """The newest state that is held, for one whose weights changed, and its weights' sums. If
        that one was put, it may have been after they did: then it is one from before it.

        Raises:
            ValueError: none is.
        """
        self.wait()
        if self._last == int(state.step):
            self._keeper.forget(self._last - 1)
            self._team.wait("left out")
        self._last = 0
        found = self.newest(state, after=0)
        if found is None:
            raise ValueError(_changed(spoilt, "nothing is held in memory either"))
        return found, known(found.model, self.run)

    def fault(self, state: TrainState) -> Fault:
        """What a drill has asked this process to do wrong in its next step."""
        return injected(self._shelf.folder, state)

    def put(self, n: int, state: TrainState, held: Sums | None) -> None:
        """Put the state after step n, unless that step changed nothing or the weights' sums are not
        those `held`; waits until the one before is put. The state must stay as it is until then."""
        if n % self._kept.every:
            return
        self.wait()
        sums = None if held is None else self._sums(state.model)
        self._putting = self._pool.submit(self._put, n, _plain(state), (held, sums))

    def wait(self) -> None:
        """Go on when the last state is put.

        Raises:
            RuntimeError: another process of the run has ended.
        """
        if self._putting is not None:
            self._putting.result()
            self._putting = None

    def clear(self) -> None:
        """Give the memory back: the run is at its end."""
        self.wait()
        self._team.wait("cleared")
        with suppress(OSError, ValueError):
            self._keeper.stop()
        for keeper in KEEPERS:
            with suppress(subprocess.TimeoutExpired):
                keeper.wait(ASK_S)
        KEEPERS[:] = [keeper for keeper in KEEPERS if keeper.returncode is None]
        self._shelf.clear()

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _put(self, n: int, own: TrainState, sums: tuple[Sums | None, Array | None]) -> None:
        if int(own.step) != n:
            return  # every process sees so
        self._last, trouble = n, ""
        try:
            refuse_changed(*sums)
            self._shelf.put(self._team.process, n, dict(self._parts(own)))
            trouble = self._told_of(n)
        except (ValueError, OSError) as error:
            trouble = str(error)
        if trouble:
            self._ledger.happened("detected", what="memory", step=n, trouble=trouble)
            self._kept.tell(f"step {n} is not kept in memory: {trouble}")
        self._team.wait("put")

    def _parts(self, state: TrainState) -> Iterator[tuple[Piece, np.ndarray]]:
        """The pieces of a state and their bytes; where they lie is worked out once."""
        for name, leaf in _filled(state).items():
            if name not in self._pieces or self._pieces[name][0] != leaf.sharding:
                self._pieces[name] = leaf.sharding, _pieces(name, leaf)
            for piece, i in self._pieces[name][1]:
                yield piece, np.asarray(leaf.addressable_data(i))

    def _told_of(self, n: int) -> str:
        """Have the keeper pass a step on; why it is not with the neighbour in time, if so."""
        end = time.monotonic() + PASS_S
        while True:
            try:
                passed = self._keeper.stored(n)
                if self._team.processes == 1 or passed == n:
                    return ""
                trouble = self._keeper.status().trouble
                if trouble:
                    self._pass_on()  # the neighbour's keeper may be another one by now
            except ConnectionError as error:
                trouble = str(error)
                self._ledger.happened("detected", what="keeper", process=self._team.process)
                self._keeper = self._started()
                self._pass_on()
            if time.monotonic() > end:
                return f"the next host does not hold it: {trouble}"
            time.sleep(0.002)

    def _started(self) -> Keeper:
        """The keeper beside this process, started if there is none."""
        folder, end = self._shelf.folder, time.monotonic() + START_S
        started: subprocess.Popen[bytes] | None = None
        while time.monotonic() < end:
            here = announced(folder)
            if here is not None:
                keeper = Keeper(here.address, self.run, ASK_S)
                with suppress(ConnectionError):
                    keeper.status()
                    self._team.publish("keeper", here.address)
                    return keeper
            if started is None or started.poll() is not None:
                words = command(folder, self.run, rank=self._team.process, host=self._team.host)
                with (folder / "keeper.log").open("ab") as log:
                    started = subprocess.Popen(
                        words, start_new_session=True, stdout=log, stderr=log
                    )
                KEEPERS.append(started)
            time.sleep(0.05)
        raise ValueError(f"no keeper could be started on {folder} in {START_S:g} s")

    def _pass_on(self) -> None:
        if self._team.processes > 1:
            address = self._team.published("keeper", self._next)
            self._addresses[self._next] = address
            self._keeper.pass_to(address)

    def _whole(self, fresh: TrainState, after: int) -> int:
        """The newest step that the keepers hold whole, or `after`; only the first process asks."""
        if not self._team.first:
            return after
        wanted = {name: leaf.shape for name, leaf in _filled(_plain(fresh)).items()}
        return max(after, newest_whole([held for _, held in self._held()], wanted) or 0)

    def _held(self) -> list[tuple[Keeper, Held]]:
        """What every keeper that answers holds, this process's own one first."""
        found = []
        beside = [here.address for _, here in self._beside()]
        for address in dict.fromkeys([self._keeper.address, *self._addresses, *beside]):
            keeper = Keeper(address, self.run, ASK_S)
            with suppress(OSError):
                found.append((keeper, keeper.held()))
        return found

    def _beside(self) -> list[tuple[Path, Announced]]:
        """The keepers of this run on this host, those of processes that it has no more too."""
        folder = self._shelf.folder
        others = sorted(folder.parent.glob(folder.name.rpartition("-")[0] + "-*"))
        return [(other, here) for other in others if (here := announced(other)) is not None]

    def _send_away(self) -> None:
        """End the keepers of processes that this run has no more."""
        if self._team.first:
            for folder, here in self._beside():
                if int(folder.name.rpartition("-")[2]) >= self._team.processes:
                    with suppress(OSError, ValueError):
                        Keeper(here.address, self.run, ASK_S).stop()
                    Shelf(folder, self.run).clear()

    def _read(self, step: int, fresh: TrainState) -> TrainState:
        places = {
            piece: (keeper, owner)
            for keeper, held in reversed(self._held())
            for owner, steps in held.items()
            for piece in steps.get(step, [])
        }
        taken: dict[Piece, np.ndarray] = {}

        def array_of(piece: Piece) -> np.ndarray:
            if piece not in taken:
                keeper, owner = places[piece]
                here = keeper.address == self._keeper.address
                take = self._shelf.take if here else keeper.piece
                taken[piece] = take(owner, step, piece)
            return taken[piece]

        def part(name: str, like: Any, index: tuple[slice, ...]) -> np.ndarray:
            edges = _edges(index, like.shape)
            made = np.empty([stop - start for start, stop in edges], like.dtype)
            for found in parts_of(name, edges, places):
                made[found.write] = array_of(found.piece)[found.read]
            return made

        def whole(name: str, like: Any) -> Any:
            def fill(index: Any) -> np.ndarray:
                return part(name, like, index)

            return jax.make_array_from_callback(like.shape, like.sharding, fill)

        arrays = {name: whole(name, like) for name, like in _filled(_plain(fresh)).items()}
        every = {**named(_plain(fresh)), **arrays}
        found = jax.tree.unflatten(jax.tree.structure(_plain(fresh)), list(every.values()))
        return replace(found, key=jax.random.wrap_key_data(found.key))


def place_of(folder: Path, run: str, process: int) -> Path:
    """Where the states of a process of a run lie; on a system without that folder, in another one
    for what may be lost."""
    base = folder if folder.is_dir() else Path(tempfile.gettempdir())
    return base / f"castor-{os.getuid()}" / f"{run}-{process}"


def _plain(state: TrainState) -> TrainState:
    if isinstance(state.key, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, state.key)
        return replace(state, key=data.update(sharding=state.key.sharding))
    return replace(state, key=jax.random.key_data(state.key))


def _filled(plain: TrainState) -> dict[str, Any]:
    """The arrays of a state that hold something, by their paths."""
    return {name: leaf for name, leaf in named(plain).items() if leaf.size}


def _pieces(name: str, leaf: Array) -> list[tuple[Piece, int]]:
    """What the devices of this process hold of an array, each part once, and the first of them."""
    indices = leaf.sharding.addressable_devices_indices_map(leaf.shape).values()
    firsts: dict[Index, int] = {}
    for i, index in enumerate(indices):
        firsts.setdefault(_edges(index or (), leaf.shape), i)
    dtype = str(leaf.dtype)
    return [(Piece(name, leaf.shape, dtype, edges), i) for edges, i in firsts.items()]


def _edges(index: tuple[slice, ...], shape: tuple[int, ...]) -> Index:
    pairs = (part.indices(size)[:2] for part, size in zip(index, shape, strict=True))
    return tuple((start, stop) for start, stop in pairs)


def _changed(spoilt: list[int], what: str) -> str:
    return (
        f"the weights on the devices {spoilt} changed by themselves, and {what}: take that "
        "hardware out and start again; the last checkpoint is from before"
    )


class Nowhere:
    """A run that is not kept in memory."""

    run = ""  # it has no name

    def newest(self, fresh: TrainState, *, after: int) -> TrainState | None:
        """None."""

    def put(self, n: int, state: TrainState, held: Sums | None) -> None:
        """Nothing."""

    def leave_out(self, out: Path) -> None:
        """Nothing: who starts such a run by hand is told of a damaged checkpoint, and decides."""

    def fault(self, state: TrainState) -> Fault:
        """None."""
        return NONE

    def instead(self, state: TrainState, spoilt: list[int]) -> tuple[TrainState, Sums | None]:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError(_changed(spoilt, "nothing is kept in memory; see --keep"))

    def clear(self) -> None:
        """Nothing."""


@contextmanager
def keeping(job: Job, kept: Kept | None, team: Team, ledger: Ledger) -> Generator[Memory | Nowhere]:
    """Where the states of a job are kept; None = nowhere."""
    if kept is None:
        yield Nowhere()
        return
    with Memory(kept, _name_of(job, team), team, ledger) as memory:
        yield memory


def _name_of(job: Job, team: Team) -> str:
    """The name under which the run in a folder is kept: no other run has it, nor this folder when
    it holds another recipe."""
    path, found = job.out / ".run", ""
    recipe = name_of(job.run)
    if team.first:
        with suppress(FileNotFoundError):
            found = path.read_text()
        if not found.startswith(recipe):
            found = f"{recipe}-{os.urandom(4).hex()}"
            write_atomic(path, found.encode())
    return team.told("run", found)
