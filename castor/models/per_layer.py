"""Embeddings for each layer: a further, narrow input at every layer's end.

Paper: Gemma 3n, 2025; the table is read by id, so it may lie where memory is slow.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from castor.models.layers import gelu, lookup, matrix, product, rms_norm
from castor.models.sizes import ModelConfig

MEDIA = 0  # the id whose row stands for slots of media: padding


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Inputs:
    """What makes the inputs P of all L layers from the ids and the states before the first."""

    embedding: Array  # [V, L*P]
    projection: Array  # [D, L*P]
    norm: Array  # [P]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Inlet:
    """How one layer takes its input in."""

    gate: Array  # [D, P]
    out: Array  # [P, D]
    norm: Array  # [D]


def init_inputs(config: ModelConfig, key: PRNGKeyArray) -> Inputs | None:
    """Fresh float32 weights; None where layers have no inputs of their own."""
    if config.inputs is None:
        return None
    table, projection = jax.random.split(key)
    wide = config.layers * config.inputs.width
    return Inputs(
        0.02 * jax.random.normal(table, (config.inputs.vocab, wide), jnp.float32),
        matrix(projection, config.width, wide),
        jnp.full(config.inputs.width, 1 - config.norm_start, jnp.float32),
    )


def init_inlet(config: ModelConfig, key: PRNGKeyArray) -> Inlet | None:
    """Fresh float32 weights of one layer."""
    if config.inputs is None:
        return None
    gate, out = jax.random.split(key)
    D, P = config.width, config.inputs.width
    scale = (2 * config.layers) ** -0.5
    norm = jnp.full(D, 1 - config.norm_start, jnp.float32)
    return Inlet(matrix(gate, D, P), matrix(out, P, D, scale=scale), norm)


def inputs_of(
    inputs: Inputs, ids: Int[Array, "B T"], x: Float[Array, "B T D"], *, start: float
) -> Float[Array, "L R P"]:
    """Every layer's input for the R = B*T positions, from their ids and first states."""
    D, P = x.shape[-1], inputs.norm.shape[0]
    flat = product(x.reshape(-1, D), inputs.projection) * jnp.asarray(D**-0.5, x.dtype)
    states = rms_norm(flat.reshape(len(flat), -1, P), inputs.norm, start=start)
    rows = lookup(inputs.embedding, ids.reshape(-1)) * jnp.asarray(P**0.5, x.dtype)
    both = (states + rows.reshape(states.shape)) * jnp.asarray(2**-0.5, x.dtype)
    return both.swapaxes(0, 1)


def taken_in(
    inlet: Inlet, x: Float[Array, "R D"], own: Float[Array, "R P"], *, start: float
) -> Float[Array, "R D"]:
    """What a layer's own input adds to its states."""
    opened = gelu(product(x, inlet.gate)) * own
    return rms_norm(product(opened, inlet.out), inlet.norm, start=start)
