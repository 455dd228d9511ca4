"""Grouped-query attention and the masks it is given."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool, Float, Int

from castor.models.kernels import Kernel, fused, kernel_for, machine_here, unfused
from castor.models.layers import turned
from castor.models.layout import COLUMNS, ROWS, by_device, dividing, mesh_in_use
from castor.models.ring import mixed_around, unmixed_around
from castor.models.sizes import Layer, Sight

FREE = Layer().sight  # of a layer without a window
FEW = 64  # queries a row
MANY = 2048  # queries whose scores are computed at once, in training
NOTHING = -1e30  # the score of a key that may not be seen
ATTENTION = "attention"  # the name of its results, for those who choose what is kept of a layer
Arrays = tuple[Array, ...]
_Head = Callable[[Arrays, Arrays, Array], Arrays]


def attend(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    *,
    mask: Bool[Array, "B T S"],
    scale: float | None = None,
    cap: float | None = None,
    ring: bool = False,
) -> Float[Array, "B T N H"]:
    """Grouped-query attention; one key/value head (K=1) is multi-query attention.

    `mask[b, t, s]` is true where query t may look at key s. A query that may look at nothing
    (padding) returns zeros. Scores and softmax are float32 whatever q is. A `scale` of None is
    H ** -0.5; a `cap` holds scores below it by tanh. The backward pass computes the scores again:
    no array of T times S is kept. On a GPU there may be another kernel (castor.models.kernels).
    Where devices share a row out, each gathers all keys, or with `ring` has a part of them at a
    time.

    Raises:
        ValueError: N is not a multiple of K.
    Paper: Shazeer 2019, arXiv:1911.02150; Ainslie et al. 2023, arXiv:2305.13245; for the cap,
        Bello et al. 2016, arXiv:1611.09940.
    """
    (B, T, N, H), K = q.shape, k.shape[2]
    heads = _by_group(q, K, scale)
    k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    if T == 1:
        return _one_query(heads[:, :, :, 0], k, v, mask[:, 0], cap).reshape(B, 1, N, H)
    mixed = _attend(heads, k, v, mask, cap, ring)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)


def attend_held(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    *,
    mask: Bool[Array, "B T S"],
    scale: float | None = None,
    cap: float | None = None,
) -> Float[Array, "B T N H"]:
    """The same for what is not learned from: of a few queries all scores are held at once.

    On a CPU that halves the time of attention for the chunks that prompts are read in.

    Raises:
        ValueError: as `attend`.
    """
    (B, T, N, H), K = q.shape, k.shape[2]
    if T == 1 or T > FEW:
        return attend(q, k, v, mask=mask, scale=scale, cap=cap)
    heads = _by_group(q, K, scale).reshape(B * K, -1, H)
    k, v = (x.swapaxes(1, 2).reshape(B * K, -1, H) for x in (k, v))
    dot = partial(jnp.einsum, preferred_element_type=jnp.float32)
    scores = _capped(dot("rth,rsh->rts", heads, k).reshape(B, K, N // K, T, -1), cap)
    powers, factor, _ = _softened(scores, mask[:, None, None])
    mixed = dot("rts,rsh->rth", powers.astype(v.dtype).reshape(B * K, -1, v.shape[1]), v)
    mixed = (mixed.reshape(B, K, N // K, T, H) * factor).astype(q.dtype)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)


def _by_group(q: Float[Array, "B T N H"], K: int, scale: float | None) -> Float[Array, "B K G T H"]:
    """Scaled queries, those that share a key/value head together."""
    B, T, N, H = q.shape
    if N % K:
        raise ValueError(f"{N} query heads cannot share {K} key/value heads")
    factor = H**-0.5 if scale is None else scale
    scaled = q if factor == 1 else (q.astype(jnp.float32) * factor).astype(q.dtype)
    return scaled.reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)


def causal(
    segments: Int[Array, "B T"], blocks: Int[Array, "B T"], *, sight: Sight = FREE
) -> Bool[Array, "B T T"]:
    """Which keys each query of a packed row may see: its own document's, up to itself.

    Slots of one medium (equal blocks above 0) see each other in both directions. Segment 0 is
    padding and sees nothing. `sight` leaves out what lies too far away or slots ahead, or adds all
    that lies ahead.
    """
    T = segments.shape[1]
    seen = jnp.tril(jnp.ones((T, T), bool), T if sight.ahead else 0)[None]
    if sight.blocks:
        together = (blocks[:, :, None] == blocks[:, None, :]) & (blocks[:, :, None] > 0)
        seen = seen | together
    same = (segments[:, :, None] == segments[:, None, :]) & (segments[:, :, None] > 0)
    if sight.window is not None:
        far = jnp.tril(jnp.ones((T, T), bool), -sight.window)
        far = far | far.T if sight.ahead else far
        seen = seen & ~far[None]
    return same & seen


def _one_query(
    q: Float[Array, "B K G H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    mask: Bool[Array, "B S"],
    cap: float | None,
) -> Float[Array, "B K G H"]:
    """The same for one query a row, in products that leave the cache as it lies in memory."""
    B, K, G, H = q.shape
    rows = [x.reshape(B * K, -1, H) for x in (q, k, v)]
    dot = partial(jnp.einsum, preferred_element_type=jnp.float32)
    scores = _capped(dot("rsh,rgh->rsg", rows[1], rows[0]).swapaxes(1, 2), cap)
    powers, factor, _ = _softened(scores, jnp.repeat(mask, K, axis=0)[:, None])
    mixed = dot("rgs,rsh->rgh", powers.astype(v.dtype), rows[2]) * factor
    return mixed.astype(q.dtype).reshape(B, K, G, H)


def _capped(scores: Float[Array, "... T S"], cap: float | None) -> Float[Array, "... T S"]:
    return scores if cap is None else jnp.tanh(scores / cap) * cap


def _softened(scores: Float[Array, "... T S"], mask: Bool[Array, "... _ S"]) -> Arrays:
    """Powers that need only be multiplied with a factor, 0 where nothing may be seen, to be
    softmax's shares; that factor; and the logarithm of the total power."""
    scores = jnp.where(mask, scores, NOTHING)
    peak = scores.max(-1, keepdims=True)
    powers = jnp.exp(scores - peak)
    total = powers.sum(-1, keepdims=True)
    return powers, jnp.where(peak > NOTHING, 1 / total, 0.0), peak + jnp.log(total)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _attend(
    q: Float[Array, "B K G T H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    mask: Bool[Array, "B T S"],
    cap: float | None,
    ring: bool,
) -> Float[Array, "B K G T H"]:
    return _mixed(_kernel(q, k, cap, learned=False), q, k, v, mask, cap, ring)


def _kernel(q: Array, k: Array, cap: float | None, *, learned: bool) -> Kernel:
    return kernel_for(
        machine_here(),
        q.dtype,
        queries=q.shape[3],
        keys=k.shape[2],
        heads=math.prod(q.shape[:3]),
        head_width=q.shape[4],
        cap=cap,
        meshed=mesh_in_use() is not None,
        learned=learned,
    )


def _mixed(
    kernel: Kernel, q: Array, k: Array, v: Array, mask: Array, cap: float | None, ring: bool
) -> Array:
    def exact(q: Array, k: Array, v: Array, mask: Array) -> Array:
        return _exact(q, k, v, mask, cap, ring)[0]

    if kernel == "exact":
        return exact(q, k, v, mask)
    return jax.lax.platform_dependent(q, k, v, mask, cuda=fused, default=exact)


def _forward(
    q: Array, k: Array, v: Array, mask: Array, cap: float | None, ring: bool
) -> tuple[Float[Array, "B K G T H"], Arrays]:
    kernel = _kernel(q, k, cap, learned=True)
    if kernel == "exact":
        return _exact(q, k, v, mask, cap, ring)
    mixed = _mixed(kernel, q, k, v, mask, cap, ring)
    return checkpoint_name(mixed, ATTENTION), (q, k, v, mask)


def _backward(
    cap: float | None, ring: bool, kept: Arrays, grad: Array
) -> tuple[Array, Array, Array, None]:
    q, k, v, mask, *made = kept
    if made:
        return *_exact_backward(cap, ring, kept, grad), None

    def exact(q: Array, k: Array, v: Array, mask: Array, grad: Array) -> Arrays:
        return _exact_backward(cap, ring, _exact(q, k, v, mask, cap, ring)[1], grad)

    dq, dk, dv = jax.lax.platform_dependent(q, k, v, mask, grad, cuda=unfused, default=exact)
    return dq, dk, dv, None


def _exact(
    q: Array, k: Array, v: Array, mask: Array, cap: float | None, ring: bool
) -> tuple[Float[Array, "B K G T H"], Arrays]:
    found = _each_head(partial(_mix, cap, ring), (q,), (k, v), mask, ring=ring)
    mixed, totals = (checkpoint_name(x, ATTENTION) for x in found)
    return mixed, (q, k, v, mask, mixed, totals)


def _exact_backward(
    cap: float | None, ring: bool, kept: Arrays, grad: Array
) -> tuple[Array, Array, Array]:
    q, k, v, mask, mixed, totals = kept
    pull = (grad.astype(jnp.float32) * mixed.astype(jnp.float32)).sum(-1)
    queries = q, totals, pull, grad
    head = partial(_unmix, cap, ring)
    dq, dk, dv = _each_head(head, queries, (k, v), mask, of_keys=2, ring=ring)
    return dq, dk.sum(2).astype(k.dtype), dv.sum(2).astype(v.dtype)


_attend.defvjp(_forward, _backward)


def _mix(
    cap: float | None, wide: bool, queries: Arrays, keys: Arrays, mask: Bool[Array, "T S"]
) -> Arrays:
    """One head forward: its output [T, H] and the logarithm of each query's total power [T].

    The output is float32 if it is `wide`, else of the type of q. Of a long row there are never the
    scores of more than `MANY` queries.
    """
    part = partial(_mix_part, cap, wide)
    if (parts := _parts(len(mask))) == 1:
        return part(queries, keys, mask)
    mixed = jax.lax.map(lambda given: part(given[0], keys, given[1]), _cut((queries, mask), parts))
    return tuple(x.reshape(-1, *x.shape[2:]) for x in mixed)


def _mix_part(cap: float | None, wide: bool, queries: Arrays, keys: Arrays, mask: Array) -> Arrays:
    (q,), (k, v) = queries, keys
    scores = jnp.dot(q, turned(k), preferred_element_type=jnp.float32)
    powers, factor, totals = _softened(_capped(scores, cap), mask)
    mixed = jnp.dot(powers.astype(v.dtype), v, preferred_element_type=jnp.float32) * factor
    return mixed if wide else mixed.astype(q.dtype), totals[:, 0]


def _unmix(
    cap: float | None, wide: bool, queries: Arrays, keys: Arrays, mask: Bool[Array, "T S"]
) -> Arrays:
    """One head backward: gradients of q, as `wide` as in `_mix`, k and v. `pull` is the output
    times its gradient."""
    part = partial(_unmix_part, cap, wide)
    if (parts := _parts(len(mask))) == 1:
        return part(queries, keys, mask)

    def add(sums: Arrays, given: Any) -> tuple[Arrays, Array]:
        dq, *more = part(given[0], keys, given[1])
        return tuple(map(jnp.add, sums, more)), dq

    zeros = tuple(jnp.zeros(x.shape, jnp.float32) for x in keys)
    (dk, dv), dq = jax.lax.scan(add, zeros, _cut((queries, mask), parts))
    return dq.reshape(-1, *dq.shape[2:]), dk, dv


def _unmix_part(
    cap: float | None, wide: bool, queries: Arrays, keys: Arrays, mask: Array
) -> Arrays:
    (q, totals, pull, grad), (k, v) = queries, keys
    dot = partial(jnp.dot, preferred_element_type=jnp.float32)
    scores = _capped(dot(q, turned(k)), cap)
    shares = jnp.where(mask, jnp.exp(scores - totals[:, None]), 0.0)
    steep = shares * (dot(grad, turned(v)) - pull[:, None])
    slopes = (steep if cap is None else steep * (1 - (scores / cap) ** 2)).astype(q.dtype)
    dk, dv = dot(turned(slopes), q), dot(turned(shares.astype(q.dtype)), grad)
    dq = dot(slopes, k)
    return dq if wide else dq.astype(q.dtype), dk, dv


def _parts(T: int) -> int:
    """Equal parts of so many queries that none has more than `MANY`, if that can be without parts
    of a few."""
    fitting = (n for n in range(-(-T // MANY), T // FEW + 1) if T % n == 0)
    return next(fitting, 1) if T > MANY else 1


def _cut(tree: Any, parts: int) -> Any:
    return jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), tree)


def _each_head(
    head: _Head, queries: Arrays, keys: Arrays, mask: Array, *, of_keys: int = 0, ring: bool = False
) -> Arrays:
    """`head` of every row and head: arrays [B, K, G, ...], arrays [B, K, ...] and a mask [B, T, S].

    The first result is of the type of the first queries. The last `of_keys` have a value for each
    key, the others for each query. On a mesh every device takes its rows, heads and queries, and
    all keys; in a `ring` a part of them at a time, for which the first result must be float32.
    """
    dtype = queries[0].dtype
    if mesh_in_use() is None:
        first, *more = _on_a_device(head, queries, keys, mask)
        return first.astype(dtype), *more
    B, K, G, T = queries[0].shape[:4]
    rows, heads, columns = dividing(B, *ROWS), dividing(K, "tensor"), dividing(T, COLUMNS)
    group = None if heads else dividing(G, "tensor")
    parts = columns if ring and columns and mask.shape[2] == T else None

    def part(queries: Arrays, keys: Arrays, mask: Array) -> Arrays:
        here = partial(_on_a_device, head, queries)
        if parts:
            around = unmixed_around if of_keys else mixed_around
            found = around(here, keys, mask, axis=COLUMNS)
        else:
            found = here(keys, mask)
            first = len(found) - of_keys
            summed = (jax.lax.psum(x, columns) if columns else x for x in found[first:])
            found = (*found[:first], *summed)
        return found[0].astype(dtype), *found[1:]

    by_query, by_key = P(rows, heads, group, columns), P(rows, heads, group, parts)
    results = len(jax.eval_shape(partial(_on_a_device, head), queries, keys, mask))
    return by_device(
        part,
        takes=(by_query, P(rows, heads, parts), P(rows, columns)),
        gives=(*(by_query,) * (results - of_keys), *(by_key,) * of_keys),
    )(queries, keys, mask)


def _on_a_device(head: _Head, queries: Arrays, keys: Arrays, mask: Array) -> Arrays:
    """On a CPU rows go one after another and their heads apart: scores then stay in the cache and
    XLA fuses what is done to them, which trains 3 times faster than all rows at once.
    """
    groups = jax.vmap(head, in_axes=(0, None, None))
    at_once = jax.vmap(jax.vmap(groups, in_axes=(0, 0, None)))
    by_rows = partial(_by_rows, head)
    return jax.lax.platform_dependent(queries, keys, mask, cpu=by_rows, default=at_once)


def _by_rows(head: _Head, queries: Arrays, keys: Arrays, mask: Array) -> Arrays:
    K, G = queries[0].shape[1:3]

    def row(of: tuple[Arrays, Arrays, Array]) -> Arrays:
        queries, keys, mask = of
        heads = [
            head(tuple(x[i, j] for x in queries), tuple(x[i] for x in keys), mask)
            for i in range(K)
            for j in range(G)
        ]
        return tuple(jnp.stack(xs).reshape(K, G, *xs[0].shape) for xs in zip(*heads, strict=True))

    return jax.lax.map(row, (queries, keys, mask))
