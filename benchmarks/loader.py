"""The loader under load: 35 sources, memory, processor time, and how long training waits.

    OPENBLAS_NUM_THREADS=1 python benchmarks/loader.py --data DIR [--steps 60] [--workers 1]

Batches of 4,096 tokens in 16 rows. First in this process, to count processor time without waiting
for anybody (with one BLAS thread, as worker processes have); then from worker processes beside the
demo's training step, which uses every core. Nothing is compared. Prints one JSON object.
"""

import argparse
import json
import multiprocessing
import os
import time
from functools import partial
from pathlib import Path
from typing import get_args

import jax
import numpy as np
from beside import conditions, spread

from castor.core.content import Media, Text
from castor.data.clips import Filmed
from castor.data.images import Cifar10
from castor.data.loader import Loader
from castor.data.mixture import Mixture, Part
from castor.data.playground.spec import Playground, Task
from castor.data.research import Flickr1k, Sroie, TabMwp
from castor.data.tasks import TextTask
from castor.data.texts import Books, Corpus
from castor.models.decoder import init
from castor.models.modality import perceive
from castor.recipes.demo import CODEC, DEMO
from castor.tokens.learn import learn
from castor.tokens.vocab import Vocab
from castor.train.objectives import next_token
from castor.train.step import make_step, start

MORE = (
    *(
        Cifar10(),
        Flickr1k(),
        Sroie(),
        TabMwp(),
        Corpus("wiki"),
        Corpus("poetry"),
        Filmed("asl", frames=4),
    ),
    *(TextTask(name) for name in ("gsm8k", "math", "mbpp", "sgd", "multi30k", "alpaca")),
    *(Playground(task) for task in get_args(Task)),
)
SOURCES = 35
SEED = 0


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--data", type=Path, required=True)
    flags.add_argument("--steps", type=int, default=60)
    flags.add_argument("--workers", type=int, default=1)
    given = flags.parse_args()
    loader = make(given.data, steps=4 * given.steps, workers=given.workers)
    alone = in_this_process(loader, given.steps)
    record = {
        "what": "loader",
        "sources": len(loader.mixture.parts),
        "tokens": DEMO.rows * DEMO.length,
        **alone,
        **beside_training(loader, given.steps),
        "workers": given.workers,
        "steps": given.steps,
        **conditions("grain", "numpy", "pillow", seed=SEED),
    }
    print(json.dumps(record))


def make(data: Path, *, steps: int, workers: int) -> Loader:
    """The demo's mixture with other sources beside it, up to 35."""
    known = set(DEMO.mixture.names)
    more = [Part(spec, 0.004) for spec in MORE if spec.name not in known]
    parts = (*DEMO.mixture.parts, *more)[:SOURCES]
    assert len(parts) == SOURCES
    return Loader(
        Mixture(parts, balance=DEMO.mixture.balance),
        data=data,
        vocab=vocabulary(data),
        see=partial(perceive, config=DEMO.model),
        draw=blank_codes,
        rows=DEMO.rows,
        length=DEMO.length,
        capacity=DEMO.capacity,
        seed=SEED,
        steps=steps,
        workers=workers,
    )


def vocabulary(data: Path) -> Vocab:
    """A small one, from some of the books."""
    books = Books().open(data, "train")
    rng = np.random.default_rng(SEED)
    chosen = rng.choice(len(books), 600, replace=False)
    pages = (books.document(int(i), rng).turns[0].parts[0] for i in chosen)
    texts = [page.text for page in pages if isinstance(page, Text)]
    return learn(texts, size=3072, codes=1000)


def blank_codes(media: Media) -> np.ndarray:
    """What a codec would make of any picture: its codes take no time to look up."""
    side = CODEC.model.side // CODEC.model.patch
    return np.zeros((side, side), np.int32)


def in_this_process(loader: Loader, steps: int) -> dict[str, object]:
    """Processor seconds of a batch: while media are decoded, and once they have been seen."""
    cold = _processor_time(loader, range(steps))
    warm = _processor_time(loader, range(steps))
    packed = [loader.packed(step) for step in range(min(10, loader.steps))]
    return {
        "cpu_s_cold": {"mean": round(float(np.mean(cold)), 4), **spread(cold, digits=4)},
        "cpu_s_warm": {"mean": round(float(np.mean(warm)), 4), **spread(warm, digits=4)},
        "full": round(float(np.mean([(p.batch.segments > 0).mean() for p in packed])), 4),
        "dropped": sum(sum(p.dropped.values()) for p in packed),
    }


def _processor_time(loader: Loader, steps: range) -> list[float]:
    """Processor seconds of each batch."""
    times = [time.process_time()]
    for step in steps:
        loader.batch(step)
        times.append(time.process_time())
    return np.diff(times).tolist()


def beside_training(loader: Loader, steps: int) -> dict[str, object]:
    """Seconds that training waits, and the memory of the processes that make its batches."""
    config = DEMO.model
    transform = DEMO.optimizer.transform(1000)
    state = start(
        init(config, jax.random.key(SEED)), transform, key=jax.random.key(SEED + 1), ema=0.0
    )
    step = make_step(partial(next_token, config=config), transform, precision=DEMO.precision)
    batches = loader.iterate()
    state, _ = jax.block_until_ready(step(state, next(batches)))
    taken: list[float] = []
    waited, most = 0.0, 0
    for _ in range(steps):
        before = time.perf_counter()
        batch = next(batches)
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        taken.append(time.perf_counter() - begun)
        waited += begun - before
        pids = [worker.pid for worker in multiprocessing.active_children()]
        most = max(most, sum(_resident(pid) for pid in pids if pid is not None))
    batches.close()
    return {
        "step_s": spread(taken, digits=4),
        "wait_share": round(waited / (waited + sum(taken)), 5),
        "workers_resident_mb": round(most / 1e6),
    }


def _resident(pid: int) -> int:
    """Bytes of a process that are in memory (Linux)."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
