"""Attention alone on a GPU: ours beside cuDNN's, forward, and forward and backward.

    python benchmarks/attention.py [--rows 4] [--length 4096] [--heads 16] [--kv-heads 1]
        [--head-width 128] [--rounds 9] [--json]

Whole documents of text (causal) in bfloat16, as a layer of `train_step.py --size 1b` has them. Ours
is `castor.models.attention.attend` as training compiles it, its mask an array; cuDNN's is called
through JAX without one, once told to add in the same order each time, as ours is, and once free.
The sides take turns; milliseconds, medians over rounds.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from beside import conditions, spread
from train_step import commit

from castor.cli.screen import table
from castor.models.attention import attend, causal
from castor.train.programs import steady

CALLS = 10  # of a round
SEED = 0


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, usual in (("rows", 4), ("length", 4096), ("heads", 16), ("kv-heads", 1)):
        flags.add_argument(f"--{name}", type=int, default=usual)
    flags.add_argument("--head-width", type=int, default=128)
    flags.add_argument("--rounds", type=int, default=9)
    flags.add_argument("--json", action="store_true")
    given = flags.parse_args()
    taken = measured(given)
    record = {
        "what": "attention",
        **{key: value for key, value in vars(given).items() if key != "json"},
        "milliseconds": {name: spread(times, digits=3) for name, times in taken.items()},
        "commit": commit(),
        **conditions("jaxlib", seed=SEED),
    }
    for way in ("forward", "both"):
        ours, best = (np.median(taken[f"{side}, {way}"]) for side in ("ours", "cuDNN, steady"))
        record[f"ours_over_cudnn_{way}"] = round(float(ours / best), 3)
    if given.json:
        print(json.dumps(record, indent=1))
        return
    rows = [(name, *times.values()) for name, times in record["milliseconds"].items()]
    table(("side", "ms", "lowest", "highest"), [tuple(map(str, row)) for row in rows])


def measured(given: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of a call, for each side and way."""
    B, T, N, K, H = given.rows, given.length, given.heads, given.kv_heads, given.head_width
    keys = jax.random.split(jax.random.key(SEED), 4)
    q, grad = (jax.random.normal(key, (B, T, N, H), jnp.bfloat16) for key in keys[:2])
    k, v = (jax.random.normal(key, (B, T, K, H), jnp.bfloat16) for key in keys[2:])
    mask = jax.jit(causal)(np.ones((B, T), np.int32), np.zeros((B, T), np.int32))
    shipped = partial(jax.nn.dot_product_attention, is_causal=True, implementation="cudnn")
    sides: dict[str, tuple[Callable[..., jax.Array], Any]] = {
        "ours": (lambda q, k, v, mask: attend(q, k, v, mask=mask), steady()),
        "cuDNN, steady": (lambda q, k, v, _: shipped(q, k, v), steady()),
        "cuDNN, free": (lambda q, k, v, _: shipped(q, k, v), None),
    }
    calls: dict[str, Callable[[], Any]] = {}
    for name, (side, options) in sides.items():
        made = partial(jax.jit, compiler_options=options)
        calls[f"{name}, forward"] = partial(made(side), q, k, v, mask)
        calls[f"{name}, both"] = partial(made(partial(_both, side)), q, k, v, mask, grad)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(given.rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(CALLS):
                made = call()
            jax.block_until_ready(made)
            taken[name].append(1000 * (time.perf_counter() - began) / CALLS)
    return taken


def _both(
    side: Callable[..., jax.Array], q: Any, k: Any, v: Any, mask: Any, grad: Any
) -> tuple[Any, ...]:
    made, back = jax.vjp(lambda q, k, v: side(q, k, v, mask), q, k, v)
    return made, *back(grad)


if __name__ == "__main__":
    main()
