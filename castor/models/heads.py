"""What turns the states of a text into one embedding, as in EmbeddingGemma."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, PRNGKeyArray

from castor.models.layers import matrix, product


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Heads:
    """Matrices that a text's mean state goes through, one after another."""

    matrices: tuple[Array, ...]  # [I, O]


class Embedder(NamedTuple):
    """The heads, and what stands before a text by what it is embedded for."""

    heads: Heads
    prompts: dict[str, str]


def init_heads(widths: tuple[int, ...], key: PRNGKeyArray) -> Heads:
    """Fresh float32 weights from each width to the next: (768, 3072, 768) is EmbeddingGemma's."""
    keys = jax.random.split(key, len(widths))
    pairs = zip(keys, widths, widths[1:], strict=False)
    return Heads(tuple(matrix(k, inputs, outputs) for k, inputs, outputs in pairs))


def summed(states: Float[Array, "B T D"], valid: Bool[Array, "B T"]) -> Float[Array, "B D"]:
    """The sum of each row's states, in float32; of its mean `embedding` makes the same."""
    return jnp.where(valid[..., None], states.astype(jnp.float32), 0).sum(1)


def embedding(heads: Heads, pooled: Float[Array, "B D"]) -> Float[Array, "B E"]:
    """Embeddings of length 1, in float32, by the sum or the mean of each text's final states.

    Nothing is added on the way, so how long `pooled` is does not matter.
    """
    x = pooled.astype(jnp.float32)
    x = x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    for weights in heads.matrices:
        x = product(x, weights.astype(jnp.float32))
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
