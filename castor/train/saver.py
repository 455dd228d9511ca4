"""Checkpoints written beside the training that they are of.

Invariant: what is written is the state after the step that it is named by, whatever is trained
meanwhile; a run that ends has written all of them.
"""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import jax

from castor.checkpoint import STATE, AnyCheckpoint, Keep, prune, save
from castor.checkpoint.bucket import Bucket
from castor.checkpoint.state import write_state
from castor.fleet.team import Team
from castor.models.layout import copied, whole
from castor.train.job import Job
from castor.train.step import TrainState

Alive = Callable[[], None]
SIGN_S, SIGNS = 1.0, 1800  # between two signs of life, and how many a hung disk may give
ROOM_S = 300.0  # in which a full disk must have room again
MORE = 2**24  # bytes that a checkpoint may take besides its arrays


def none() -> None:
    """No sign of life: nobody waits for one."""


class Saver:
    """Writes the checkpoints of a run to `out`, one at a time, and removes old ones.

    With `full`, which is told of it, one waits beside the training until the disk has room for it;
    that is for a run which is kept elsewhere meanwhile. The first process copies each to `bucket`.
    """

    def __init__(
        self,
        out: Path,
        keep: Keep,
        team: Team,
        *,
        full: Callable[[str], None] | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        self._out, self._keep, self._team = out, keep, team
        self._full, self._bucket = full, bucket
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def save(
        self, job: Job, n: int, loss: float | None, state: TrainState, alive: Alive = none
    ) -> None:
        """Write the state after step n, with its loss on held-out data if that was measured; only
        its copying is waited for, and the checkpoint before.

        Raises:
            OSError: the checkpoint before could not be written.
        """
        self.wait(alive)
        own = copied(state)
        used = job.used(own) if self._team.processes == 1 else whole(job.used(state))
        checkpoint = job.checkpoint(used, n, loss)
        self._writing = self._pool.submit(self._write, checkpoint, own)

    def check(self) -> None:
        """Raises OSError if what was being written could not be."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self, alive: Alive = none) -> None:
        """Go on when all is written; meanwhile `alive` is called again and again.

        Raises:
            OSError: it cannot be; what was there before is untouched.
        """
        if self._writing is not None:
            for _ in range(SIGNS):
                if wait([self._writing], timeout=SIGN_S).done:
                    break
                alive()
            self._writing.result()
            self._writing = None

    def _write(self, checkpoint: AnyCheckpoint, own: TrainState) -> None:
        team = self._team
        if team.first:
            self._make_room(checkpoint.step, own)
            announced = {"processes": team.processes, "announce": self._announce}
            save(self._out, checkpoint, state=own, **announced)
            prune(self._out, self._keep)
        else:
            write_state(Path(team.told("aside")) / STATE, own, processes=team.processes)
        team.wait("saved")
        if self._bucket is not None:
            self._bucket.sync(self._out)

    def _make_room(self, step: int, own: TrainState) -> None:
        wanted = MORE + sum(4 * leaf.size for leaf in jax.tree.leaves((own.model, own)))
        if self._full is None or (free := shutil.disk_usage(self._out).free) >= wanted:
            return
        self._full(
            f"the checkpoint of step {step} takes {wanted / 1e6:,.0f} MB, and {self._out} has "
            f"{free / 1e6:,.0f} left: make room; it waits {ROOM_S:g} s"
        )
        end = time.monotonic() + ROOM_S
        while shutil.disk_usage(self._out).free < wanted and time.monotonic() < end:
            time.sleep(SIGN_S)

    def _announce(self, aside: Path) -> None:
        self._team.told("aside", str(aside))

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
