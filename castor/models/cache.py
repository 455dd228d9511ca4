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
    """Keys and values of one layer or, stacked in front, of many."""

    k: Array  # [..., B, S, K, H]
    v: Array  # [..., B, S, K, H]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cache:
    """All layers' keys and values, [groups, pattern, B, S, K, H], and the length of each row."""

    layers: LayerCache
    lengths: Array  # [B]

    @property
    def room(self) -> int:
        """Positions that a row can hold."""
        return self.layers.k.shape[3]


def empty_cache(config: ModelConfig, *, rows: int, room: int, dtype: DTypeLike) -> Cache:
    """A cache of `room` positions for each of `rows` rows, holding nothing."""
    pattern = len(config.pattern)
    shape = (config.layers // pattern, pattern, rows, room, config.kv_heads, config.head_width)
    layers = LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
    return Cache(layers, jnp.zeros(rows, jnp.int32))


def append(
    layer: LayerCache,
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    *,
    at: Int[Array, " B"],
) -> LayerCache:
    """The layer with T further keys and values in each row from column `at` on."""

    def put(held: Array, new: Array, start: Array) -> Array:
        return jax.lax.dynamic_update_slice(held, new.astype(held.dtype), (start, 0, 0))

    return LayerCache(jax.vmap(put)(layer.k, k, at), jax.vmap(put)(layer.v, v, at))


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


def grown(cache: Cache, *, room: int) -> Cache:
    """The same cache with space for more positions."""
    extra = room - cache.room
    pad = [(0, 0)] * 3 + [(0, extra)] + [(0, 0)] * 2
    layers = jax.tree.map(lambda x: jnp.pad(x, pad), cache.layers)
    return Cache(layers, cache.lengths)
