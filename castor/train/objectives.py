"""Objectives: (model, batch) to Loss. What is learned is decided by the batch's weights alone.

Logits of all positions never exist at once, and positions of weight 0 cost nothing.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec as P
from jaxtyping import Float, Int, Int32, UInt8

from castor.core.batch import Batch
from castor.models import decoder
from castor.models.image_codec import Codec, CodecConfig, reconstruct
from castor.models.layers import by_rows, turned
from castor.models.layout import AXES, added_up, by_device, dividing
from castor.models.quant import dense
from castor.models.remat import Remat
from castor.models.sizes import ModelConfig

CHUNK = 512  # most positions whose logits exist at once
LOGITS = 2**26  # most logits that do: 256,000 ids for 256 positions at once
SOURCES = 64  # most sources of a mixture; sums are kept for each


class Loss(NamedTuple):
    """Sums over targets; divide only after adding up all batches and hosts."""

    nats: Float[Array, ""]  # what is minimised: weighted, z-loss included
    count: Float[Array, ""]  # sum of weights
    source_nats: Float[Array, " sources"]  # unweighted, of every learned position
    source_right: Float[Array, " sources"]  # positions whose likeliest id was the target
    source_count: Float[Array, " sources"]  # learned positions


class Pictures(NamedTuple):
    """The batch that a picture codec learns from."""

    pixels: UInt8[np.ndarray, "n s s 3"]
    sources: Int32[np.ndarray, " n"]  # which source of the mixture each one came from


class Marks(NamedTuple):
    """Per position: nats of the target (0 where not learned) and whether it was the likeliest."""

    nats: Float[Array, " R"]
    right: Float[Array, " R"]


_Kept = tuple[Array, Array | None, Array, Array]  # for the backward pass


def next_token(
    model: decoder.Model,
    batch: Batch,
    *,
    config: ModelConfig,
    z_loss: float = 0.0,
    remat: Remat = "none",
    ring: bool = False,
) -> Loss:
    """Cross-entropy of the targets in nats, plus `z_loss` times the squared log-normaliser.

    `remat` and `ring` are as in `castor.models.decoder.hidden`.

    Paper: for the z-loss, Chowdhery et al. 2022, arXiv:2204.02311, section 5.
    """
    states = decoder.hidden(model, batch, config=config, remat=remat, ring=ring)
    weights = jnp.asarray(batch.weights).reshape(-1)
    nats, marks = cross_entropy(
        states.reshape(-1, states.shape[-1]),
        dense(model.decoder.embedding),
        jnp.asarray(batch.targets).reshape(-1),
        weights,
        z_loss,
        config.logit_cap,
    )
    sources = jnp.asarray(batch.sources).reshape(-1)
    learned = (weights > 0).astype(jnp.float32)
    by_source = partial(jax.ops.segment_sum, segment_ids=sources, num_segments=SOURCES)
    return Loss(
        nats, weights.sum(), by_source(marks.nats), by_source(marks.right), by_source(learned)
    )


def reconstruction(
    codec: Codec, batch: Pictures, *, config: CodecConfig, absolute: float = 0.1
) -> Loss:
    """Squared error of pixels from 0 to 1, plus `absolute` times the absolute error, per picture.

    `source_nats` holds the squared error alone: its mean gives the peak signal-to-noise ratio.
    """
    wanted = jnp.asarray(batch.pixels).astype(jnp.float32) / 255
    error = (reconstruct(codec, batch.pixels, config=config).pixels - wanted).reshape(
        wanted.shape[0], -1
    )
    squares = jnp.mean(error**2, axis=1)
    each = squares + absolute * jnp.mean(jnp.abs(error), axis=1)
    ones = jnp.ones_like(each)
    sources = jnp.asarray(batch.sources)
    by_source = partial(jax.ops.segment_sum, segment_ids=sources, num_segments=SOURCES)
    zeros = jnp.zeros(SOURCES, jnp.float32)
    return Loss(each.sum(), ones.sum(), by_source(squares), zeros, by_source(ones))


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def cross_entropy(
    states: Float[Array, "R D"],
    table: Float[Array, "V D"],
    targets: Int[Array, " R"],
    weights: Float[Array, " R"],
    z_loss: float,
    cap: float | None = None,
) -> tuple[Float[Array, ""], Marks]:
    """Weighted sum of nats over the positions of weight above 0, and the marks of each.

    A `cap` holds logits below it by tanh, as `ModelConfig.logit_cap`.

    The gradient with respect to states and, where it is learned, the table is computed chunk by
    chunk in the forward pass; targets and weights have none.
    """
    nats, marks, *_ = _summed(states, table, targets, weights, z_loss, cap, slopes=())
    return nats, marks


def _forward(
    states: Any, table: Any, targets: Any, weights: Any, z_loss: float, cap: float | None
) -> tuple[tuple[Array, Marks], _Kept]:
    nats, marks, d_states, d_table = _summed(
        states.value,
        table.value,
        targets.value,
        weights.value,
        z_loss,
        cap,
        slopes=("states", "table") if table.perturbed else ("states",),
    )
    d_table = d_table.astype(table.value.dtype) if table.perturbed else None
    return (nats, marks), (d_states, d_table, targets.value, weights.value)


def _backward(
    z_loss: float,
    cap: float | None,
    kept: _Kept,
    given: tuple[Array, Marks],
) -> tuple[Array, Array | None, np.ndarray, Array]:
    d_states, d_table, targets, weights = kept
    scale = given[0]
    flat = np.zeros(targets.shape, jax.dtypes.float0)
    d_table = None if d_table is None else d_table * scale.astype(d_table.dtype)
    return d_states * scale.astype(d_states.dtype), d_table, flat, jnp.zeros_like(weights)


cross_entropy.defvjp(_forward, _backward, symbolic_zeros=True)


def _summed(
    states: Array,
    table: Array,
    targets: Array,
    weights: Array,
    z_loss: float,
    cap: float | None,
    *,
    slopes: tuple[str, ...],
) -> tuple[Array, Marks, Array, Array]:
    """As `_by_chunks`; on a mesh every device takes its share of the positions."""
    chunked = partial(_by_chunks, z_loss=z_loss, cap=cap, slopes=slopes)
    axes = dividing(len(states), *AXES)
    if axes is None:
        return chunked(states, table, targets, weights)
    learned = "table" in slopes
    cut = dividing(len(table), *axes) if learned else None

    def part(*given: Array) -> tuple[Array, Marks, Array, Array]:
        nats, marks, d_states, d_table = chunked(*given)
        if learned:
            d_table = added_up(d_table, axes, cut)
        return jax.lax.psum(nats, axes), marks, d_states, d_table

    each = P(axes)
    takes, gives = (each, P(), each, each), (P(), each, each, P(cut))
    return by_device(part, takes=takes, gives=gives)(states, table, targets, weights)


def _by_chunks(
    states: Array,
    table: Array,
    targets: Array,
    weights: Array,
    z_loss: float,
    cap: float | None,
    *,
    slopes: tuple[str, ...],
) -> tuple[Array, Marks, Array, Array]:
    R, D = states.shape
    chunk = min(CHUNK, R, max(LOGITS // table.shape[0] // 128 * 128, 128))
    learned_first = jnp.argsort(weights <= 0, stable=True).astype(jnp.int32)
    order = jnp.concatenate([learned_first, jnp.full((-R) % chunk, R, jnp.int32)])
    chunks = (jnp.sum(weights > 0, dtype=jnp.int32) + chunk - 1) // chunk

    learned, across = "table" in slopes, turned(table) if "table" in slopes else table

    def one(i: Array, sums: tuple[Array, Marks, Array, Array]) -> tuple[Array, Marks, Array, Array]:
        nats, marks, d_states, d_table = sums
        at = jax.lax.dynamic_slice(order, (i * chunk,), (chunk,))
        x = states.at[at].get(mode="fill", fill_value=0)
        target = targets.at[at].get(mode="fill", fill_value=0)
        weight = weights.at[at].get(mode="fill", fill_value=0)
        if learned:
            scores = jnp.dot(x, across, preferred_element_type=jnp.float32)
        else:
            scores = by_rows(x, across, dtype=jnp.float32)
        scores = scores if cap is None else cap * jnp.tanh(scores / cap)
        peak = scores.max(axis=-1)
        total = jax.nn.logsumexp(scores, axis=-1)
        hit = jnp.take_along_axis(scores, target[:, None], axis=-1)[:, 0]
        nats = nats + jnp.sum(weight * (total - hit + z_loss * total**2))
        here = (weight > 0).astype(jnp.float32)
        marks = Marks(
            marks.nats.at[at].set((total - hit) * here, mode="drop"),
            marks.right.at[at].set((hit >= peak).astype(jnp.float32) * here, mode="drop"),
        )
        if "states" in slopes:
            share = jnp.exp(scores - total[:, None]) * (1 + 2 * z_loss * total)[:, None]
            columns = jnp.arange(table.shape[0], dtype=jnp.int32)[None]
            slope = jnp.where(columns == target[:, None], share - 1, share) * weight[:, None]
            slope = slope if cap is None else slope * (1 - (scores / cap) ** 2)
            slope = slope.astype(table.dtype)
            d_states = d_states.at[at].set((slope @ table).astype(states.dtype), mode="drop")
            if learned:
                d_table = d_table + jnp.dot(turned(slope), x, preferred_element_type=jnp.float32)
        return nats, marks, d_states, d_table

    empty = jnp.zeros(R, jnp.float32)
    d_table = jnp.zeros(table.shape if learned else (0, 0), jnp.float32)
    start = (jnp.float32(0), Marks(empty, empty), jnp.zeros_like(states), d_table)
    return jax.lax.fori_loop(0, chunks, one, start)
