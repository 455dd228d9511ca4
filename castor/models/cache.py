"""Keys and values of what has been read, so that each further token costs one column.

Every row has its own length; what lies beyond it is never looked at.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, DTypeLike, Float, Int

from castor.models.sizes import ModelConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LayerCache:
    """Keys and values of one layer or, stacked in front, of the groups that repeat it.

    Rows and heads share a dimension: with one of length 1 between others, XLA may choose orders
    in memory for it that differ from place to place, and copy the cache back and forth.
    """

    k: Array  # [B*K, S, H] or [groups, B*K, S, H]
    v: Array  # of the same shape

    def by_row(self, heads: int) -> tuple[Float[Array, "B S K H"], Float[Array, "B S K H"]]:
        """One layer's keys and values, with rows and heads apart."""
        k, v = (x.reshape(-1, heads, *x.shape[1:]).swapaxes(1, 2) for x in (self.k, self.v))
        return k, v


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """All layers' keys and values, and the length of each row.

    Entries of the pattern are arrays of their own, so that a group of all layers changes in place.
    """

    layers: tuple[LayerCache, ...]  # one per entry of the pattern, as a Decoder's blocks
    lengths: Array  # [B]

    @property
    def room(self) -> int:
        """Positions that a row can hold."""
        return self.layers[0].k.shape[2]


def empty_cache(config: ModelConfig, *, rows: int, room: int, dtype: DTypeLike) -> Cache:
    """A cache of `room` positions for each of `rows` rows, holding nothing."""
    pattern = len(config.pattern)
    shape = (config.layers // pattern, rows * config.kv_heads, room, config.head_width)
    layers = (LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(pattern))
    return Cache(tuple(layers), jnp.zeros(rows, jnp.int32))


def append(
    layer: LayerCache,
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    *,
    at: Int[Array, " B"],
) -> LayerCache:
    """The layer with T further keys and values in each row from column `at` on."""

    B, T, K, H = k.shape
    new = [x.swapaxes(1, 2).reshape(B * K, T, H).astype(layer.k.dtype) for x in (k, v)]

    def put(row: Array, held: LayerCache) -> LayerCache:
        first, zero = row * K, jnp.int32(0)
        mine = [jax.lax.dynamic_slice(x, (first, zero, zero), (K, T, H)) for x in new]
        there = (first, at[row], zero)
        return LayerCache(
            jax.lax.dynamic_update_slice(held.k, mine[0], there),
            jax.lax.dynamic_update_slice(held.v, mine[1], there),
        )

    longer = jax.lax.fori_loop(jnp.int32(0), jnp.int32(B), put, layer)
    return jax.lax.optimization_barrier(longer)  # else XLA writes once more for whoever reads it


def written(
    cache: Cache, valid: Bool[Array, "B T"], blocks: Int[Array, "B T"]
) -> Bool[Array, "B T S"]:
    """Which columns of the cache each new token may see, the new ones already in place.

    All that was there, what came before it in this call, and the slots of its own medium.
    """
    T, S = valid.shape[1], cache.room
    columns = jnp.arange(S, dtype=jnp.int32)[None, None, :]
    starts = cache.lengths[:, None, None]
    offsets = columns - starts  # [B, 1, S]: the column's number among the new tokens
    causal = offsets <= jnp.arange(T, dtype=jnp.int32)[None, :, None]
    if T == 1:
        return causal & valid[:, :, None]
    new = (offsets >= 0) & (offsets < T)
    column_blocks = jnp.take_along_axis(blocks, jnp.clip(offsets[:, 0], 0, T - 1), axis=1)
    together = new & (column_blocks[:, None, :] == blocks[:, :, None]) & (blocks[:, :, None] > 0)
    return (causal | together) & valid[:, :, None]


def fitted(cache: Cache, *, room: int) -> Cache:
    """The same cache with space for more positions, or without those behind `room`."""
    extra = room - cache.room
    if not extra:
        return cache
    pad = [(0, 0)] * 2 + [(0, max(extra, 0)), (0, 0)]
    layers = jax.tree.map(lambda x: jnp.pad(x[:, :, :room], pad), cache.layers)
    return Cache(layers, cache.lengths)


def rows_taken(cache: Cache, rows: Int[Array, " R"], *, heads: int) -> Cache:
    """A cache of these rows of another, in this order; `heads` are those of keys and values."""
    inner = (rows[:, None] * heads + jnp.arange(heads, dtype=rows.dtype)[None]).reshape(-1)
    layers = jax.tree.map(lambda x: x[:, inner], cache.layers)
    return Cache(layers, cache.lengths[rows])


def row_put(cache: Cache, row: Cache, *, at: Int[Array, ""], heads: int) -> Cache:
    """The cache with the one row of another in the place of row `at`."""
    zero = jnp.int32(0)

    def put(all: Array, one: Array) -> Array:
        return jax.lax.dynamic_update_slice(all, one, (zero, at * heads, zero, zero))

    layers = jax.tree.map(put, cache.layers, row.layers)
    return Cache(layers, cache.lengths.at[at].set(row.lengths[0]))
