"""What a training step takes on every device of a mesh, found out before anything runs.

The step is compiled for CPUs that play the devices, from shapes alone: neither the devices nor the
memory need be there. Left out is what compares the gradients of replicas, some bytes a step.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from castor.core.batch import Batch, Slots
from castor.models import decoder
from castor.models.cache import empty_cache
from castor.models.image_codec import init_codec
from castor.models.layout import AXES, COLUMNS, ROWS, in_use, lengths, settled, shardings, told
from castor.models.modality import cut_picture, cut_sound
from castor.models.sizes import ModelConfig
from castor.train.collectives import HASTY, Collective, Program, collectives_in, partitioned
from castor.train.objectives import Pictures, next_token, reconstruction
from castor.train.optim import Optimizer
from castor.train.recipe import CodecRecipe, Recipe, variants
from castor.train.step import Objective, cast

MOST = 2048  # CPUs that JAX numbers within a process
SIDE, SAMPLES = 32, 16_000  # of a picture and a sound, to see what their windows are like
_array: Callable[..., Any] = jax.ShapeDtypeStruct


class Work(NamedTuple):
    """What a step computes, in shapes."""

    objective: Objective
    weights: Any
    batch: Any
    precision: str
    accumulate: int = 1
    optimizer: Optimizer | None = None  # None: the forward and backward pass alone


class Plan(NamedTuple):
    """What a step takes; bytes are those of the fullest device."""

    activation_bytes: int  # kept by the forward pass for the backward one, weights not among them
    temporary_bytes: int  # at most at once, beside the state, in the order of a CPU's program
    collectives: tuple[Collective, ...]


def work_of(recipe: Recipe | CodecRecipe) -> Work:
    """A step of a recipe's run; every slot for media that its rows have is in use."""
    run = recipe.precision, recipe.accumulate, recipe.optimizer
    if isinstance(recipe, CodecRecipe):
        objective = partial(reconstruction, config=recipe.model, absolute=recipe.absolute)
        pixels = _array((recipe.rows, *(recipe.model.side,) * 2, 3), jnp.uint8)
        pictures = Pictures(pixels, _array((recipe.rows,), jnp.int32))
        return Work(objective, _shapes(init_codec, recipe.model), pictures, *run)
    config, rows = recipe.model, (recipe.rows, recipe.length)
    objective = partial(next_token, config=config, **variants(recipe))
    media = {
        kind: _slots(config, kind, rows=recipe.rows, slots=slots)
        for kind, slots in recipe.capacity.items()
        if getattr(config, kind) is not None
    }
    batch = _text(*rows)._replace(media=media)
    return Work(objective, _shapes(decoder.init, config), batch, *run)


def passes_of(config: ModelConfig, *, rows: int, length: int) -> Work:
    """The forward and backward pass of a model over rows of text, in bfloat16."""
    objective = partial(next_token, config=config)
    return Work(objective, _shapes(decoder.init, config), _text(rows, length), "bfloat16")


def cache_bytes(config: ModelConfig, *, context: int, precision: str = "bfloat16") -> int:
    """Memory of the keys and values of one row of so many positions."""
    make = partial(empty_cache, config, rows=1, room=context, dtype=jnp.dtype(precision))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(jax.eval_shape(make).layers))


def stand_ins(sizes: dict[str, int]) -> Mesh:
    """A mesh of CPUs that play the devices of another.

    Raises:
        ValueError: this process has fewer CPUs, or no process can have as many.
    """
    wanted, cpus = prod(lengths(sizes)), jax.devices("cpu")
    if wanted > MOST:
        raise ValueError(
            f"a mesh of {told(sizes)} has {wanted:,} devices, and a step is planned for {MOST:,} "
            "at most; name fewer along replica or fsdp"
        )
    if wanted > len(cpus):
        raise ValueError(
            f"a mesh of {told(sizes)} needs {wanted} CPUs that play its devices, and there are "
            f"{len(cpus)}; set jax_num_cpu_devices before JAX begins"
        )
    return Mesh(np.array(cpus[:wanted]).reshape(lengths(sizes)), AXES)


def planned(work: Work, mesh: Mesh) -> Plan:
    """What a step takes on a mesh of `stand_ins`; two programs are compiled."""
    program = program_of(work, mesh)
    return Plan(
        kept_bytes(work, mesh),
        program.memory.temp_size_in_bytes,
        collectives_in(program.text, dict(mesh.shape)),
    )


