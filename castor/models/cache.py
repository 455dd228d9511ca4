"""Keys and values of what has been read, so that each further token costs one column.

Every row has its own length; what lies beyond it is never looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, DTypeLike, Float, Int

from castor.models.attention import FREE
from castor.models.sizes import Layer, ModelConfig, Sight


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

    Entries of the patterns are arrays of their own, so that a group of all layers changes in place.
    """

    layers: tuple[LayerCache | None, ...]  # as a Decoder's blocks; None reads another's
    lengths: Array  # [B]

    @property
    def room(self) -> int:
        """Positions that a row can hold."""
        return jax.tree.leaves(self.layers)[0].shape[2]


def empty_cache(config: ModelConfig, *, rows: int, room: int, dtype: DTypeLike) -> Cache:
    """A cache of `room` positions for each of `rows` rows, holding nothing."""

    def layer_cache(layer: Layer, groups: int) -> LayerCache | None:
        if layer.keys_of is not None:
            return None
        shape = (groups, rows * config.kv_heads_of(layer), room, config.head_width_of(layer))
        return LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    layers = tuple(layer_cache(layer, groups) for layer, groups in config.entries)
    return Cache(layers, jnp.zeros(rows, jnp.int32))


def append(
    layer: LayerCache,
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    *,
    at: Int[Array, " B"],
) -> LayerCache:
    """The layer with T further keys and values in each row from column `at` on.

    Those that would lie past the last column are left out. There are at least T columns.
    """

    (B, T, K, H), S = k.shape, layer.k.shape[1]
    new = [x.swapaxes(1, 2).reshape(B * K, T, H).astype(layer.k.dtype) for x in (k, v)]

    def put(row: Array, held: LayerCache) -> LayerCache:
        first, zero = row * K, jnp.int32(0)
        start = jnp.minimum(at[row], S - T)  # where a slice may begin
        there = (first, start, zero)

        def one(old: Array, further: Array) -> Array:
            mine = jax.lax.dynamic_slice(further, (first, zero, zero), (K, T, H))
            if T > 1:
                kept = jax.lax.dynamic_slice(old, there, (K, T, H))
                moved = jnp.roll(mine, at[row] - start, axis=1)
                is_new = jnp.arange(T, dtype=jnp.int32) >= at[row] - start
                mine = jnp.where(is_new[None, :, None], moved, kept)
            return jax.lax.dynamic_update_slice(old, mine, there)

        return LayerCache(one(held.k, new[0]), one(held.v, new[1]))

    longer = jax.lax.fori_loop(jnp.int32(0), jnp.int32(B), put, layer)
    return jax.lax.optimization_barrier(longer)  # else XLA writes once more for whoever reads it


def written(
    cache: Cache, valid: Bool[Array, "B T"], blocks: Int[Array, "B T"], *, sight: Sight = FREE
) -> Bool[Array, "B T S"]:
    """Which columns of the cache each new token may see, the new ones already in place.

    All that was there, what came before it in this call, and the slots of its own medium, as far
    as `sight` goes; what is `ahead` must come in the same call.
    """
    T, S = valid.shape[1], cache.room
    columns = jnp.arange(S, dtype=jnp.int32)[None, None, :]
    starts = cache.lengths[:, None, None]
    offsets = columns - starts  # [B, 1, S]: the column's number among the new tokens
    mine = jnp.arange(T, dtype=jnp.int32)[None, :, None]
    last = valid.sum(1, dtype=jnp.int32)[:, None, None] - 1 if sight.ahead else mine
    seen = offsets <= last
    if sight.blocks and T > 1:
        seen = seen | _together(offsets[:, 0], blocks)
    if sight.window is not None:
        seen = seen & (offsets > mine - sight.window)
    if sight.window is not None and sight.ahead:
        seen = seen & (offsets < mine + sight.window)
    return seen & valid[:, :, None]


def _together(offsets: Int[Array, "B S"], blocks: Int[Array, "B T"]) -> Bool[Array, "B T S"]:
    """Columns that hold slots of each new token's own medium."""
    T = blocks.shape[1]
    new = (offsets >= 0) & (offsets < T)
    column_blocks = jnp.take_along_axis(blocks, jnp.clip(offsets, 0, T - 1), axis=1)
    same = column_blocks[:, None, :] == blocks[:, :, None]
    return new[:, None, :] & same & (blocks[:, :, None] > 0)


def fitted(cache: Cache, *, room: int) -> Cache:
    """The same cache with space for more positions, or without those behind `room`."""
    extra = room - cache.room
    if not extra:
        return cache
    pad = [(0, 0)] * 2 + [(0, max(extra, 0)), (0, 0)]
    layers = jax.tree.map(lambda x: jnp.pad(x[:, :, :room], pad), cache.layers)
    return Cache(layers, cache.lengths)


def rows_taken(cache: Cache, rows: Int[Array, " R"]) -> Cache:
    """A cache of these rows of another, in this order."""

    def taken(all: Array) -> Array:
        heads = all.shape[1] // len(cache.lengths)
        inner = rows[:, None] * heads + jnp.arange(heads, dtype=rows.dtype)[None]
        return all[:, inner.reshape(-1)]

    return Cache(jax.tree.map(taken, cache.layers), cache.lengths[rows])


def row_put(cache: Cache, row: Cache, *, at: Int[Array, ""]) -> Cache:
    """The cache with the one row of another in the place of row `at`."""
    zero = jnp.int32(0)

    def put(all: Array, one: Array) -> Array:
        return jax.lax.dynamic_update_slice(all, one, (zero, at * one.shape[1], zero, zero))

    layers = jax.tree.map(put, cache.layers, row.layers)
    return Cache(layers, cache.lengths.at[at].set(row.lengths[0]))


def rows_joined(rows: Sequence[Cache]) -> Cache:
    """One cache of the rows of several, in their order."""
    layers = jax.tree.map(lambda *xs: jnp.concatenate(xs, 1), *(row.layers for row in rows))
    return Cache(layers, jnp.concatenate([row.lengths for row in rows]))


def rows_apart(cache: Cache) -> list[Cache]:
    """A cache of its own for every row."""
    rows = cache.lengths.shape[0]

    def one(i: int) -> Cache:
        def mine(all: Array) -> Array:
            heads = all.shape[1] // rows
            return all[:, i * heads : (i + 1) * heads]

        return Cache(jax.tree.map(mine, cache.layers), cache.lengths[i, None])

    return [one(i) for i in range(rows)]
