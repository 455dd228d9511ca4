"""The small pieces every network here is made of: norms, products, rotary positions, GeGLU.

Activations are two-dimensional, [B*T, D], around matrix products: on a CPU XLA multiplies those
3 to 5 times faster than [B, T, D]. Norms and softmax compute in float32 whatever they are given.
"""

import math
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int, PRNGKeyArray

from castor.models.layout import AXES, added_up, by_device, by_units, dividing
from castor.models.one_row import one_row, suits
from castor.models.quant import QTensor, dense, rows
from castor.models.sizes import EPSILON

PRODUCT = "product"  # the name of what a matrix gives, for those who choose what is kept of a layer

# What is cheap is computed again in the backward pass from its bfloat16 inputs; otherwise XLA would
# keep float32 copies of the steps in between, for each layer.
recomputed = partial(jax.checkpoint, prevent_cse=False)


def matrix(key: PRNGKeyArray, *shape: int, scale: float = 1.0) -> Float[Array, "..."]:
    """Normal weights of variance scale² / fan-in; the fan-in is the last dimension but one."""
    return jax.random.normal(key, shape, jnp.float32) * (scale * shape[-2] ** -0.5)


def lookup(
    table: Float[Array, "V D"] | QTensor, ids: Int[Array, "*shape"]
) -> Float[Array, "*shape D"]:
    """The table's rows of these ids. Gradients add up in float32.

    In bfloat16 they would stop growing after some 200 occurrences of the same id.
    """
    return rows(table, ids) if isinstance(table, QTensor) else _lookup(table, ids)


@jax.custom_vjp
def _lookup(table: Array, ids: Array) -> Array:
    return table[ids]


def _lookup_forward(table: Array, ids: Array) -> tuple[Array, tuple[Array, Array]]:
    return table[ids], (table, ids)


def _lookup_backward(kept: tuple[Array, Array], given: Array) -> tuple[Array, None]:
    """Sums over equal ids; on a mesh every device has those of its share of the ids."""
    table, ids = kept
    flat, given = ids.reshape(-1), given.reshape(-1, table.shape[1])
    axes = dividing(len(flat), *AXES)
    if axes is None:
        return _by_id(flat, given, len(table)), None
    cut = dividing(len(table), *axes)

    def part(ids: Array, given: Array) -> Array:
        return added_up(_by_id(ids, given, len(table)), axes, cut)

    return by_device(part, takes=(P(axes), P(axes)), gives=P(cut))(flat, given), None


def _by_id(ids: Int[Array, " R"], given: Float[Array, "R D"], V: int) -> Float[Array, "V D"]:
    """Sums over equal ids, put in their rows: a long table is never held in float32."""
    D = given.shape[1]
    order = jnp.argsort(ids).astype(jnp.int32)
    ids = ids[order]
    new = jnp.concatenate([jnp.ones(1, bool), ids[1:] != ids[:-1]])
    place = jnp.cumsum(new, dtype=jnp.int32) - 1  # among the different ids
    sums = jnp.zeros((len(ids), D), jnp.float32)
    sums = sums.at[place].add(given[order].astype(jnp.float32))
    rows = jnp.full(len(ids), V, ids.dtype).at[place].set(ids)
    return jnp.zeros((V, D), given.dtype).at[rows].set(sums.astype(given.dtype), mode="drop")


_lookup.defvjp(_lookup_forward, _lookup_backward)


def rms_norm(
    x: Float[Array, "... D"], scale: Float[Array, " D"] | None, *, start: float = 1.0
) -> Float[Array, "... D"]:
    """x over its root mean square, times (start + scale), in x's type; without a scale, times 1.

    Paper: Zhang & Sennrich 2019, arXiv:1910.07467; the (1 + scale) form as in Gemma 1 to 3.
    """
    return _rms_norm(x, scale, start)


@partial(jax.checkpoint, prevent_cse=False, static_argnums=(2,))
def _rms_norm(x: Array, scale: Array | None, start: float) -> Array:
    wide = x.astype(jnp.float32)
    root = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + EPSILON)
    if scale is None:
        return (wide * root).astype(x.dtype)
    factor = scale.astype(jnp.float32).reshape((1,) * (x.ndim - 1) + scale.shape)
    factor = start + factor if start else factor
    return (wide * root * factor).astype(x.dtype)


@runtime_checkable
class Factor(Protocol):
    """What may stand in the place of a matrix: a tree of arrays that knows its own product."""

    def times(self, x: Float[Array, "R I"]) -> Float[Array, "R O"]:
        """x @ the matrix that it stands for."""
        ...


Matrix = Float[Array, "_ _"] | QTensor | Factor


class Turns(NamedTuple):
    """How far each pair of a head's dimensions turns at each position."""

    cos: Float[Array, "B T 1 half"]
    sin: Float[Array, "B T 1 half"]


