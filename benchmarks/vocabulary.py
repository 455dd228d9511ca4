"""What a long vocabulary costs a training step: peak memory, by which part of it.

    python benchmarks/vocabulary.py [--vocab 256000] [--optimizer AdamW] [--steps 3]

The 9.7M decoder of `step.py` (width 256, 8 layers, 8 rows of 512 positions, all of them learned,
bfloat16) with its embedding as long as asked for. Prints one JSON object; megabytes are millions.
"""

import argparse
import json
import resource
import time
from functools import partial

import jax
import numpy as np
from beside import conditions, spread

from castor.core.batch import Batch
from castor.models.decoder import init
from castor.models.sizes import ModelConfig
from castor.train.job import once
from castor.train.objectives import next_token
from castor.train.optim import Adafactor, AdamW, Muon
from castor.train.step import make_step, start

OPTIMIZERS = {"AdamW": AdamW, "Adafactor": Adafactor, "Muon": Muon}
ROWS, LENGTH = 8, 512
SEED = 0


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--vocab", type=int, default=256_000)
    flags.add_argument("--optimizer", choices=list(OPTIMIZERS), default="AdamW")
    flags.add_argument("--steps", type=int, default=3)
    given = flags.parse_args()
    config = ModelConfig(
        layers=8,
        width=256,
        hidden=1024,
        heads=4,
        head_width=64,
        vocab=given.vocab,
        context=LENGTH,
    )
    imported = peak_mb()
    transform = OPTIMIZERS[given.optimizer]().transform(1000)
    model = once(partial(init, config))(jax.random.key(SEED))
    weights = sum(x.size for x in jax.tree.leaves(model))
    state = start(model, transform, key=jax.random.key(SEED + 1), ema=0.0)
    del model
    step = make_step(partial(next_token, config=config), transform, precision="bfloat16")
    batch = text(config)
    held = round(sum(x.nbytes for x in jax.tree.leaves(state) if hasattr(x, "nbytes")) / 1e6)
    state, metrics = jax.block_until_ready(step(state, batch))  # compiles
    seconds = []
    for _ in range(given.steps):
        begun = time.perf_counter()
        state, metrics = jax.block_until_ready(step(state, batch))
        seconds.append(time.perf_counter() - begun)
    peak = peak_mb()
    record = {
        "what": "training step with a long vocabulary",
        "parameters": weights,
        "vocab": given.vocab,
        "rows": ROWS,
        "length": LENGTH,
        "optimizer": given.optimizer,
        "peak_memory_mb": peak,
        "of_which_mb": {
            "libraries": imported,
            "weights and moments": held,
            "the step and compiling it": peak - imported - held,
            "all logits, which never exist": round(ROWS * LENGTH * given.vocab * 4 / 1e6),
        },
        "steps": given.steps,
        "step_s": spread(seconds, digits=2),
        "tokens_per_second": spread([ROWS * LENGTH / each for each in seconds], digits=0),
        "nats_per_token": round(float(metrics.loss.nats / metrics.loss.count), 4),
        **conditions("jaxlib", "numpy", "optax", seed=SEED),
    }
    print(json.dumps(record, indent=1))


def peak_mb() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def text(config: ModelConfig) -> Batch:
    ids = np.random.default_rng(SEED).integers(0, config.vocab, (ROWS, LENGTH + 1), np.int32)
    zeros = np.zeros((ROWS, LENGTH), np.int32)
    positions = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), zeros.shape)
    ones = np.ones(zeros.shape, np.float32)
    return Batch(ids[:, :-1], ids[:, 1:], ones, zeros + 1, positions, zeros, zeros, {})


if __name__ == "__main__":
    main()
