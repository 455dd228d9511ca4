"""Training steps of a 9.7M text decoder on this machine: tokens a second and peak memory.

    python benchmarks/step.py [--vocab 8192] [--optimizer AdamW] [--steps 10]

Width 256, 8 layers, multi-query attention, GeGLU, rows of 512 positions, 8 rows, bfloat16; every
position is learned. Prints one JSON object. `--demo` takes the demo's decoder and rows instead.
"""

import argparse
import json
import os
import platform
import resource
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from castor.core.batch import Batch
from castor.models.decoder import init
from castor.models.sizes import ModelConfig
from castor.train.objectives import next_token
from castor.train.optim import AdamW, Muon
from castor.train.step import make_step, start

OPTIMIZERS = {"AdamW": AdamW, "Muon": Muon}


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    flags.add_argument("--vocab", type=int, default=8192)
    flags.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="AdamW")
    flags.add_argument("--steps", type=int, default=10)
    flags.add_argument("--demo", action="store_true", help="width 192, 5 layers, 16 rows of 256")
    given = flags.parse_args()
    layers, width, hidden, heads, rows, length = (
        (5, 192, 576, 3, 16, 256) if given.demo else (8, 256, 1024, 4, 8, 512)
    )
    config = ModelConfig(
        layers, width, hidden, heads, head_width=64, vocab=given.vocab, context=length
    )
    transform = OPTIMIZERS[given.optimizer]().transform(1000)
    model = init(config, jax.random.key(0))
    state = start(model, transform, key=jax.random.key(1), ema=0.0)
    step = make_step(partial(next_token, config=config), transform, precision="bfloat16")
    batches = [_batch(config, rows, length, seed) for seed in range(4)]
    began = time.perf_counter()
    state, _ = jax.block_until_ready(step(state, batches[0]))
    compiled = time.perf_counter() - began
    wall, cpu = [], []
    for i in range(given.steps):
        before = time.perf_counter(), time.process_time()
        state, metrics = jax.block_until_ready(step(state, batches[i % len(batches)]))
        wall.append(time.perf_counter() - before[0])
        cpu.append(time.process_time() - before[1])
    record = {
        "what": "training step",
        "parameters": sum(x.size for x in jax.tree.leaves(model)),
        "rows": rows,
        "length": length,
        "vocab": given.vocab,
        "optimizer": given.optimizer,
        "tokens_per_second": round(rows * length / float(np.median(wall))),
        "step_ms": {"median": round(1e3 * float(np.median(wall))), "least": round(1e3 * min(wall))},
        "cpu_ms_least": round(1e3 * min(cpu)),
        "first_step_s": round(compiled, 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "nats_per_token": round(float(metrics.loss.nats / metrics.loss.count), 4),
        "seed": 0,
        "hardware": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "versions": {name: version(name) for name in ("jax", "jaxlib", "numpy", "optax")},
    }
    print(json.dumps(record, indent=1))


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


def _batch(config: ModelConfig, rows: int, length: int, seed: int) -> Batch:
    ids = np.random.default_rng(seed).integers(0, config.vocab, (rows, length + 1), np.int32)
    zeros = np.zeros((rows, length), np.int32)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length))
    ones = np.ones((rows, length), np.float32)
    return Batch(ids[:, :-1], ids[:, 1:], ones, zeros + 1, positions, zeros, zeros, {})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
