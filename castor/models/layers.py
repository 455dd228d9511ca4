"""The small pieces every network here is made of: norms, products, rotary positions, GeGLU.

Activations are two-dimensional, [B*T, D], around matrix products: on a CPU XLA multiplies those
3 to 5 times faster than [B, T, D]. Norms and softmax compute in float32 whatever they are given.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

EPSILON = 1e-6

# What is cheap is computed again in the backward pass from its bfloat16 inputs; otherwise XLA would
# keep float32 copies of the steps in between, for each layer.
recomputed = partial(jax.checkpoint, prevent_cse=False)


def matrix(key: PRNGKeyArray, *shape: int, scale: float = 1.0) -> Float[Array, "..."]:
    """Normal weights of variance scale² / fan-in; the fan-in is the last dimension but one."""
    return jax.random.normal(key, shape, jnp.float32) * (scale * shape[-2] ** -0.5)


@jax.custom_vjp
def lookup(table: Float[Array, "V D"], ids: Int[Array, "*shape"]) -> Float[Array, "*shape D"]:
    """The table's rows of these ids. Gradients add up in float32.

    In bfloat16 they would stop growing after some 200 occurrences of the same id.
    """
    return table[ids]


def _lookup_forward(table: Array, ids: Array) -> tuple[Array, tuple[Array, Array]]:
    return table[ids], (table, ids)


def _lookup_backward(kept: tuple[Array, Array], given: Array) -> tuple[Array, None]:
    """Sums over equal ids, put in their rows: a long table is never held in float32."""
    table, ids = kept
    V, D = table.shape
    order = jnp.argsort(ids.reshape(-1)).astype(jnp.int32)
    ids = ids.reshape(-1)[order]
    new = jnp.concatenate([jnp.ones(1, bool), ids[1:] != ids[:-1]])
    place = jnp.cumsum(new, dtype=jnp.int32) - 1  # among the different ids
    sums = jnp.zeros((len(ids), D), jnp.float32)
    sums = sums.at[place].add(given.reshape(-1, D)[order].astype(jnp.float32))
    rows = jnp.full(len(ids), V, ids.dtype).at[place].set(ids)
    return jnp.zeros_like(table).at[rows].set(sums.astype(table.dtype), mode="drop"), None


lookup.defvjp(_lookup_forward, _lookup_backward)


@recomputed
def rms_norm(x: Float[Array, "... D"], scale: Float[Array, " D"]) -> Float[Array, "... D"]:
    """x over its root mean square, times (1 + scale), in x's type.

    Paper: Zhang & Sennrich 2019, arXiv:1910.07467; the (1 + scale) form as in Gemma.
    """
    wide = x.astype(jnp.float32)
    root = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + EPSILON)
    factor = 1 + scale.astype(jnp.float32).reshape((1,) * (x.ndim - 1) + scale.shape)
    return (wide * root * factor).astype(x.dtype)


def rotate(
    x: Float[Array, "B T N H"], positions: Int[Array, "B T"], *, base: float
) -> Float[Array, "B T N H"]:
    """Rotary position embedding; dimension i turns with dimension i + H/2.

    Paper: Su et al. 2021, arXiv:2104.09864.
    """
    half = x.shape[-1] // 2
    rates = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions.astype(jnp.float32)[:, :, None, None] * rates[None, None, None, :]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    ahead = jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
    return ahead.astype(x.dtype)


@recomputed
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The tanh-approximated GELU, computed in float32: in bfloat16 a CPU takes 3 times as long.

    Paper: Hendrycks & Gimpel 2016, arXiv:1606.08415.
    """
    return jax.nn.gelu(x.astype(jnp.float32), approximate=True).astype(x.dtype)


def geglu(
    x: Float[Array, "R D"],
    norm: Float[Array, " D"],
    gate: Float[Array, "D F"],
    up: Float[Array, "D F"],
    down: Float[Array, "F D"],
) -> Float[Array, "R D"]:
    """The gated feed-forward layer over rms_norm(x), with a tanh-approximated GELU.

    Paper: Shazeer 2020, arXiv:2002.05202.
    """
    return _closed(*normed_products(x, norm, gate, up), down)


@recomputed
def normed_products(
    x: Float[Array, "R D"], scale: Float[Array, " D"], *weights: Float[Array, "D _"]
) -> tuple[Float[Array, "R _"], ...]:
    """rms_norm(x) times each matrix; for the backward pass x alone is kept."""
    flat = rms_norm(x, scale)
    return tuple(product(flat, w) for w in weights)


@jax.custom_vjp
def product(x: Float[Array, "R I"], weights: Float[Array, "I O"]) -> Float[Array, "R O"]:
    """x @ weights with a backward pass that is twice as fast in bfloat16 on a CPU."""
    return x @ weights


def _product_forward(x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ weights, (x, weights)


def _product_backward(kept: tuple[Array, Array], given: Array) -> tuple[Array, Array]:
    x, weights = kept
    narrow = x.shape[1] <= given.shape[1]  # the narrower of the two is cheaper to turn
    d_weights = turned(x) @ given if narrow else turned(turned(given) @ x)
    return given @ turned(weights), d_weights


product.defvjp(_product_forward, _product_backward)


def turned(x: Float[Array, "R C"]) -> Float[Array, "C R"]:
    """The transpose, written out in memory.

    XLA folds a plain transpose into the product that takes it, and on a CPU such a bfloat16
    product is 2 to 7 times slower. It does not see through a transpose that is split over R.
    """
    (R, C), part = x.shape, math.gcd(x.shape[0], 64)
    return x.reshape(R // part, part, C).transpose(2, 0, 1).reshape(C, R)


@recomputed
def _closed(
    gate: Float[Array, "R F"], up: Float[Array, "R F"], down: Float[Array, "F D"]
) -> Float[Array, "R D"]:
    opened = jax.nn.gelu(gate.astype(jnp.float32), approximate=True)
    return product((opened * up.astype(jnp.float32)).astype(gate.dtype), down)
