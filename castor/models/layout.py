"""Where arrays live: an ordered table from the path of a weight to the axes of a device mesh.

Nothing in the model knows of it: the compiler moves data so that every result is the one that a
single device gives. Axis "data" holds rows of the batch and a slice of each matrix; axis "model"
holds heads, hidden units and vocabulary.
"""

import math
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "model")

# The first pattern found in a path decides. A spec speaks of the last dimensions of an array; what
# is stacked in front (layers) is never cut. Keys and values of one shared head are on every device.
TABLE: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"embedding", ("model", "data")),
    (r"\.(wq|wqkv|gate|up|gate_up|projection|first_up|last_up|mix_in)$", ("data", "model")),
    (r"\.(wo|down|first_down|last_down|mix_out)$", ("model", "data")),
    (r"\.(wk|wv|stem|out|first|second|mix)$", ("data", None)),
)


def mesh_of(*, data: int, model: int = 1) -> Mesh:
    """A mesh of the first data * model devices.

    Raises:
        ValueError: there are fewer devices.
    """
    devices = jax.devices()
    if data * model > len(devices):
        raise ValueError(f"a mesh of {data} x {model} needs more than the {len(devices)} devices")
    return Mesh(np.array(devices[: data * model]).reshape(data, model), AXES)


def placement(path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """The axes that cut each dimension of the array at a path such as ".decoder.embedding"."""
    path = re.sub(r"\.(codes|scales|zeros)$", "", path)  # of a QTensor: like the weight
    for pattern, axes in TABLE:
        if re.search(pattern, path) and len(shape) >= len(axes):
            return PartitionSpec(*[None] * (len(shape) - len(axes)), *axes)
    return PartitionSpec()


def shardings(tree: Any, mesh: Mesh | AbstractMesh) -> Any:
    """A sharding for every leaf (arrays or shapes) of weights, averages or moments.

    An axis whose size does not divide a dimension leaves that dimension whole.
    """

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        spec = placement(jax.tree_util.keystr(path), leaf.shape)
        fitting = [
            axis if axis and leaf.shape[i] % mesh.shape[axis] == 0 else None
            for i, axis in enumerate(spec)
        ]
        return NamedSharding(mesh, PartitionSpec(*fitting))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def shard(tree: Any, mesh: Mesh) -> Any:
    """Weights, averages or moments, put where the table says."""
    return jax.device_put(tree, shardings(tree, mesh))


def shard_rows(batch: Any, mesh: Mesh) -> Any:
    """A batch whose rows are shared out along the axis "data"."""
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def bytes_per_device(tree: Any, mesh: Mesh | AbstractMesh) -> int:
    """Memory that the leaves (arrays or shapes) take on the fullest device, real or not."""
    sizes = jax.tree.map(
        lambda leaf, place: math.prod(place.shard_shape(leaf.shape)) * leaf.dtype.itemsize,
        tree,
        shardings(tree, mesh),
    )
    return sum(jax.tree.leaves(sizes))
