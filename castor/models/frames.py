"""Sound without an encoder, as in Gemma 4 12B: the samples of 40 ms, normed and projected."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, PRNGKeyArray

from castor.core.batch import Signal, Slots
from castor.models.layers import matrix, product, rms_norm
from castor.models.signals import FramesConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FramesEncoder:
    """Samples to slot states."""

    projection: Array  # [samples, D]


def cut(samples: Float32[np.ndarray, " n"], *, config: FramesConfig) -> Signal:
    """Sound as the samples of each slot, with silence after the last; one slot at least, and what
    is past the most slots is left out."""
    count = min(max(1, -(-len(samples) // config.samples)), config.slots)
    values = np.zeros(count * config.samples, np.float32)
    kept = samples[: len(values)]
    values[: len(kept)] = kept
    time = np.arange(count, dtype=np.int32)
    places = np.stack([np.zeros_like(time), time], axis=1)
    return Signal("audio", values.reshape(count, config.samples), places)


def init_frames(config: FramesConfig, width: int, key: PRNGKeyArray) -> FramesEncoder:
    """Fresh float32 weights of what feeds a decoder of this width."""
    return FramesEncoder(matrix(key, config.samples, width))


def encode_frames(
    encoder: FramesEncoder, slots: Slots, *, config: FramesConfig
) -> Float[Array, "B M D"]:
    """The states that fill a row's audio slots; unused slots hold values nobody reads."""
    B, M = slots.values.shape[:2]
    x = jnp.asarray(slots.values, encoder.projection.dtype).reshape(B * M, config.samples)
    return product(rms_norm(x, None), encoder.projection).reshape(B, M, -1)
