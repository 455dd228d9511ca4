"""What a run goes on from beside its weights: trees of arrays, each process writing what it holds.

Invariant: nothing here goes through devices but the arrays themselves, so that a training step may
be under way while one is written.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import jax

from castor.models.stored import named


def ready() -> None:
    """Import what states are written with. It brings options of JAX that what is compiled depends
    on, so a training step that is compiled before would be compiled again after the first save."""
    import_module("orbax.checkpoint")


def write_state(path: Path, state: Any, *, processes: int = 1) -> None:
    """Write a tree of arrays; where several processes hold it, all of them at the same time.

    Raises:
        OSError: it cannot be written.
    """
    import orbax.checkpoint as ocp

    together = ocp.options.MultiprocessingOptions(
        active_processes=set(range(processes)) if processes > 1 else None
    )
    with ocp.StandardCheckpointer(multiprocessing_options=together) as writer:
        # orbax stores no empty arrays
        writer.save(path.absolute(), {name: x for name, x in named(state).items() if x.size})


def read_state[T](path: Path, *, fresh: T) -> T:
    """The tree that was written, its arrays where those of `fresh` are, which it is like."""
    import orbax.checkpoint as ocp

    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for name, leaf in named(fresh).items()
        if leaf.size
    }
    with ocp.StandardCheckpointer() as reader:
        stored = named(fresh) | reader.restore(path.absolute(), wanted)
    return jax.tree.unflatten(jax.tree.structure(fresh), list(stored.values()))