def program_of(work: Work, mesh: Mesh) -> Program:
    """What every device of a mesh of `stand_ins` would run in a step."""
    with in_use(mesh):
        model = _placed(work.weights, shardings(work.weights, mesh))
        moments: Any = ()
        if work.optimizer is not None:
            moments = jax.eval_shape(work.optimizer.transform(1).init, work.weights)
            moments = _placed(moments, shardings(moments, mesh))
        batch = _placed(work.batch, _row_places(work.batch, mesh))
        return partitioned(_step(work), model, moments, batch)


def kept_bytes(work: Work, mesh: Mesh) -> int:
    """Memory of what the forward pass of one part of a batch keeps for the backward pass."""
    kept: list[Any] = []

    def passes(model: Any, batch: Any) -> Any:
        narrow = cast(model, work.precision)
        _, back = jax.vjp(lambda model: work.objective(model, batch).nats, narrow)
        given = {id(x) for x in jax.tree.leaves((narrow, model, batch))}
        found = [x for x in jax.tree.leaves(back) if id(x) not in given]
        kept[:] = [(x.shape, x.dtype.itemsize) for x in found]
        return settled(cast(back(jnp.float32(1))[0], "float32")), found

    with in_use(mesh):
        part = jax.tree.map(partial(_part, work.accumulate), work.batch)
        model = _placed(work.weights, shardings(work.weights, mesh))
        lowered = jax.jit(passes).lower(model, _placed(part, _row_places(part, mesh)))
        places = lowered.compile(HASTY).output_shardings[1]
    return sum(
        prod(place.shard_shape(shape)) * size
        for place, (shape, size) in zip(places, kept, strict=True)
    )


def _step(work: Work) -> Callable[..., Any]:
    """As `castor.train.step`, in what takes memory and moves data."""

    def slope(model: Any, batch: Any) -> Any:
        return jax.grad(lambda m: work.objective(cast(m, work.precision), batch).nats)(model)

    def summed(model: Any, batch: Any) -> Any:
        parts = jax.tree.map(lambda x: x.reshape(work.accumulate, -1, *x.shape[1:]), batch)
        zeros = jax.tree.map(jnp.zeros_like, model)
        add = jax.tree_util.Partial(jax.tree.map, jnp.add)
        return jax.lax.scan(lambda sum, part: (add(sum, slope(model, part)), None), zeros, parts)[0]

    def step(model: Any, moments: Any, batch: Any) -> Any:
        found = (slope if work.accumulate == 1 else summed)(model, batch)
        if work.optimizer is None:
            return settled(found)
        with jax.numpy_dtype_promotion("standard"):
            change, moments = work.optimizer.transform(1).update(found, moments, model)
        return settled((optax.apply_updates(model, change), moments))

    return step


def _shapes(make: Callable[..., Any], config: Any) -> Any:
    return jax.eval_shape(partial(make, config), jax.random.key(0))


def _placed(tree: Any, places: Any) -> Any:
    def placed(x: Any, place: NamedSharding) -> Any:
        return _array(x.shape, x.dtype, sharding=place)

    return jax.tree.map(placed, tree, places)


def _part(parts: int, x: Any) -> Any:
    return _array((x.shape[0] // parts, *x.shape[1:]), x.dtype)


def _row_places(batch: Any, mesh: Mesh) -> Any:
    """As `shard_rows` puts a batch."""
    ids = getattr(batch, "tokens", None)

    def place(x: Any) -> NamedSharding:
        by_token = ids is not None and x.shape == ids.shape
        return NamedSharding(
            mesh, PartitionSpec(ROWS, COLUMNS) if by_token else PartitionSpec(ROWS)
        )

    return jax.tree.map(place, batch)


def _text(rows: int, length: int) -> Any:
    """The shapes of a batch without media."""
    ids = _array((rows, length), jnp.int32)
    weights = _array((rows, length), jnp.float32)
    return Batch(*(ids, ids, weights, *(ids,) * 4), media={})


def _slots(config: ModelConfig, kind: str, *, rows: int, slots: int) -> Any:
    """The shapes of so many slots of one kind in every row."""
    if kind == "image":
        assert config.image is not None
        signal = cut_picture(np.zeros((SIDE, SIDE, 3), np.uint8), config=config.image)
    else:
        assert config.audio is not None
        signal = cut_sound(np.zeros(SAMPLES, np.float32), config=config.audio)
    columns = _array((rows, slots), jnp.int32)
    window = (rows, slots, *signal.values.shape[1:])
    return Slots(
        _array(window, signal.values.dtype),
        _array((rows, slots, 2), jnp.int32),
        columns,
        columns,
    )
