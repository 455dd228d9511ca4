"""A prompt read and ids decoded on a GPU with Gemma 3 4B's shape, beside Hugging Face transformers.

    python benchmarks/open_weights.py [--peer python3] [--compiled] [--formats bfloat16 int8 int4]
        [--prompt 4096] [--said 64] [--rounds 5] [--size 4b | tiny] [--json]

Weights are random. Ours decodes by `castor.sample.decode.run`, as `Engine` does: grammar and
log-probabilities included, from a cache that holds PAST ids of 1,024. The peer decodes greedily by
`generate` after a prompt as long (the time for one id is taken off), in bfloat16, with --compiled
also with a static cache, which transformers compiles. All take turns; figures are medians.

    decoding: bytes of the weights / (seconds for an id * bytes a second that a sum reads)
    reading:  2 * weights of the layers * ids / (seconds * operations a second of a square product)

so that attention, and the cache, count as no work done. Both peaks are measured just before.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from beside import Peer, conditions, spread
from device import LOCAL
from train_step import commit

from castor.cli.screen import in_bytes, in_words, table
from castor.models.cache import fitted
from castor.models.decoder import Model, init
from castor.models.quant import ROWS, QTensor, chosen
from castor.models.sizes import ModelConfig, Stage
from castor.sample.choose import Sampling, dials
from castor.sample.decode import How, Running, Seats, at_hand, read, run
from castor.sample.grammar import ENDS, Rules, for_rows
from castor.train.flops import peak_flops

WINDOW = replace(LOCAL, window=1024)
GEMMA_3_4B = ModelConfig(
    layers=34,
    width=2560,
    hidden=10_240,
    heads=8,
    head_width=256,
    kv_heads=4,
    vocab=262_144,
    context=131_072,
    pattern=(*(WINDOW,) * 5, replace(WINDOW, rope_base=1e6, rope_factor=8.0, window=None)),
    further=(Stage((WINDOW,) * 4),),
    qk_norm=True,
    post_norms=True,
)
TINY = replace(
    GEMMA_3_4B, layers=10, width=512, hidden=1024, heads=4, head_width=64, kv_heads=2, vocab=4096
)
SHAPES = {"4b": GEMMA_3_4B, "tiny": TINY}
PAST, ROOM = 512, 1024
SEED = 0
Side = Callable[[], dict[str, float]]  # seconds of an id, and of a prompt


class Peaks(NamedTuple):
    """What this device can do at most."""

    bytes_per_second: float
    flops: float


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = flags.add_argument
    add("--peer", metavar="PYTHON", help="of an environment that holds transformers")
    add("--compiled", action="store_true", help="the peer compiled too")
    add("--formats", nargs="+", default=["bfloat16", "int8"], choices=("bfloat16", "int8", "int4"))
    add("--prompt", type=int, default=4096)
    add("--said", type=int, default=64)
    add("--rounds", type=int, default=5)
    add("--size", choices=SHAPES, default="4b")
    add("--json", action="store_true")
    given = flags.parse_args()
    config = SHAPES[given.size]
    peaks = Peaks(_read_per_second(), peak_flops("bfloat16"))
    told(f"{peaks.bytes_per_second / 1e12:.2f} TB/s, {peaks.flops / 1e12:.0f} TFLOP/s")
    sides: dict[str, Side] = {}
    sizes: dict[str, int] = {}
    for form in given.formats:
        sides[form], sizes[form] = ours(form, config, given)
        told(f"{form}: {in_bytes(sizes[form])}")
    versions: dict[str, str] = {}
    if given.peer:
        more, versions = peers(config, given)
        sides |= more
        sizes |= dict.fromkeys(more, 2 * _weights(config))
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(given.rounds):
        for name, side in sides.items():
            taken[name].append(side())
            told(f"{name}: {taken[name][-1]}")
    record = {
        "what": "reading and decoding",
        "size": given.size,
        **{key: getattr(given, key) for key in ("prompt", "said", "rounds")},
        "peaks": peaks._asdict(),
        "sides": {name: _figures(taken[name], sizes[name], peaks, config, given) for name in sides},
        "commit": commit(),
        **conditions("jaxlib", seed=SEED, peer=versions),
    }
    print(json.dumps(record, indent=1)) if given.json else show(record)


def told(line: str) -> None:
    """Progress, beside what is printed in the end."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def ours(form: str, config: ModelConfig, given: argparse.Namespace) -> tuple[Side, int]:
    """Our side with weights of one kind, and their bytes."""
    model = _model(form, config)
    leaves = jax.tree.leaves(model)
    size = sum(x.size // 2 if x.dtype == jnp.int4 else x.nbytes for x in leaves)
    model, config = at_hand(model, config)
    began = [_begun(model, config)]
    random = np.random.default_rng(SEED).integers(300, config.vocab, (1, given.prompt), np.int32)
    dial, law = dials([Sampling(temperature=0.0)]), for_rows([_law(config)])
    how = How(greedy=True, penalties=False, guided=False)
    alone = np.zeros(1, np.int32)

    def decoded() -> float:
        if int(began[0].cache.lengths[0]) + given.said > ROOM:
            began[0] = _begun(model, config)
        seats, steps = Seats(alone + 10**6, alone, alone), jnp.int32(given.said)
        jax.block_until_ready(began[0])
        start = time.perf_counter()
        more = run(model, began[0], dial, law, seats, steps, config=config, how=how)
        began[0], drawn = more
        assert int(drawn.steps) == given.said
        return (time.perf_counter() - start) / given.said

    def prompt() -> float:
        start = time.perf_counter()
        jax.block_until_ready(_read(model, random, config))
        return time.perf_counter() - start

    def side() -> dict[str, float]:
        return {"id": decoded(), "prompt": prompt()}

    side()
    return side, size


def _begun(model: Model, config: ModelConfig) -> Running:
    """A row of PAST ids in a cache of ROOM."""
    ids = np.random.default_rng(SEED).integers(300, config.vocab, (1, PAST), np.int32)
    running = _read(model, ids, config)
    return running._replace(cache=fitted(running.cache, room=ROOM))


def _read(model: Model, ids: np.ndarray, config: ModelConfig) -> Running:
    blocks, valid = np.zeros_like(ids), np.ones(ids.shape, bool)
    keys = jax.random.split(jax.random.key(SEED), 1)
    return read(model, ids, valid, blocks, {}, keys, config=config, penalties=False)


def _law(config: ModelConfig) -> Rules:
    """Text alone; an end that is never drawn, since greedy choices of random weights repeat."""
    numbers = (300, config.vocab, [1] * ENDS, 200, 0, 0, 0, 0)
    return Rules(*(np.asarray(number, np.int32) for number in numbers))


def _model(form: str, config: ModelConfig) -> Model:
    """Random weights, made in the form that they are kept in."""
    shapes, tree = jax.tree_util.tree_flatten_with_path(
        jax.eval_shape(partial(init, config), jax.random.key(SEED))
    )
    keys = jax.random.split(jax.random.key(SEED, impl="unsafe_rbg"), len(shapes))
    leaves = [_leaf(form, path, s, key) for (path, s), key in zip(shapes, keys, strict=True)]
    return jax.tree.unflatten(tree, leaves)


def _leaf(form: str, path: tuple[Any, ...], s: jax.ShapeDtypeStruct, key: jax.Array) -> Any:
    kind = chosen(path, s)
    if kind is None:
        return jnp.zeros(s.shape, jnp.bfloat16)
    axis = -1 if kind == ROWS else -2
    spread_of = s.shape[axis] ** -0.5
    if form == "bfloat16":
        return jax.jit(lambda k: jax.random.normal(k, s.shape, jnp.bfloat16) * spread_of)(key)
    codes = jax.jit(lambda k: jax.random.randint(k, s.shape, -8, 8, jnp.int8))(key)
    groups = [*s.shape]
    groups[axis] //= 32
    scales = jnp.full(groups, 0.2 * spread_of, jnp.bfloat16)
    return QTensor(codes.astype(jnp.int4) if form == "int4" else codes, scales)


def peers(config: ModelConfig, given: argparse.Namespace) -> tuple[dict[str, Side], dict[str, str]]:
    """The sides of transformers."""
    names = ("layers", "width", "hidden", "heads", "kv_heads", "head_width", "vocab", "context")
    shape = {name: getattr(config, name) for name in names}
    shape |= {"window": WINDOW.window, "past": PAST, "prompt": given.prompt, "said": given.said}
    peer = Peer(given.peer, "hf_gpu.py", shape)
    sides: dict[str, Side] = {}
    for name, static in (("transformers", False), ("transformers, compiled", True)):
        if static <= given.compiled:
            side = partial(peer.ask, static=static)
            told(f"{name}: {side()}")
            sides[name] = side
    return sides, peer.hello["versions"]


def _figures(
    taken: list[dict[str, float]],
    size: int,
    peaks: Peaks,
    config: ModelConfig,
    given: argparse.Namespace,
) -> dict[str, Any]:
    decoding = spread([1 / one["id"] for one in taken], digits=1)
    reading = spread([given.prompt / one["prompt"] for one in taken], digits=0)
    layers = _weights(config) - config.vocab * config.width
    return {
        "weight_bytes": size,
        "decoded_per_second": decoding,
        "of_bandwidth": round(size * decoding["median"] / peaks.bytes_per_second, 3),
        "read_per_second": reading,
        "of_flops": round(2 * layers * reading["median"] / peaks.flops, 3),
    }


def _weights(config: ModelConfig) -> int:
    shapes = jax.eval_shape(partial(init, config), jax.random.key(SEED))
    return sum(x.size for x in jax.tree.leaves(shapes))


def _read_per_second() -> float:
    """Bytes that a sum over 2 GB reads in a second; on a CPU over less."""
    bytes_ = 2**31 if jax.default_backend() != "cpu" else 2**26
    array = jnp.ones((bytes_ // 4096, 4096), jnp.int8)
    total = jax.jit(lambda x: x.astype(jnp.int32).sum())
    times = []
    for _ in range(8):
        start = time.perf_counter()
        total(array).block_until_ready()
        times.append(time.perf_counter() - start)
    return bytes_ / min(times)


def show(record: dict[str, Any]) -> None:
    """The record as a table."""
    peaks, machine = record["peaks"], record["machine"]
    print(
        f"{machine['devices']}: {peaks['bytes_per_second'] / 1e12:.2f} TB/s, "
        f"{in_words(peaks['flops'])} operations a second; commit {record['commit']}\n"
    )
    heads = ("side", "weights", "ids/s", "lowest", "highest", "of bandwidth", "read/s", "of peak")
    lines = []
    for name, side in record["sides"].items():
        rates = [f"{x:,.0f}" for x in side["decoded_per_second"].values()]
        read_rate = f"{side['read_per_second']['median']:,.0f}"
        shares = f"{side['of_bandwidth']:.1%}", f"{side['of_flops']:.1%}"
        size = in_bytes(side["weight_bytes"])
        lines.append((name, size, *rates, shares[0], read_rate, shares[1]))
    table(heads, lines)


if __name__ == "__main__":
    main()
