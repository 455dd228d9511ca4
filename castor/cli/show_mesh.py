"""What `castor show --mesh` tells: memory on each device of a mesh, and what they send each other.

The devices need not be there: a step is compiled for CPUs that play them.
"""

import argparse
import time
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from castor.cli.flags import count_from_one, mesh_sizes

if TYPE_CHECKING:
    from castor.models.image_codec import CodecConfig
    from castor.models.sizes import ModelConfig
    from castor.train.plan import Work
    from castor.train.recipe import AnyRecipe

LENGTH = 2048  # tokens of a row of a bare size, if its context is as long
STATE = ("weights", "gradients", "moments", "averages")


class Asked(NamedTuple):
    """The flags of this module."""

    mesh: dict[str, int]
    rows: int | None
    length: int | None
    context: int | None


def add_flags(verb: argparse.ArgumentParser) -> None:
    """A mesh, and what is computed on it."""
    verb.add_argument(
        "--mesh",
        metavar="AXIS=N,...",
        type=mesh_sizes,
        help="what each device of a mesh holds and sends in a training step, such as "
        "fsdp=64,tensor=8; they need not be there",
    )
    more = {"metavar": "N", "type": count_from_one}
    verb.add_argument("--rows", **more, help="of a step of a bare size (default: one a device)")
    verb.add_argument("--length", **more, help=f"tokens of each of them (default: {LENGTH:,})")
    verb.add_argument(
        "--context", **more, help="positions of the cache of a row (default: the model's)"
    )


def asked(arguments: argparse.Namespace, *, sized: bool) -> Asked | None:
    """The flags; None without a mesh. `sized`: a bare size is shown.

    From here on this process has a CPU for every device of the mesh, where JAX has not begun.

    Raises:
        ValueError: a flag is given that changes nothing.
    """
    given = {name: getattr(arguments, name) for name in ("rows", "length", "context")}
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if named and arguments.mesh is None:
        raise ValueError(f"{named[0]} is for --mesh; name one, such as --mesh fsdp=8")
    fixed = [name for name in named if name != "--context"]
    if fixed and not sized:
        raise ValueError(
            f"{fixed[0]} is for a bare size; change a recipe with --set {fixed[0][2:]}=N"
        )
    if arguments.mesh is None:
        return None
    _play(prod(arguments.mesh.values()))
    return Asked(arguments.mesh, **given)


def _play(devices: int) -> None:
    import jax

    from castor.train.plan import MOST

    with suppress(RuntimeError):  # JAX has begun
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", min(devices, MOST))


def of_mesh(
    config: "ModelConfig | CodecConfig", wish: Asked, *, run: "AnyRecipe | None"
) -> dict[str, Any]:
    """What devices hold and send, as --json prints it. It takes some seconds.

    Raises:
        ValueError: the mesh does not divide the rows, their length or the model's heads.
    """
    from castor.cli.weights import bytes_on_each
    from castor.models.layout import told
    from castor.models.sizes import ModelConfig
    from castor.train.plan import MOST, cache_bytes

    work, step = _work(config, wish, run)
    state = bytes_on_each(config, mesh=wish.mesh, optimizer=run and run.optimizer)
    if run is not None and run.ema:
        state["averages"] = state["weights"]
    found: dict[str, Any] = {
        "mesh": told(wish.mesh),
        "devices": prod(wish.mesh.values()),
        "state_bytes": state,
        "step": step,
    }
    if isinstance(config, ModelConfig):
        context = wish.context or config.context
        found["cache"] = {"context": context, "bytes": cache_bytes(config, context=context)}
    if work is None or found["devices"] > MOST:
        return found
    return found | _of_step(work, wish.mesh)


def _work(
    config: "ModelConfig | CodecConfig", wish: Asked, run: "AnyRecipe | None"
) -> "tuple[Work | None, dict[str, Any]]":
    """What is computed, in shapes and in words; None of a picture codec without a recipe."""
    from castor.models.layout import ROWS, refuse
    from castor.models.sizes import ModelConfig
    from castor.train.plan import passes_of, work_of
    from castor.train.recipe import CodecRecipe, Recipe
    from castor.train.run import fits

    if isinstance(run, Recipe | CodecRecipe):
        fits(run, wish.mesh)
        length = {"length": run.length, "remat": run.remat} if isinstance(run, Recipe) else {}
        return work_of(run), {"rows": run.rows, **length, "precision": run.precision}
    if not isinstance(config, ModelConfig):
        return None, {}
    rows = wish.rows or prod(wish.mesh.get(axis, 1) for axis in ROWS)
    length = wish.length or min(LENGTH, config.context)
    refuse(wish.mesh, rows=rows, length=length, heads=config.heads)
    step = {"rows": rows, "length": length, "remat": "none", "precision": "bfloat16"}
    return passes_of(config, rows=rows, length=length), step


def _of_step(work: "Work", sizes: dict[str, int]) -> dict[str, Any]:
    """What a step takes and sends, compiled for CPUs that play the devices."""
    from castor.train.plan import planned, stand_ins

    began = time.perf_counter()
    plan = planned(work, stand_ins(sizes))
    return {
        "activation_bytes": plan.activation_bytes,
        "temporary_bytes": plan.temporary_bytes,
        "collectives": [found._asdict() for found in plan.collectives],
        "whole_step": work.optimizer is not None,
        "planned_s": round(time.perf_counter() - began, 1),
    }


def show_mesh(found: dict[str, Any]) -> None:
    """The same as tables."""
    from castor.cli.screen import in_bytes, table

    state = found["state_bytes"]
    rows = [*state.items()] + [("in all", sum(state.values()))] * (len(state) > 1)
    print()
    table(
        (f"each of {found['devices']:,} devices", "float32"),
        [(name, in_bytes(size)) for name, size in rows],
    )
    if "cache" in found:
        cache = found["cache"]
        print(
            f"\nkeys and values of a row of {cache['context']:,} positions, to serve with: "
            f"{in_bytes(cache['bytes'])} in bfloat16"
        )
    if "collectives" in found:
        _show_step(found)
    elif found["step"]:
        print("\nwhat a step takes is found out for 2,048 devices at most")


def _show_step(found: dict[str, Any]) -> None:
    from castor.cli.screen import in_bytes, table

    step = found["step"]
    length = f" of {step['length']:,} tokens" if "length" in step else ""
    what = "one step" if found["whole_step"] else "one forward and backward pass"
    kept = f"kept for the backward pass ({step.get('remat', 'none')})"
    print()
    table(
        (f"{what}, {step['rows']:,} rows{length}, on each device", step["precision"]),
        [
            (kept, in_bytes(found["activation_bytes"])),
            (
                "at most at once, that included (as a CPU does it)",
                in_bytes(found["temporary_bytes"]),
            ),
        ],
    )
    print()
    if found["collectives"]:
        table(
            ("exchange", "along", "times", "sent by each device"),
            [
                (c["kind"], ", ".join(c["axes"]), f"{c['times']:,}", in_bytes(c["sent_bytes"]))
                for c in found["collectives"]
            ],
        )
    else:
        print("nothing is exchanged between devices")
    print(
        f"\nread in {found['planned_s']:.0f} s from the program that XLA makes for "
        f"{found['mesh']}, compiled here from shapes; a backend may merge exchanges"
    )
