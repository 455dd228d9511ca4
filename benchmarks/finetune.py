"""Fine-tuning with adapters on this machine: tokens a second and peak memory.

    python benchmarks/finetune.py [--peer .venv-peers/bin/python] [--steps 7] [--length 512]

The shape of Gemma 3 270M with random weights in bfloat16, adapters of rank 16 on attention and
feed-forward layers, AdamW; one row, of which the share --learned are targets. With --peer the same
step by peft in PyTorch runs beside ours, in bfloat16 and in float32 under bfloat16 autocast: each
in a process of its own, taking turns step by step. Prints one JSON object.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from beside import Peer, conditions, spread

from castor.core.batch import Batch
from castor.models.decoder import init
from castor.models.lora import Lora, init_adapters
from castor.models.sizes import Layer, ModelConfig
from castor.train.finetune import tuned_next_token
from castor.train.optim import AdamW
from castor.train.step import make_step, start

LOCAL, GLOBAL = Layer(window=512), Layer(rope_base=1e6)
GEMMA_3_270M = ModelConfig(
    layers=18,
    width=640,
    hidden=2048,
    heads=4,
    head_width=256,
    vocab=262_144,
    pattern=(*[LOCAL] * 5, GLOBAL),
    post_norms=True,
)
LORA = Lora()
WEIGHTS = 268_098_176
SEED = 0
PEERS = {"bfloat16": ("bfloat16", False), "autocast": ("float32", True)}
Turn = Callable[[], dict[str, float]]  # one step: its seconds and the process's peak memory


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    flags.add_argument("--peer", metavar="PYTHON", help="of an environment that holds peft")
    flags.add_argument("--steps", type=int, default=7)
    flags.add_argument("--length", type=int, default=512, help="tokens of a row")
    flags.add_argument("--learned", type=float, default=1.0, help="share of them that are targets")
    given = flags.parse_args()
    ours = _steps(given.length, given.learned)
    turns: dict[str, Turn] = {"castor": lambda: next(ours)}
    versions: dict[str, str] = {}
    if given.peer:
        for name in PEERS:
            turns[name], versions = _peer(given.peer, name, given.length, given.learned)
    record = {
        "what": "fine-tuning step with adapters",
        "weights": WEIGHTS,
        "rank": LORA.rank,
        "length": given.length,
        "learned": given.learned,
        "steps": given.steps,
        "results": _measure(turns, given.steps, given.length),
        **conditions("jaxlib", "optax", seed=SEED, peer=versions),
    }
    print(json.dumps(record, indent=1))


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


def _measure(turns: dict[str, Turn], steps: int, tokens: int) -> dict[str, dict[str, object]]:
    """Each one's figures, and the median over rounds of how many times as fast we are."""
    for turn in turns.values():
        turn()
        turn()
    rounds = [{name: turn() for name, turn in turns.items()} for _ in range(steps)]
    return {
        name: {
            "tokens_per_second": spread([tokens / r[name]["seconds"] for r in rounds], digits=0),
            "castor_times_this": spread(
                [r[name]["seconds"] / r["castor"]["seconds"] for r in rounds], digits=2
            ),
            "peak_memory_mb": round(rounds[-1][name]["peak_memory_mb"]),
        }
        for name in turns
    }


def _steps(length: int, learned: float) -> Iterator[dict[str, float]]:
    transform = AdamW(peak_lr=2e-4, decay=0.0).transform(1000)
    model = _random_weights()
    assert sum(x.size for x in jax.tree.leaves(model)) == WEIGHTS
    adapters = init_adapters(GEMMA_3_270M, LORA, jax.random.key(SEED))
    state = start(adapters, transform, key=jax.random.key(SEED + 1), ema=0.0)
    objective = partial(tuned_next_token, lora=LORA, config=GEMMA_3_270M)
    step = make_step(objective, transform, precision="bfloat16", frozen=(model,))
    batch = _batch(length, learned)
    while True:
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        yield {"seconds": seconds, "peak_memory_mb": peak}


def _random_weights() -> Any:
    rng = np.random.default_rng(SEED)

    def made(shape: jax.ShapeDtypeStruct) -> jax.Array:
        if len(shape.shape) < 3 and shape.shape[0] < GEMMA_3_270M.vocab:  # norms
            return jnp.zeros(shape.shape, jnp.bfloat16)
        values = rng.standard_normal(shape.shape[1:], np.float32) * np.float32(0.02)
        if len(shape.shape) == 3:
            return jnp.broadcast_to(jnp.asarray(values, jnp.bfloat16), shape.shape)
        rows = np.float32(0.02) * rng.standard_normal((1024, shape.shape[1]), np.float32)
        return jnp.tile(jnp.asarray(rows, jnp.bfloat16), (shape.shape[0] // 1024, 1))

    return jax.tree.map(made, jax.eval_shape(partial(init, GEMMA_3_270M), jax.random.key(SEED)))


def _batch(length: int, learned: float) -> Batch:
    rng = np.random.default_rng(SEED)
    ids = rng.integers(0, GEMMA_3_270M.vocab, (1, length + 1), np.int32)
    zeros, positions = np.zeros((1, length), np.int32), np.arange(length, dtype=np.int32)[None]
    weights = (positions >= length * (1 - learned)).astype(np.float32)
    return Batch(ids[:, :-1], ids[:, 1:], weights, zeros + 1, positions, zeros, zeros, {})


def _peer(python: str, name: str, length: int, learned: float) -> tuple[Turn, dict[str, str]]:
    names = ("layers", "width", "hidden", "heads", "kv_heads", "head_width", "vocab")
    dtype, autocast = PEERS[name]
    shape: dict[str, Any] = {n: getattr(GEMMA_3_270M, n) for n in names}
    shape |= {"window": LOCAL.window, "rows": 1, "length": length, "learned": learned}
    shape |= {"rank": LORA.rank, "alpha": LORA.alpha, "dtype": dtype, "autocast": autocast}
    peer = Peer(python, "peft_finetune.py", shape)
    assert peer.hello["parameters"] == WEIGHTS
    return peer.ask, peer.hello["versions"]


if __name__ == "__main__":
    main()
