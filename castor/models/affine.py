"""Matrices that do more than multiply: with a bias, or with bounds; and LayerNorm.

Each stands where a plain matrix may: `product` asks it for its own.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from castor.models.layers import matrix, product
from castor.models.sizes import EPSILON


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Affine:
    """A matrix and what is added to its product."""

    weight: Array  # [I, O]
    bias: Array  # [O]

    def times(self, x: Float[Array, "R I"]) -> Float[Array, "R O"]:
        """x @ weight + bias."""
        return product(x, self.weight) + self.bias[None]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Clipped:
    """A matrix that holds what goes in and what comes out within bounds, which are not learned."""

    weight: Array  # [I, O]
    bounds: Array | None  # [4]: least and most that goes in, then that comes out; None = no bounds

    def times(self, x: Float[Array, "R I"]) -> Float[Array, "R O"]:
        """x @ weight, clipped before and after."""
        if self.bounds is None:
            return product(x, self.weight)
        least, most, lowest, highest = jax.lax.stop_gradient(self.bounds)
        return jnp.clip(product(jnp.clip(x, least, most), self.weight), lowest, highest)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LayerNorm:
    """What is left of x when its mean and size are taken away, scaled and moved.

    Paper: Ba et al. 2016, arXiv:1607.06450.
    """

    scale: Array  # [D]
    bias: Array  # [D]

    def of(self, x: Float[Array, "R D"], *, epsilon: float = EPSILON) -> Float[Array, "R D"]:
        """Computed in float32, and in x's type when it leaves."""
        wide = x.astype(jnp.float32)
        wide = wide - wide.mean(-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + epsilon)
        scaled = wide * self.scale.astype(jnp.float32)[None] + self.bias.astype(jnp.float32)[None]
        return scaled.astype(x.dtype)


def affine(key: PRNGKeyArray, inputs: int, outputs: int, *, scale: float = 1.0) -> Affine:
    """Fresh weights; the bias starts at 0."""
    return Affine(matrix(key, inputs, outputs, scale=scale), jnp.zeros(outputs, jnp.float32))


def clipped(
    key: PRNGKeyArray, inputs: int, outputs: int, *, bounded: bool, scale: float = 1.0
) -> Clipped:
    """Fresh weights; the bounds start without an end."""
    bounds = jnp.array([-jnp.inf, jnp.inf] * 2, jnp.float32) if bounded else None
    return Clipped(matrix(key, inputs, outputs, scale=scale), bounds)


def layer_norm(width: int) -> LayerNorm:
    """Fresh weights, which change nothing."""
    return LayerNorm(jnp.ones(width, jnp.float32), jnp.zeros(width, jnp.float32))
