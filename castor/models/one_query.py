"""Attention of one new position on an NVIDIA GPU: all between the matrices before and after it.

Norms of queries and keys, their turns, the cache's new column and attention are one kernel: by
themselves each would take longer to start than to run. Parts of the cache are attended to apart,
then put together.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.experimental.pallas as pl
import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas import triton
from jaxtyping import Bool, Float, Int

from castor.models.attention import NOTHING
from castor.models.block import Block
from castor.models.cache import LayerCache
from castor.models.layers import Turns
from castor.models.one_row import one_row, suits, whole
from castor.models.sizes import EPSILON, ModelConfig

WARPS = 4
SPLITS = 16  # most parts of a cache
KEYS = 32  # that a program looks at at once
HEADS = 8  # most queries that share keys: each is computed in turn
Arrays = tuple[Array, ...]


def steps_at_once(
    block: Block, x: Float[Array, "B T D"], held: LayerCache | None, *, config: ModelConfig
) -> bool:
    """Whether `step_at_once` is for this layer."""
    if x.shape[:2] != (1, 1) or held is None or block.wk is None or block.wv is None:
        return False
    if config.score_cap is not None or config.value_norm:
        return False
    if not suits(x[0], block.wq, block.wk, block.wv):
        return False
    K, S, H = held.k.shape
    return not (S % KEYS or H & (H - 1)) and block.wq.shape[-1] <= HEADS * K * H


def step_at_once(
    block: Block,
    x: Float[Array, "1 1 D"],
    turns: Turns,
    held: LayerCache,
    mask: Bool[Array, "1 1 S"],
    *,
    at: Int[Array, " 1"],
    config: ModelConfig,
) -> tuple[Float[Array, "1 1 N H"], LayerCache]:
    """Attention's result and the cache with one more column, as `project`, `append` and `attend`
    would give them."""
    weights = block.wq, block.wk, block.wv
    joined = one_row(x[0], *weights, norm=block.attention_norm, start=config.norm_start)[0]
    norms = [norm for norm in (block.query_norm, block.key_norm) if norm is not None]
    H = held.k.shape[2]
    scale = H**-0.5 if config.score_scale is None else config.score_scale
    mixed, k, v = attend_new(
        joined,
        held.k,
        held.v,
        jnp.where(mask[0, 0], 0.0, NOTHING).astype(jnp.float32),
        turns.cos.reshape(-1),
        turns.sin.reshape(-1),
        at,
        norms=tuple(norms),
        start=config.norm_start,
        scale=scale,
    )
    return mixed.reshape(1, 1, -1, H), LayerCache(k, v)


def attend_new(
    joined: Float[Array, " M"],
    k: Float[Array, "K S H"],
    v: Float[Array, "K S H"],
    bias: Float[Array, " S"],
    cos: Float[Array, " half"],
    sin: Float[Array, " half"],
    at: Int[Array, " 1"],
    *,
    norms: tuple[Array, ...] = (),
    start: float = 1.0,
    scale: float = 1.0,
    interpret: bool = False,
) -> tuple[Float[Array, "K G H"], Float[Array, "K S H"], Float[Array, "K S H"]]:
    """Attention of new queries to what is held and the new key, and both caches with the new
    column `at` which they change in place.

    `joined` are K*G queries, K keys and K values as the matrices give them. `bias` is added to
    scores; it must let the new column be seen.

    Paper: Dao et al. 2023, "Flash-Decoding for long-context inference".
    """
    K, S, H = k.shape
    G = len(joined) // (K * H) - 2
    splits = next(n for n in range(min(SPLITS, S // KEYS), 0, -1) if S % (n * KEYS) == 0)
    arrays = joined, k, v, bias, cos, sin, at, *norms
    out = [
        jax.ShapeDtypeStruct((splits, K, G, H), jnp.float32),
        *[jax.ShapeDtypeStruct((splits, K, G), jnp.float32)] * 2,
        *[jax.ShapeDtypeStruct(k.shape, k.dtype)] * 2,
    ]
    mixed, peaks, totals, k, v = pl.pallas_call(
        partial(_kernel, turns=S // splits // KEYS, heads=G, start=start, scale=scale),
        grid=(K, splits),
        in_specs=[whole(a.shape) for a in arrays],
        out_specs=[whole(a.shape) for a in out],
        out_shape=out,
        input_output_aliases={1: 3, 2: 4},
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=2),
        interpret=interpret,
        name="attend_new",
    )(*arrays)
    return _put_together(mixed, peaks, totals).astype(joined.dtype), k, v


def _put_together(mixed: Array, peaks: Array, totals: Array) -> Float[Array, "K G H"]:
    """Parts, each weighed by its power; written out, so that XLA makes one kernel of it."""
    peak = peaks[0]
    for other in peaks[1:]:
        peak = jnp.maximum(peak, other)
    powers = [jnp.exp(one - peak) for one in peaks]
    total, added = jnp.zeros_like(peak), jnp.zeros_like(mixed[0])
    for power, one, part in zip(powers, totals, mixed, strict=True):
        total, added = total + power * one, added + power[..., None] * part
    return added / total[..., None]


class Halves(NamedTuple):
    """The left and right half of a head, which turn against each other."""

    left: Any
    right: Any


def _kernel(
    joined_ref: Any,
    k_ref: Any,
    v_ref: Any,
    bias_ref: Any,
    cos_ref: Any,
    sin_ref: Any,
    at_ref: Any,
    *refs: Any,
    turns: int,
    heads: int,
    start: float,
    scale: float,
) -> None:
    *norms, out_ref, peak_ref, total_ref, k_out, v_out = refs
    (K, _, H), head, split = k_ref.shape, pl.program_id(0), pl.program_id(1)
    sides = Halves(pl.ds(0, H // 2), pl.ds(H // 2, H // 2))
    turn_by = cos_ref[...], sin_ref[...]
    query_norm, key_norm = norms or (None, None)

    def made(number: Any, norm_ref: Any) -> Halves:
        pair = Halves(*(joined_ref[pl.ds(number * H + at, H // 2)] for at in (0, H // 2)))
        return _turned(pair, norm_ref, sides, *turn_by, start=start)

    queries = [made(head * heads + g, query_norm) for g in range(heads)]
    new_k = Halves(*(y.astype(k_ref.dtype) for y in made(K * heads + head, key_norm)))
    new_v = joined_ref[pl.ds((K * heads + K + head) * H, H)].astype(v_ref.dtype)
    at, first = at_ref[0], split * turns * KEYS

    @pl.when((at >= first) & (at < first + turns * KEYS))
    def _() -> None:
        k_out[head, at, sides.left], k_out[head, at, sides.right] = new_k
        v_out[head, at, :] = new_v

    def turn(t: Array, before: tuple[Arrays, ...]) -> tuple[Arrays, ...]:
        here = pl.ds(first + t * KEYS, KEYS)
        is_new = (first + t * KEYS + jnp.arange(KEYS, dtype=jnp.int32) == at)[:, None]
        keys = Halves(
            *(
                jnp.where(is_new, new[None], k_ref[head, here, side]).astype(jnp.float32)
                for new, side in zip(new_k, sides, strict=True)
            )
        )
        values = jnp.where(is_new, new_v[None], v_ref[head, here, :]).astype(jnp.float32)
        look = partial(_look, keys, values, bias_ref[here], scale=scale)
        return tuple(map(look, queries, before))

    empty = jnp.zeros(H, jnp.float32), jnp.float32(NOTHING), jnp.float32(0)
    for g, found in enumerate(jax.lax.fori_loop(0, turns, turn, (empty,) * heads)):
        out_ref[split, head, g, :], peak_ref[split, head, g], total_ref[split, head, g] = found


def _turned(
    pair: Halves, norm_ref: Any, sides: Halves, cos: Array, sin: Array, *, start: float
) -> Halves:
    """A query or key under its norm, at its position."""
    left, right = (y.astype(jnp.float32) for y in pair)
    if norm_ref is not None:
        mean = (jnp.sum(left * left) + jnp.sum(right * right)) / (2 * len(left))
        root = jax.lax.rsqrt(mean + EPSILON)
        by = Halves(*(norm_ref[at].astype(jnp.float32) + start for at in sides))
        left, right = left * root * by.left, right * root * by.right
    return Halves(left * cos - right * sin, right * cos + left * sin)


def _look(
    keys: Halves, values: Array, bias: Array, query: Halves, before: Arrays, *, scale: float
) -> Arrays:
    """What a query has seen once it saw these keys too: a mix, the highest score, total power."""
    mixed, peak, total = before
    scores = jnp.sum(keys.left * query.left[None] + keys.right * query.right[None], axis=1)
    scores = scores * scale + bias
    higher = jnp.maximum(peak, jnp.max(scores))
    fade, powers = jnp.exp(peak - higher), jnp.exp(scores - higher)
    mixed = mixed * fade + jnp.sum(powers[:, None] * values, axis=0)
    return mixed, higher, total * fade + jnp.sum(powers)
