"""Training steps on this machine: tokens a second, and the share of its arithmetic that they use.

    python benchmarks/train_step.py [--size small | 1b | DEMO | ...] [--rows N] [--length T]
        [--precision bfloat16] [--remat none | dots | full] [--mesh fsdp=4] [--chunk N]
        [--peer .venv-peers/bin/python] [--rounds 5] [--steps 1] [--json]

Rows of random ids, every position learned, AdamW, float32 weights. Without --size a GPU takes the
shape of a billion weights (4 rows of 4,096 positions), a CPU that of ten million (8 rows of 512).
With --peer the same step in PyTorch (`torch.compile`, `scaled_dot_product_attention`, fused AdamW;
with --remat full its blocks are checkpointed too) runs in a process of its own. Both take turns:
--steps steps each in every round. Figures are medians over rounds.

    utilisation = 3 F r / P

F is the number of floating-point operations of a forward pass for each token, counted in the trace
(matrix products alone, attention over all pairs of positions, logits included), 3 stands for the
forward pass and the two of the backward one (what --remat computes again is no work done), r is
tokens a second, and P operations a second of the fastest square matrix product of that precision,
measured just before, times the devices of a mesh (not where one CPU plays them). For the peer too.
Paper: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
"""

import argparse
import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # a peer needs memory too

import jax
import numpy as np
from beside import Peer, conditions, spread
from jax.sharding import Mesh

from castor.cli.flags import count_from_one, mesh_sizes
from castor.cli.recipes import sizes
from castor.cli.screen import in_bytes, in_words, table
from castor.cli.weights import flops_per_token
from castor.core.batch import Batch
from castor.models.decoder import init
from castor.models.layout import in_use, made, mesh_of, refuse, shard_rows, told
from castor.models.remat import Remat
from castor.models.sizes import ModelConfig
from castor.train import objectives
from castor.train.flops import peak_flops
from castor.train.optim import AdamW
from castor.train.step import make_step, start

SHAPES = {
    "small": ModelConfig(
        layers=8, width=256, hidden=1024, heads=4, head_width=64, vocab=8192, context=512
    ),
    "1b": ModelConfig(
        layers=16, width=2048, hidden=8192, heads=16, head_width=128, vocab=32_000, context=4096
    ),
}
SEED = 0
IN_ORDER = "--xla_cpu_enable_concurrency_optimized_scheduler=false"  # of a CPU's devices
Turn = Callable[[], dict[str, float]]  # some steps: seconds of each, and the peak of memory


def main() -> None:
    given = _flags().parse_args()
    if given.mesh:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {IN_ORDER}"
        jax.config.update("jax_num_cpu_devices", prod(given.mesh.values()))
    on_gpu = jax.default_backend() != "cpu"
    name = given.size or ("1b" if on_gpu else "small")
    config = replace({**sizes(), **SHAPES}[name], image=None, audio=None)
    rows, length = given.rows or (4 if on_gpu else 8), given.length or min(config.context, 4096)
    config = replace(config, context=max(config.context, length))
    if given.chunk:
        objectives.CHUNK, objectives.LOGITS = given.chunk, given.chunk * config.vocab
    mesh = mesh_of(given.mesh) if given.mesh else None
    if mesh is not None:
        refuse(given.mesh, rows=rows, length=length, heads=config.heads)
    record = {
        "what": "training step",
        "size": name,
        "parameters": _parameters(config),
        "rows": rows,
        "length": length,
        **{key: getattr(given, key) for key in ("precision", "remat", "chunk", "rounds", "steps")},
        "mesh": told(given.mesh) if given.mesh else None,
        "xla_flags": os.environ.get("XLA_FLAGS", "").strip(),
        "commit": commit(),
        **measured(given, config, mesh, rows=rows, length=length),
    }
    print(json.dumps(record, indent=1)) if given.json else show(record)


