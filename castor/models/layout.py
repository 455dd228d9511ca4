"""Where arrays live: an ordered table from the path of a weight to the axes of a device mesh.

The model does not know of it: the compiler moves data so that every result is the one that a
single device gives. What it would move badly (attention, the loss, the gradient of a table) asks
`by_device` to run it on each device's own part; without a mesh in use that changes nothing.
"""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.sharding import (
    AbstractMesh,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

# Rows of a batch go along the first three, each matrix is cut along "fsdp"; "expert" holds experts,
# "tensor" heads, hidden units and vocabulary, "sequence" the columns of a row.
AXES = ("replica", "fsdp", "expert", "tensor", "sequence")
ROWS = ("replica", "fsdp", "expert")
COLUMNS = "sequence"
SHORT = 16  # turns of a loop; the program of a longer one takes too long to compile written out

# The first pattern found in a path decides. A spec speaks of the last dimensions of an array; what
# is stacked in front (layers) is never cut. Keys and values of one shared head are on every device.
TABLE: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"embedding", ("tensor", "fsdp")),
    (r"experts\.gate_up$", ("expert", "fsdp", "tensor")),
    (r"experts\.down$", ("expert", "tensor", "fsdp")),
    (r"\.(wq|wqkv|gate|up|gate_up|projection|first_up|last_up|mix_in)$", ("fsdp", "tensor")),
    (r"\.(wo|down|first_down|last_down|mix_out)$", ("tensor", "fsdp")),
    (r"\.(wk|wv|stem|out|first|second|mix)$", ("fsdp", None)),
)


def mesh_of(sizes: Mapping[str, int]) -> Mesh:
    """A mesh of the first devices, e.g. of {"fsdp": 4, "tensor": 2}; other axes are 1 long.

    Where a CPU plays several devices, XLA_FLAGS must turn its scheduler for concurrency off before
    JAX begins (`castor train --mesh` does): each device begins its exchanges in an order of its own
    with it, and they may wait for each other for ever.

    Raises:
        ValueError: there are fewer devices, or no such axis.
    """
    shape, devices = lengths(sizes), jax.devices()
    if math.prod(shape) > len(devices):
        raise ValueError(
            f"a mesh of {told(sizes)} needs {math.prod(shape)} devices, and there are "
            f"{len(devices)}"
        )
    return Mesh(np.array(devices[: math.prod(shape)]).reshape(shape), AXES)


def lengths(sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The length of every axis.

    Raises:
        ValueError: there is no such axis.
    """
    if unknown := sorted(set(sizes) - set(AXES)):
        raise ValueError(f"a mesh has no axis {unknown[0]!r}; it has {', '.join(AXES)}")
    return tuple(sizes.get(axis, 1) for axis in AXES)


def told(sizes: Mapping[str, int]) -> str:
    """As the command line takes it: "fsdp=4,tensor=2"."""
    return ",".join(f"{axis}={sizes[axis]}" for axis in AXES if sizes.get(axis, 1) > 1) or "fsdp=1"


def in_use(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """A block in which functions are compiled for that mesh; None = for one device."""
    return nullcontext() if mesh is None else jax.set_mesh(mesh)


def placement(path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """The axes that cut each dimension of the array at a path such as ".decoder.embedding"."""
    path = re.sub(r"\.(codes|scales|zeros)$", "", path)  # of a QTensor: like the weight
    for pattern, axes in TABLE:
        if re.search(pattern, path) and len(shape) >= len(axes):
            return PartitionSpec(*[None] * (len(shape) - len(axes)), *axes)
    return PartitionSpec()


def shardings(tree: Any, mesh: Mesh | AbstractMesh) -> Any:
    """A sharding for every leaf (arrays or shapes) of weights, averages or moments.

    An axis whose size does not divide a dimension leaves that dimension whole. Said as compiled
    programs say it of what they make, so that what they make is taken for no other: without axes
    that are 1 long, nor dimensions at the end that are whole.
    """

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        spec = placement(jax.tree_util.keystr(path), leaf.shape)
        fitting = [
            axis if axis and mesh.shape[axis] > 1 and size % mesh.shape[axis] == 0 else None
            for axis, size in zip(spec, leaf.shape, strict=False)
        ]
        while fitting and fitting[-1] is None:
            fitting.pop()
        return NamedSharding(mesh, PartitionSpec(*fitting))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def made(function: Callable[..., Any], *given: Any, **options: Any) -> Any:
    """What a compiled function of arrays makes; every array is made where the table says, and
    never elsewhere first. `options` are the compiler's. Where it is traced, the function itself."""
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(given)):
        return function(*given)
    places: Any = None
    if mesh_in_use() is not None:
        places = shardings(jax.eval_shape(function, *given), jax.sharding.get_mesh())
    return jax.jit(function, out_shardings=places, compiler_options=options or None)(*given)


