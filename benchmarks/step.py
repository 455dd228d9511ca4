"""Training steps of a 9.7M text decoder on this machine: tokens a second and peak memory.

    python benchmarks/step.py [--peer .venv-peers/bin/python] [--steps 10] [--vocab 8192] [--demo]

Width 256, 8 layers, multi-query attention, GeGLU, 8 rows of 512 positions, bfloat16, AdamW; every
position is learned. With --peer the same step in PyTorch, eager and compiled, runs beside ours:
each in a process of its own, taking turns step by step. Prints one JSON object.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version

import jax
import numpy as np
from beside import Peer, hardware

from castor.core.batch import Batch
from castor.models.decoder import init
from castor.models.sizes import ModelConfig
from castor.train.objectives import next_token
from castor.train.optim import AdamW, Muon
from castor.train.step import make_step, start

OPTIMIZERS = {"AdamW": AdamW, "Muon": Muon}
Turn = Callable[[], dict[str, float]]  # one step: its seconds and the process's peak memory


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    flags.add_argument("--peer", metavar="PYTHON", help="of an environment that holds PyTorch")
    flags.add_argument("--steps", type=int, default=10)
    flags.add_argument("--vocab", type=int, default=8192)
    flags.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="AdamW")
    flags.add_argument("--demo", action="store_true", help="width 192, 5 layers, 16 rows of 256")
    given = flags.parse_args()
    layers, width, hidden, heads, rows, length = (
        (5, 192, 576, 3, 16, 256) if given.demo else (8, 256, 1024, 4, 8, 512)
    )
    config = ModelConfig(
        layers, width, hidden, heads, head_width=64, vocab=given.vocab, context=length
    )
    ours = _steps(config, rows, length, given.optimizer)
    turns: dict[str, Turn] = {"castor": lambda: next(ours)}
    versions = {name: version(name) for name in ("jax", "jaxlib")}
    if given.peer:
        for name in ("eager", "compile"):
            turns[name], versions["torch"] = _peer(given.peer, config, rows, length, name)
    record = {
        "what": "training step",
        "parameters": sum(x.size for x in jax.tree.leaves(_shapes(config))),
        "rows": rows,
        "length": length,
        "vocab": given.vocab,
        "optimizer": given.optimizer,
        "results": _measure(turns, given.steps, rows * length),
        "seed": 0,
        "hardware": hardware(),
        "load_average": os.getloadavg()[0],
        "versions": versions,
    }
    print(json.dumps(record, indent=1))


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


def _measure(turns: dict[str, Turn], steps: int, tokens: int) -> dict[str, dict[str, float]]:
    first = {name: turn()["seconds"] for name, turn in turns.items()}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    for _ in range(steps):
        for name, turn in turns.items():
            taken[name].append(turn())
    speed = {
        name: tokens / float(np.median([t["seconds"] for t in each]))
        for name, each in taken.items()
    }
    return {
        name: {
            "tokens_per_second": round(speed[name]),
            "castor_times_this": round(speed["castor"] / speed[name], 2),
            "least_ms": round(1e3 * min(t["seconds"] for t in each)),
            "peak_memory_mb": round(each[-1]["peak_memory_mb"]),
            "first_step_s": round(first[name], 1),
        }
        for name, each in taken.items()
    }


def _steps(config: ModelConfig, rows: int, length: int, optimizer: str) -> Iterator[dict]:
    transform = OPTIMIZERS[optimizer]().transform(1000)
    model = jax.jit(partial(init, config))(jax.random.key(0))
    state = start(model, transform, key=jax.random.key(1), ema=0.0)
    step = make_step(partial(next_token, config=config), transform, precision="bfloat16")
    batches = [_batch(config, rows, length, seed) for seed in range(4)]
    for i in range(1_000_000):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batches[i % len(batches)]))
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        yield {"seconds": seconds, "peak_memory_mb": peak}


def _shapes(config: ModelConfig) -> object:
    return jax.eval_shape(partial(init, config), jax.random.key(0))


def _batch(config: ModelConfig, rows: int, length: int, seed: int) -> Batch:
    ids = np.random.default_rng(seed).integers(0, config.vocab, (rows, length + 1), np.int32)
    zeros = np.zeros((rows, length), np.int32)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length))
    ones = np.ones((rows, length), np.float32)
    return Batch(ids[:, :-1], ids[:, 1:], ones, zeros + 1, positions, zeros, zeros, {})


def _peer(python: str, config: ModelConfig, rows: int, length: int, mode: str) -> tuple[Turn, str]:
    names = ("layers", "width", "hidden", "heads", "head_width", "vocab")
    shape = {name: getattr(config, name) for name in names}
    shape |= {"rows": rows, "length": length, "compile": mode == "compile"}
    peer = Peer(python, "torch_step.py", shape)
    assert peer.hello["parameters"] == sum(x.size for x in jax.tree.leaves(_shapes(config)))
    return peer.ask, peer.hello["version"]


if __name__ == "__main__":
    main()
