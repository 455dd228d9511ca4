"""Greedy decoding on this machine, of a model as large as the one that ships: tokens a second,
beside a peer or alone.

    python benchmarks/decode.py [--peer .venv-peers/bin/python] [--runs 7] [--rows 1 8]
        [--size DEMO_LARGE]

Both sides decode NEW ids after PROMPT ids, reading the prompt included, and take turns within each
round. Weights are random; no reply ends early. Ours goes through `Engine.reply`: grammar,
log-probabilities and text included. Each side runs in float32 and bfloat16, the peer with one
thread and with one per core; of each side the fastest by the median over the rounds counts.
Prints one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import jax
import numpy as np
from beside import Peer, conditions, cores, spread

from castor.cli.recipes import sizes
from castor.core.content import Document
from castor.models.decoder import init
from castor.models.sizes import ModelConfig
from castor.sample.choose import Sampling
from castor.sample.engine import Engine
from castor.tokens.learn import learn
from castor.tokens.vocab import Control

CODES = 1000
PROMPT, NEW = 32, 128
SEED = 0
DTYPES = ("float32", "bfloat16")
Side = Callable[[int], float]  # rows to seconds


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    flags.add_argument("--peer", metavar="PYTHON", help="of an environment that holds the peer")
    flags.add_argument("--runs", type=int, default=7)
    flags.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    flags.add_argument("--size", choices=sizes(), default="DEMO_LARGE")
    given = flags.parse_args()
    size = sizes()[given.size]
    ours = _engines(size)
    sides: dict[str, Side] = {d: partial(_reply, ours[d]) for d in DTYPES}
    versions: dict[str, str] = {}
    if given.peer:
        names = ("layers", "width", "hidden", "heads", "kv_heads", "head_width", "vocab")
        shape = {name: getattr(size, name) for name in names} | {"prompt": PROMPT, "new": NEW}
        peer = Peer(given.peer, "hf_decode.py", shape)
        versions = peer.hello["versions"]
        for dtype, threads in product(DTYPES, sorted({1, cores()})):
            sides[f"peer {dtype} {threads}"] = partial(_ask, peer, dtype=dtype, threads=threads)
    record = {
        "what": "greedy decoding",
        "parameters": sum(x.size for x in jax.tree.leaves(ours["float32"].weights)),
        "prompt_tokens": PROMPT,
        "new_tokens": NEW,
        "runs": given.runs,
        "results": [_measure(sides, rows, given.runs) for rows in given.rows],
        **conditions("jaxlib", seed=SEED, peer=versions),
    }
    print(json.dumps(record, indent=1))


class _Raw(argparse.RawDescriptionHelpFormatter):
    pass


def _measure(sides: dict[str, Side], rows: int, runs: int) -> dict[str, object]:
    """Tokens a second of each side, all taking turns, and how many times the peer's best ours is,
    by the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(rows)  # compiles, or warms up
    for _ in range(runs):
        for name, side in sides.items():
            seconds[name].append(side(rows))
    speed = {
        name: spread([rows * NEW / each for each in taken], digits=0)
        for name, taken in seconds.items()
    }
    found: dict[str, object] = {"rows": rows, "tokens_per_second": speed}
    peers = [figures["median"] for name, figures in speed.items() if name not in DTYPES]
    if peers:
        found["ratio"] = round(max(speed[d]["median"] for d in DTYPES) / max(peers), 2)
    return found


def _engines(size: ModelConfig) -> dict[str, Engine]:
    """A decoder of that size with random weights, once in each type."""
    rng = np.random.default_rng(SEED)
    letters = np.array(list("etaoinshrdlu"))
    words = ("".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(40_000))
    vocab = learn([" ".join(words)], size=size.vocab - CODES, codes=CODES)
    config = replace(size, image=None, audio=None)
    model = jax.jit(partial(init, config))(jax.random.key(SEED))
    # An id whose logit is always 0 is never the largest of thousands: no reply ends early.
    quiet = model.decoder.embedding.at[Control.END].set(0.0)
    model = replace(model, decoder=replace(model.decoder, embedding=quiet))
    return {d: Engine(model, config=config, vocab=vocab, precision=d) for d in DTYPES}


def _reply(engine: Engine, rows: int) -> float:
    """Seconds for all rows; the prompt is single bytes and the control ids around them."""
    prompt = Document.of("~" * (PROMPT - 4))
    began = time.perf_counter()
    replies = engine.reply([prompt] * rows, Sampling(max_tokens=NEW))
    seconds = time.perf_counter() - began
    assert all(len(r.ids) == NEW and r.prompt_tokens == PROMPT for r in replies)
    return seconds


def _ask(peer: Peer, rows: int, *, dtype: str, threads: int) -> float:
    return peer.ask(rows=rows, dtype=dtype, threads=threads)["seconds"]


if __name__ == "__main__":
    main()