def turns_of(
    positions: Int[Array, "B T"],
    width: int,
    *,
    base: float,
    factor: float = 1.0,
    share: float = 1.0,
) -> Turns:
    """The turns of heads of that width.

    `factor` divides positions. Of the pairs only the first `share` turn, as fast as if all did.
    Paper: Su et al. 2021, arXiv:2104.09864; Chen et al. 2023, arXiv:2306.15595 for the factor.
    """
    half = width // 2
    rates = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if share < 1:
        rates = jnp.where(jnp.arange(half, dtype=jnp.int32) < int(share * half), rates, 0.0)
    if factor != 1:
        rates = rates / factor
    angles = positions.astype(jnp.float32)[:, :, None, None] * rates[None, None, None, :]
    return Turns(jnp.cos(angles), jnp.sin(angles))


def turned_by(x: Float[Array, "B T N H"], turns: Turns) -> Float[Array, "B T N H"]:
    """Rotary position embedding; dimension i turns with dimension i + H/2."""
    cos, sin = turns
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    ahead = jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)
    return ahead.astype(x.dtype)


def rotate(
    x: Float[Array, "B T N H"],
    positions: Int[Array, "B T"],
    *,
    base: float,
    factor: float = 1.0,
    share: float = 1.0,
) -> Float[Array, "B T N H"]:
    """Both at once, where one layer turns."""
    return turned_by(x, turns_of(positions, x.shape[-1], base=base, factor=factor, share=share))


@recomputed
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The tanh-approximated GELU, computed in float32: in bfloat16 a CPU takes 3 times as long.

    Paper: Hendrycks & Gimpel 2016, arXiv:1606.08415.
    """
    return jax.nn.gelu(x.astype(jnp.float32), approximate=True).astype(x.dtype)


def geglu(
    x: Float[Array, "R D"],
    norm: Float[Array, " D"],
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    *,
    start: float = 1.0,
) -> Float[Array, "R D"]:
    """The gated feed-forward layer over rms_norm(x), with a tanh-approximated GELU.

    Paper: Shazeer 2020, arXiv:2002.05202.
    """
    if suits(x, gate, up):
        return product(one_row(x, gate, up, norm=norm, start=start, gated=True), down)
    return _closed(*normed_products(x, norm, gate, up, start=start), down)


def normed_products(
    x: Float[Array, "R D"],
    scale: Float[Array, " D"],
    *weights: Matrix,
    start: float = 1.0,
) -> tuple[Float[Array, "R _"], ...]:
    """rms_norm(x) times each matrix; for the backward pass x alone is kept."""
    return _normed_products(start, x, scale, *weights)


@partial(jax.checkpoint, prevent_cse=False, static_argnums=(0,))
def _normed_products(start: float, x: Array, scale: Array, *weights: Matrix) -> tuple[Array, ...]:
    flat = rms_norm(x, scale, start=start)
    return tuple(by_units(product(flat, w)) for w in weights)


def product(x: Float[Array, "R I"], weights: Matrix) -> Float[Array, "R O"]:
    """x @ weights with a backward pass that is twice as fast in bfloat16 on a CPU.

    Weights that are not learned have no gradient, and cost the backward pass nothing.
    """
    made = weights.times(x) if isinstance(weights, Factor) else _product(x, dense(weights))
    return checkpoint_name(made, PRODUCT)


@jax.custom_vjp
def _product(x: Array, weights: Array) -> Array:
    return x @ weights


def _product_forward(x: Any, weights: Any) -> tuple[Array, tuple[Array | None, Array]]:
    return x.value @ weights.value, (x.value if weights.perturbed else None, weights.value)


def _product_backward(kept: tuple[Array | None, Array], given: Array) -> tuple[Array, Array | None]:
    x, weights = kept
    if x is None:
        return by_rows(given, weights), None
    d_x = given @ turned(weights)
    narrow = x.shape[1] <= given.shape[1]  # the narrower of the two is cheaper to turn
    return d_x, turned(x) @ given if narrow else turned(turned(given) @ x)


_product.defvjp(_product_forward, _product_backward, symbolic_zeros=True)


def by_rows(
    x: Float[Array, "R C"], rows: Float[Array, "O C"], *, dtype: Any = None
) -> Float[Array, "R O"]:
    """x @ rows.T, without a copy of the rows.

    A batch of one: with that, XLA reads them as they lie. On a CPU it is as fast as if they had
    been turned before.
    """
    return jnp.einsum("grc,goc->gro", x[None], rows[None], preferred_element_type=dtype)[0]


def turned(x: Float[Array, "R C"]) -> Float[Array, "C R"]:
    """The transpose, written out in memory.

    XLA folds a plain transpose into the product that takes it, and on a CPU such a bfloat16
    product is 2 to 7 times slower. It does not see through a transpose that is split over R.
    Other devices multiply by what lies turned as fast.
    """
    return jax.lax.platform_dependent(x, cpu=_turned_in_parts, default=jnp.transpose)


def _turned_in_parts(x: Float[Array, "R C"]) -> Float[Array, "C R"]:
    (R, C), part = x.shape, math.gcd(x.shape[0], 64)
    return x.reshape(R // part, part, C).transpose(2, 0, 1).reshape(C, R)


@recomputed
def _closed(
    gate: Float[Array, "R F"], up: Float[Array, "R F"], down: Matrix
) -> Float[Array, "R D"]:
    opened = jax.nn.gelu(gate.astype(jnp.float32), approximate=True)
    return product((opened * up.astype(jnp.float32)).astype(gate.dtype), down)
