"""Training steps of a 9.7M text decoder on this machine: tokens a second and peak memory.

    python benchmarks/step.py [--peer .venv-peers/bin/python] [--steps 10] [--vocab 8192] [--demo]

Width 256, 8 layers, multi-query attention, GeGLU, 8 rows of 512 positions, bfloat16, AdamW; every
position is learned. With --demo, the decoder and the rows of the recipe `demo`. With --peer the
same step in PyTorch, eager and compiled, runs beside ours: each in a process of its own, taking
turns step by step. Prints one JSON object.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import jax
import numpy as np
from beside import Peer, conditions, spread

from castor.core.batch import Batch
from castor.models.decoder import init
from castor.models.sizes import DEMO, ModelConfig
from castor.train.objectives import next_token
from castor.train.optim import AdamW, Muon
from castor.train.step import make_step, start

OPTIMIZERS = {"AdamW": AdamW, "Muon": Muon}
LARGER = ModelConfig(
    layers=8, width=256, hidden=1024, heads=4, head_width=64, vocab=8192, context=512
)
SEED = 0
Turn = Callable[[], dict[str, float]]  # one step: its seconds and the process's peak memory


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    flags.add_argument("--peer", metavar="PYTHON", help="of an environment that holds PyTorch")
    flags.add_argument("--steps", type=int, default=10)
    flags.add_argument("--vocab", type=int, help="ids, instead of the shape's own")
    flags.add_argument("--optimizer", choices=sorted(OPTIMIZERS), default="AdamW")
    flags.add_argument("--demo", action="store_true", help="the shape of the recipe `demo`")
    given = flags.parse_args()
    size, rows = (DEMO, 16) if given.demo else (LARGER, 8)
    config = replace(size, vocab=given.vocab or size.vocab, image=None, audio=None)
    length = config.context
    ours = _steps(config, rows, length, given.optimizer)
    turns: dict[str, Turn] = {"castor": lambda: next(ours)}
    versions: dict[str, str] = {}
    if given.peer:
        for name in ("eager", "compile"):
            turns[name], versions["torch"] = _peer(given.peer, config, rows, length, name)
    record = {
        "what": "training step",
        "parameters": sum(x.size for x in jax.tree.leaves(_shapes(config))),
        "rows": rows,
        "length": length,
        "layers": config.layers,
        "width": config.width,
        "vocab": config.vocab,
        "optimizer": given.optimizer,
        "steps": given.steps,
        "results": _measure(turns, given.steps, rows * length),
        **conditions("jaxlib", "optax", seed=SEED, peer=versions),
    }
    print(json.dumps(record, indent=1))


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


def _measure(turns: dict[str, Turn], steps: int, tokens: int) -> dict[str, dict[str, object]]:
    first = {name: turn()["seconds"] for name, turn in turns.items()}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    for _ in range(steps):
        for name, turn in turns.items():
            taken[name].append(turn())
    speed = {
        name: spread([tokens / t["seconds"] for t in each], digits=0)
        for name, each in taken.items()
    }
    return {
        name: {
            "tokens_per_second": speed[name],
            "castor_times_this": round(speed["castor"]["median"] / speed[name]["median"], 2),
            "peak_memory_mb": round(each[-1]["peak_memory_mb"]),
            "first_step_s": round(first[name], 1),
        }
        for name, each in taken.items()
    }


def _steps(config: ModelConfig, rows: int, length: int, optimizer: str) -> Iterator[dict]:
    transform = OPTIMIZERS[optimizer]().transform(1000)
    model = jax.jit(partial(init, config))(jax.random.key(SEED))
    state = start(model, transform, key=jax.random.key(SEED + 1), ema=0.0)
    step = make_step(partial(next_token, config=config), transform, precision="bfloat16")
    batches = [_batch(config, rows, length, seed) for seed in range(SEED, SEED + 4)]
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