def placed(shapes: Any) -> Any:
    """Shapes with the places of their arrays on the mesh in use; the arrays of those that hold
    nothing."""
    places = jax.tree.map(lambda x: SingleDeviceSharding(jax.devices()[0]), shapes)
    if mesh_in_use() is not None:
        places = shardings(shapes, jax.sharding.get_mesh())

    def put(x: Any, place: Sharding) -> Any:
        if not x.size:
            return jax.device_put(np.zeros(x.shape, x.dtype), place)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

    return jax.tree.map(put, shapes, places)


def shard(tree: Any) -> Any:
    """Weights, averages or moments, put where the table says on the mesh in use."""
    if mesh_in_use() is None:
        return tree
    return jax.device_put(tree, shardings(tree, jax.sharding.get_mesh()))


def settled(tree: Any) -> Any:
    """Within a compiled function: the same, for what it gives back."""
    mesh = mesh_in_use()
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, shardings(tree, mesh))


def gathered(tree: Any) -> Any:
    """Within a compiled function: a layer's weights, whole along the axis that only stores them.

    Rows stay where they are then, and a gradient is added up before it is cut.
    """
    mesh = mesh_in_use()
    if mesh is None:
        return tree

    def whole(place: NamedSharding) -> NamedSharding:
        spec = PartitionSpec(*(None if axis == "fsdp" else axis for axis in place.spec))
        return NamedSharding(place.mesh, spec)

    return jax.lax.with_sharding_constraint(tree, jax.tree.map(whole, shardings(tree, mesh)))


def rows_here(rows: int) -> range:
    """Those of so many rows that the devices of this process hold on the mesh in use."""
    if mesh_in_use() is None:
        return range(rows)
    place = NamedSharding(jax.sharding.get_mesh(), PartitionSpec(ROWS))
    parts = place.addressable_devices_indices_map((rows,)).values()
    edges = [part[0].indices(rows)[:2] for part in parts if part is not None]
    return range(min(start for start, _ in edges), max(stop for _, stop in edges))


def shard_rows(batch: Any, *, rows: int | None = None) -> Any:
    """A batch with its rows shared out on the mesh in use, and the columns of what has one value a
    token. Where `rows` is its whole size, it is given with those that are `rows_here` alone."""
    if mesh_in_use() is None:
        return batch
    mesh = jax.sharding.get_mesh()
    ids = getattr(batch, "tokens", None)
    first = 0 if rows is None else rows_here(rows).start

    def put(x: Any) -> Array:
        by_token = ids is not None and x.shape == ids.shape
        spec = PartitionSpec(ROWS, COLUMNS) if by_token else PartitionSpec(ROWS)
        whole = x.shape if rows is None else (rows, *x.shape[1:])

        def part(index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(whole[0])
            return np.asarray(x[start - first : stop - first, *index[1:]])

        return jax.make_array_from_callback(whole, NamedSharding(mesh, spec), part)

    return jax.tree.map(put, batch)


def everywhere(tree: Any) -> Any:
    """Within a compiled function: what every device of the mesh in use has whole."""
    if mesh_in_use() is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec())


@jax.jit
def copied(tree: Any) -> Any:
    """The weights, averages or moments once more, where they are: whoever takes the memory of the
    first ones over leaves these."""
    return settled(jax.tree.map(jnp.copy, tree))


@jax.jit
def whole(tree: Any) -> Any:
    """The arrays once more, each of them whole on every device of the mesh in use."""
    return everywhere(jax.tree.map(jnp.copy, tree))


