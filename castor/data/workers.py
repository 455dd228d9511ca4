"""Batches made ahead of time by other processes: all that Castor uses of grain.

Invariant: what comes out does not depend on the number of processes, and no process outlives the
one that started it.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from castor.core.batch import Batch

if TYPE_CHECKING:
    from grain import DatasetIterator as Ahead

AHEAD = 4  # batches that each process may have waiting
# Workers multiply small matrices: a mel front end takes 1.7 ms on two threads, 0.3 ms on one.
BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def started(batch: Callable[[int], Batch], steps: range, *, workers: int) -> "Ahead":
    """`batch(step)` for each step in order; `close()` ends the processes that make them.

    Batches travel through pipes: shared memory saves 2 ms a batch but is left behind in /dev/shm
    when a run is killed.

    Raises:
        ValueError: the main script starts them while it is being imported by one of them.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ValueError(
            "processes that make batches import the main script first, and this one trains as soon "
            "as it is imported: put what it does under `if __name__ == '__main__':`, or set "
            "workers=0"
        )
    import grain  # takes seconds, and is needed for nothing else
    from absl import flags

    if not flags.FLAGS.is_parsed():  # grain asks absl for flags that nobody gave it
        flags.FLAGS.mark_as_parsed()
    made = (
        grain.MapDataset.range(steps.start, steps.stop)
        .map(batch)
        .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
    )
    pipes = grain.experimental.DatasetOptions(min_shm_size=2**62)
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD)
    ahead = iter(
        grain.experimental.WithOptionsIterDataset(made, pipes).mp_prefetch(options, leave_in_time)
    )
    for name in BLAS:  # a process keeps what it was started with: this one is not changed
        os.putenv(name, "1")
    ahead.start_prefetch()
    return ahead


def leave_in_time(worker: int, workers: int) -> None:
    """End this process soon after its parent has ended, even if that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