def _flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = flags.add_argument
    add("--size", choices=[*SHAPES, *sizes()])
    add("--rows", type=count_from_one)
    add("--length", type=count_from_one)
    add("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    add("--remat", choices=get_args(Remat), default="none")
    add("--mesh", type=mesh_sizes, metavar="AXIS=N,...")
    add("--chunk", type=count_from_one, help="positions whose logits exist at once")
    add("--peer", metavar="PYTHON", help="of an environment that holds PyTorch (make peers)")
    add("--rounds", type=count_from_one, default=5)
    add("--steps", type=count_from_one, default=1, help="of a round")
    add("--json", action="store_true")
    return flags


def measured(
    given: argparse.Namespace, config: ModelConfig, mesh: Mesh | None, *, rows: int, length: int
) -> dict[str, Any]:
    """Speeds of all sides, the peak that they are held against, and the machine."""
    ours = castor(given, config, mesh, rows=rows, length=length)
    turns: dict[str, Turn] = {"castor": lambda: next(ours)}
    versions: dict[str, str] = {}
    if given.peer:
        turns["torch"], versions = torch(given, config, rows=rows, length=length)
    first = {name: turn()["seconds"] for name, turn in turns.items()}
    devices = 1 if mesh is None or jax.default_backend() == "cpu" else mesh.size
    peak = peak_flops(given.precision) * devices
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
    for _ in range(given.rounds):
        for name, turn in turns.items():
            taken[name].append(turn())
    work = 3 * flops_per_token(config, length=length)
    speeds = {
        name: spread([rows * length / turn["seconds"] for turn in each], digits=0)
        for name, each in taken.items()
    }
    sides = {
        name: {
            "tokens_per_second": speed,
            "utilisation": round(work * speed["median"] / peak, 4),
            "castor_times_this": round(speeds["castor"]["median"] / speed["median"], 3),
            "peak_memory_bytes": round(taken[name][-1]["peak_memory_bytes"]),
            "first_step_s": round(first[name], 1),
        }
        for name, speed in speeds.items()
    }
    return {
        "flops_per_token": round(work),
        "peak_flops": round(peak),
        "sides": sides,
        **conditions("jaxlib", "optax", seed=SEED, peer=versions),
    }


def castor(
    given: argparse.Namespace, config: ModelConfig, mesh: Mesh | None, *, rows: int, length: int
) -> Iterator[dict[str, float]]:
    """Our steps, so many at a time."""
    transform = AdamW().transform(1000)
    objective = partial(objectives.next_token, config=config, remat=given.remat)
    batches = [_batch(config, rows, length, SEED + i) for i in range(4)]
    key = jax.random.key(SEED)
    with in_use(mesh):
        state = made(lambda key: start(init(config, key), transform, key=key, ema=0.0), key)
        step = make_step(objective, transform, precision=given.precision)
        for turn in range(1_000_000):
            placed = [shard_rows(batches[(turn + i) % 4]) for i in range(given.steps)]
            began = time.perf_counter()
            for batch in placed:
                state, _ = step(state, batch)
            jax.block_until_ready(state)
            seconds = (time.perf_counter() - began) / given.steps
            yield {"seconds": seconds, "peak_memory_bytes": _peak_memory()}


def torch(
    given: argparse.Namespace, config: ModelConfig, *, rows: int, length: int
) -> tuple[Turn, dict[str, str]]:
    """PyTorch's steps of the same model."""
    names = ("layers", "width", "hidden", "heads", "head_width", "vocab")
    shape = {name: getattr(config, name) for name in names}
    shape |= {"rows": rows, "length": length, "compile": True, "steps": given.steps}
    shape |= {"precision": given.precision, "checkpoint": given.remat == "full"}
    peer = Peer(given.peer, "torch_step.py", shape)
    if peer.hello["parameters"] != _parameters(config):
        raise SystemExit(f"the peer has {peer.hello['parameters']:,} parameters: another model")

    def turn() -> dict[str, float]:
        told = peer.ask()
        return {
            "seconds": told["seconds"],
            "peak_memory_bytes": told["peak_memory_mb"] * 2**20,
        }

    return turn, {"torch": peer.hello["version"]}


def _peak_memory() -> float:
    stats = jax.local_devices()[0].memory_stats() or {}
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return stats.get("peak_bytes_in_use", used)


def _parameters(config: ModelConfig) -> int:
    shapes = jax.eval_shape(partial(init, config), jax.random.key(0))
    return sum(x.size for x in jax.tree.leaves(shapes))


def _batch(config: ModelConfig, rows: int, length: int, seed: int) -> Batch:
    ids = np.random.default_rng(seed).integers(0, config.vocab, (rows, length + 1), np.int32)
    zeros = np.zeros((rows, length), np.int32)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length))
    ones = np.ones((rows, length), np.float32)
    return Batch(ids[:, :-1], ids[:, 1:], ones, zeros + 1, positions, zeros, zeros, {})


def commit() -> str:
    """The commit that is measured, with a + if files differ from it."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        try:
            ran = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        except FileNotFoundError:
            return ""
        return ran.stdout.strip()

    changed = "+" if git("status", "--porcelain", "--", "../castor") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def show(record: dict[str, Any]) -> None:
    """The record as a table."""
    machine = record["machine"]
    print(
        f"{in_words(record['parameters'])} weights, {record['rows']} rows of {record['length']:,} "
        f"positions, {record['precision']}, remat {record['remat']}, mesh {record['mesh']}, "
        f"commit {record['commit']}\n{machine['processor']}, {machine['devices']}: "
        f"{in_words(record['peak_flops'])} operations a second at most; "
        f"{in_words(record['flops_per_token'])} to learn from a token; load "
        f"{record['load_average']}\n"
    )
    heads = ("side", "tokens/s", "lowest", "highest", "utilisation", "memory", "castor is")
    lines = []
    for name, side in record["sides"].items():
        speed = [f"{number:,.0f}" for number in side["tokens_per_second"].values()]
        share, memory = f"{side['utilisation']:.1%}", in_bytes(side["peak_memory_bytes"])
        lines.append((name, *speed, share, memory, f"{side['castor_times_this']:.2f} times this"))
    table(heads, lines)


if __name__ == "__main__":
    main()
