"""What saving costs a training step: checkpoints in the background, and states kept in memory.

    python benchmarks/saving.py [--steps 250] [--every 120] [--seed 0]

The recipe `drill` on a mesh of eight virtual CPU devices in one process, three ways in turn: never
saved; a checkpoint every so many steps, which without gloo are ten seconds here; and besides, every
state kept in memory, as `castor launch` has it, with the keeper in a process of its own. Of each
way the median time of a step, and its stall: what its ledger says that training waited for
checkpoints, over the time of all steps. What writing takes from the cores beside the steps is in
the median. Prints one JSON object.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import jax
from beside import conditions

from castor.checkpoint import Keep
from castor.fleet.ledger import LEDGER, entries
from castor.models.layout import mesh_of
from castor.recipes.drill import DRILL
from castor.train.memory import Kept
from castor.train.run import train

MESH = {"replica": 2, "fsdp": 4}
AFTER = 10  # steps that do not count: programs are compiled, pages are touched


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--steps", type=int, default=250)
    flags.add_argument("--every", type=int, default=120, help="steps between two checkpoints")
    flags.add_argument("--seed", type=int, default=0)
    given = flags.parse_args()
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_cpu_enable_concurrency_optimized_scheduler=false"
    )
    jax.config.update("jax_num_cpu_devices", 8)
    ways: dict[str, tuple[int, Kept | None]] = {
        "never": (given.steps + 1, None),
        "saved": (given.every, None),
        "saved and kept": (given.every, Kept()),
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (every, kept) in ways.items():
            recipe = replace(
                DRILL, steps=given.steps, seed=given.seed, save_every=every, keep=Keep(1, 0)
            )
            found[name] = measured(recipe, Path(folder) / name.replace(" ", "_"), kept)
    step_s = found["never"]["step_ms"]
    for way in found.values():
        way["times"] = round(way["step_ms"] / step_s, 3)
    print(
        json.dumps(conditions("jax", seed=given.seed) | {"steps": given.steps, **found}, indent=1)
    )


def measured(recipe: Any, out: Path, kept: Kept | None) -> dict[str, float]:
    """The median milliseconds of a step, and the share of the time in which training waited."""
    train(recipe, data=Path("none"), out=out, mesh=mesh_of(MESH), kept=kept)
    intervals = entries((out / LEDGER).read_text().split("\n")).intervals
    steps = [i for i in intervals if i.cause == "step" and (i.step or 0) > AFTER]
    ends = steps[-1].ended  # the last checkpoint is waited for, as there is nothing left to do
    waited = sum(i.ended - i.begun for i in intervals if i.cause == "checkpoint" and i.ended < ends)
    return {
        "step_ms": round(1000 * median(i.ended - i.begun for i in steps), 2),
        "stall_percent": round(100 * waited / sum(i.ended - i.begun for i in steps), 3),
    }


if __name__ == "__main__":
    main()