def refuse(
    mesh: Mapping[str, int], *, rows: int, length: int | None = None, heads: int | None = None
) -> None:
    """Say what a mesh of these axes does not divide.

    Raises:
        ValueError: rows, their length or heads cannot be shared out evenly; the nearest numbers
            that can are told.
    """
    for name, number, axes in (
        ("rows", rows, ROWS),
        ("length", length, (COLUMNS,)),
        ("model.heads", heads, ("tensor",)),
    ):
        here = {axis: mesh.get(axis, 1) for axis in axes}
        parts = math.prod(here.values())
        if number is not None and number % parts:
            below = number // parts * parts
            near = f"{below} or {below + parts}" if below else f"{parts}"
            raise ValueError(f"{name}={number} cannot be shared out over {told(here)}; {near} can")


def by_device(function: Callable[..., Any], *, takes: Any, gives: Any) -> Callable[..., Any]:
    """The function as it runs on every device of the mesh in use, on its own part of the arrays.

    `takes` and `gives` are PartitionSpecs; what the devices add up, the function says itself.
    """
    return jax.shard_map(function, in_specs=takes, out_specs=gives, check_vma=False)


def mesh_in_use() -> AbstractMesh | None:
    """The mesh of the block that `in_use` opened, but within `by_device` there is none."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or mesh.manual_axes else mesh


def scanned(layer: Callable[[Any, Any], tuple[Any, Any]], x: Any, stacked: Any) -> tuple[Any, Any]:
    """A scan over stacked layers. A short one is written out where devices are CPUs and JAX keeps
    no programs, so that we may (`castor.train.programs`): the layers may exchange something."""
    turns = jax.tree.leaves(stacked)[0].shape[0]
    return jax.lax.scan(layer, x, stacked, unroll=turns if written_out(turns) else 1)


def written_out(turns: int) -> bool:
    """Whether a loop of so many turns is none in the compiled program."""
    ours = mesh_in_use() is not None and not jax.config.jax_enable_compilation_cache
    return ours and turns <= SHORT and jax.default_backend() == "cpu"


def apart(function: Callable[[Array], Array], x: Array) -> Array:
    """A function of each part x[i] of an array, for which devices of the mesh in use take equal
    parts, filled up with zeros, and exchange nothing; replicas do the same."""
    mesh, axes = mesh_in_use(), AXES[1:]
    if mesh is None:
        return function(x)
    parts = math.prod(mesh.shape[axis] for axis in axes)
    filled = jnp.pad(x, [(0, -len(x) % parts), *[(0, 0)] * (x.ndim - 1)])
    place = PartitionSpec(axes)
    return by_device(function, takes=(place,), gives=place)(filled)[: len(x)]


def by_rows_and_columns(x: Array) -> Array:
    """The array [B, T, ...], held where its rows and columns belong on the mesh in use."""
    if mesh_in_use() is None:
        return x
    spec = PartitionSpec(dividing(x.shape[0], *ROWS), dividing(x.shape[1], COLUMNS))
    return jax.lax.with_sharding_constraint(x, spec)


def by_units(x: Array) -> Array:
    """The array [..., F], whose last dimension is held where the units of a layer belong on the
    mesh in use: else XLA would rather gather the weights that make them."""
    if dividing(x.shape[-1], "tensor") is None:
        return x
    free = (PartitionSpec.UNCONSTRAINED,) * (x.ndim - 1)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*free, "tensor"))


def dividing(size: int, *axes: str) -> tuple[str, ...] | None:
    """Those of the axes of the mesh in use, from the first on, that cut a dimension of that size
    evenly together; None if none do."""
    found: tuple[str, ...] = ()
    mesh, parts = mesh_in_use(), 1
    if mesh is None:
        return None
    for axis in axes:
        if size % (parts * mesh.shape[axis]) == 0:
            found, parts = (*found, axis), parts * mesh.shape[axis]
    return found or None


def added_up(x: Array, axes: tuple[str, ...], cut: tuple[str, ...] | None) -> Array:
    """Within `by_device`: the sum over the devices of some axes; of those in `cut`, each keeps its
    part of the first dimension."""
    if cut is not None:
        x = jax.lax.psum_scatter(x, cut, tiled=True)
    left = tuple(axis for axis in axes if axis not in (cut or ()))
    return jax.lax.psum(x, left) if left else x


def bytes_per_device(tree: Any, mesh: Mesh | AbstractMesh) -> int:
    """Memory that the leaves (arrays or shapes) take on the fullest device, real or not."""
    sizes = jax.tree.map(
        lambda leaf, place: math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize,
        tree,
        shardings(tree, mesh),
    )
    return sum(jax.tree.leaves(sizes))
