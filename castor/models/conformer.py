"""Gemma 4's ears: log-mel frames on the host, conformers over slots on the device.

One slot stands for 40 ms; its values are its four mel frames, and a frame of zeros is none. Only
slots of the same medium reach each other, so sounds may lie side by side in a row.
"""

import math
from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float32, PRNGKeyArray, Shaped

from castor.core.batch import Signal, Slots
from castor.models.affine import Affine, Clipped, affine, clipped
from castor.models.audio import FFT, HOP, RATE, mel_filters
from castor.models.layers import matrix, product, rms_norm
from castor.models.layout import scanned
from castor.models.signals import ConformerConfig
from castor.models.sizes import EPSILON

FRAME = 320  # samples of a mel frame: 20 ms every 10 ms
FRAMES = 4  # mel frames of a slot
FLOOR = 1e-3  # of what the logarithm is taken of
LOWEST_HZ, HIGHEST_HZ = 0.0, RATE / 2
UNSEEN = -1e9  # the score of a slot that may not be heard


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HalfStep:
    """A feed-forward layer that half counts."""

    norm: Array  # [W]
    up: Clipped  # [W, 4W]
    down: Clipped  # [4W, W]
    post_norm: Array  # [W]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConformerLayer:
    """Attention to the near past and a causal convolution between two half-steps."""

    first: HalfStep
    attention_norm: Array  # [W]
    wq: Clipped  # [W, W]
    wk: Clipped  # [W, W]
    wv: Clipped  # [W, W]
    distances: Array  # [W, W]
    scale: Array  # [H]
    wo: Clipped  # [W, W]
    attention_post_norm: Array  # [W]
    mix_norm: Array  # [W]
    mix_in: Clipped  # [W, 2W]
    kernel: Array  # [kernel, W]
    kernel_norm: Array  # [W]
    mix_out: Clipped  # [W, W]
    last: HalfStep
    norm: Array  # [W]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConformerEncoder:
    """Mel frames to slot states."""

    first: Array  # [3, 3, 1, C0]
    first_norm: Array  # [C0]
    second: Array  # [3, 3, C0, C1]
    second_norm: Array  # [C1]
    stem: Array  # [mels/4*C1, W]
    blocks: ConformerLayer  # leaves are [layers, ...]
    out: Affine  # [W, output]
    projection: Array  # [output, D]


def log_mel(samples: Float32[np.ndarray, " n"], *, mels: int) -> Float32[np.ndarray, "F mels"]:
    """Natural logarithms of mel magnitudes every 10 ms, and one frame at least.

    The first frame has its middle at the first sample, and the last one ends before the last.
    """
    count = max(1, (len(samples) - 1) // HOP)
    padded = np.zeros((count + 1) * HOP, np.float32)
    kept = samples[: count * HOP]
    padded[HOP : HOP + len(kept)] = kept
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    magnitudes = np.abs(np.fft.rfft(frames * _window(), FFT)).astype(np.float32)
    filters = mel_filters(mels, low_hz=LOWEST_HZ, high_hz=HIGHEST_HZ)
    return np.log(magnitudes @ filters + np.float32(FLOOR))


def cut(samples: Float32[np.ndarray, " n"], *, config: ConformerConfig) -> Signal:
    """Sound as mel frames, four a slot; what is past the most slots is left out."""
    kept = samples[: config.slots * FRAMES * HOP]
    return slots_of(log_mel(kept, mels=config.mels), config=config)


def slots_of(mel: Float32[np.ndarray, "F mels"], *, config: ConformerConfig) -> Signal:
    """Mel frames, four a slot, and zeros after the last."""
    count = min(-(-len(mel) // FRAMES), config.slots)
    values = np.zeros((count * FRAMES, config.mels), np.float32)
    values[: len(mel)] = mel[: len(values)]
    time = np.arange(count, dtype=np.int32)
    places = np.stack([np.zeros_like(time), time], axis=1)
    return Signal("audio", values.reshape(count, FRAMES, config.mels), places)


def init_conformer(config: ConformerConfig, width: int, key: PRNGKeyArray) -> ConformerEncoder:
    """Fresh float32 weights of an encoder that feeds a decoder of this width."""
    first, second, stem, blocks, out, projection = jax.random.split(key, 6)
    narrow, wide = config.channels
    layer = partial(_init_layer, config)
    return ConformerEncoder(
        first=matrix(first, 9, narrow).reshape(3, 3, 1, narrow),
        first_norm=jnp.ones(narrow, jnp.float32),
        second=matrix(second, 9 * narrow, wide).reshape(3, 3, narrow, wide),
        second_norm=jnp.ones(wide, jnp.float32),
        stem=matrix(stem, config.mels // 4 * wide, config.width),
        blocks=jax.vmap(layer)(jax.random.split(blocks, config.layers)),
        out=affine(out, config.width, config.output),
        projection=matrix(projection, config.output, width),
    )


def encode_conformer(
    encoder: ConformerEncoder, slots: Slots, *, config: ConformerConfig
) -> Float[Array, "B M D"]:
    """The states that fill a row's audio slots; unused slots hold values nobody reads."""
    B, M = slots.values.shape[:2]
    owners = jnp.asarray(slots.blocks)
    # one array for each distance, [B, M]: whether the slot so far back is of the same sound
    same = {d: _back(owners, d, -1) == owners for d in _distances(config)}
    x = _stem(encoder, jnp.asarray(slots.values, encoder.projection.dtype), same[1])
    angles = jnp.asarray(_angles(config), x.dtype)

    def layer(x: Array, block: ConformerLayer) -> tuple[Array, None]:
        x = _half_step(x, block.first)
        x = x + _listen(block, x, angles, same, config)
        x = x + _mix(block, x, same, config)
        return _norm(_half_step(x, block.last), block.norm), None

    x = scanned(jax.checkpoint(layer), x, encoder.blocks)[0]
    flat = rms_norm(product(x.reshape(B * M, -1), encoder.out), None)
    return product(flat, encoder.projection).reshape(B, M, -1)


def _distances(config: ConformerConfig) -> list[int]:
    """How far back from a slot anything of it looks."""
    heard = range(1 - max(config.future, 1), config.past)
    return sorted({*heard, *range(config.kernel), 1})


def _back(x: Shaped[Array, "B M ..."], distance: int, fill: int = 0) -> Shaped[Array, "B M ..."]:
    """For every slot what stands so far back in the row."""
    M = x.shape[1]
    before, after = max(distance, 0), max(-distance, 0)
    pads = ((0, 0), (before, after), *((0, 0),) * (x.ndim - 2))
    return jnp.pad(x, pads, constant_values=fill)[:, after : after + M]


def _stem(
    encoder: ConformerEncoder, values: Float[Array, "B M 4 mels"], same: Bool[Array, "B M"]
) -> Float[Array, "B M W"]:
    """Two convolutions over the frames; before a sound's first and after its last are zeros."""
    B, M, _, mels = values.shape
    there = (values != 0).any(-1)[:, :, ::2].reshape(B * M, 2, 1, 1)

    def joined(x: Float[Array, "B M t ..."]) -> Float[Array, "R t1 ..."]:
        """Frames of a slot after the last one of the slot before, if that is of its sound."""
        last = _back(x[:, :, -1:], 1)
        known = same.reshape(B, M, *(1,) * (x.ndim - 2))
        return jnp.concatenate([jnp.where(known, last, 0), x], axis=2).reshape(
            B * M, -1, *x.shape[3:]
        )

    x = _convolve(joined(values[..., None]), encoder.first, encoder.first_norm)
    x = jnp.where(there, x, 0).reshape(B, M, 2, *x.shape[2:])
    x = _convolve(joined(x), encoder.second, encoder.second_norm)
    return product(x.reshape(B * M, -1), encoder.stem).reshape(B, M, -1)


def _convolve(
    x: Float[Array, "R t m c"], weights: Float[Array, "3 3 c o"], scale: Float[Array, " o"]
) -> Float[Array, "R t2 m2 o"]:
    """3 by 3, stride 2, with one bin of padding over the mel bins; then a LayerNorm and a ReLU."""
    x = jax.lax.conv_general_dilated(
        x, weights, (2, 2), ((0, 0), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    wide = x.astype(jnp.float32)
    wide = wide - wide.mean(-1, keepdims=True)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + EPSILON)
    return jax.nn.relu(wide * scale.astype(jnp.float32)[None, None, None]).astype(x.dtype)


def _half_step(x: Float[Array, "B M W"], step: HalfStep) -> Float[Array, "B M W"]:
    opened = jax.nn.silu(_times(_norm(x, step.norm), step.up))
    return x + 0.5 * _norm(_times(opened, step.down), step.post_norm)


def _listen(
    block: ConformerLayer,
    x: Float[Array, "B M W"],
    angles: Float[Array, "F W"],
    same: dict[int, Array],
    config: ConformerConfig,
) -> Float[Array, "B M W"]:
    """Attention to the near past, in float32, with a score for each distance.

    Paper: Dai et al. 2019, arXiv:1901.02860, appendix B.
    """
    B, M, W = x.shape
    N, H = config.heads, W // config.heads
    heard = range(config.past - 1, -max(config.future, 1), -1)
    normed = _norm(x, block.attention_norm)
    q, k, v = (
        _times(normed, w).astype(jnp.float32).reshape(B, M, N, H)
        for w in (block.wq, block.wk, block.wv)
    )
    scale = jax.nn.softplus(block.scale.astype(jnp.float32)) * (H**-0.5 / math.log(2))
    q, k = q * scale[None, None, None], k * (math.log1p(math.e) / math.log(2))
    told = product(angles, block.distances).astype(jnp.float32).reshape(-1, N, H)
    placed = jnp.einsum("bmnh,fnh->fbmn", q, told)
    scores = jnp.stack([(q * _back(k, d)).sum(-1) for d in heard]) + placed
    scores = jnp.tanh(scores / config.cap) * config.cap
    seen = jnp.stack([same[d] for d in heard])[..., None]
    shares = jax.nn.softmax(jnp.where(seen, scores, UNSEEN), axis=0)
    mixed = sum(shares[i][..., None] * _back(v, d) for i, d in enumerate(heard))
    out = _times(jnp.asarray(mixed, x.dtype).reshape(B, M, W), block.wo)
    return _norm(out, block.attention_post_norm)


def _mix(
    block: ConformerLayer, x: Float[Array, "B M W"], same: dict[int, Array], config: ConformerConfig
) -> Float[Array, "B M W"]:
    """A gated depthwise convolution over a slot and those before it."""
    gated = jax.nn.glu(_times(_norm(x, block.mix_norm), block.mix_in))
    total = jnp.zeros_like(x)
    for d in range(config.kernel):
        past = jnp.where(same[d][..., None], _back(gated, d), 0)
        total = total + past * block.kernel[config.kernel - 1 - d][None, None]
    return _times(jax.nn.silu(_norm(total, block.kernel_norm)), block.mix_out)


def _norm(x: Float[Array, "B M W"], scale: Float[Array, " W"]) -> Float[Array, "B M W"]:
    return rms_norm(x, scale, start=0.0)


def _times(x: Float[Array, "B M I"], weights: Clipped) -> Float[Array, "B M O"]:
    return product(x.reshape(-1, x.shape[-1]), weights).reshape(*x.shape[:2], -1)


@cache
def _angles(config: ConformerConfig) -> Float32[np.ndarray, "F W"]:
    """Sines and cosines of each distance that is heard, the farthest first; zeros where the table
    that a block's queries share has no row for it."""
    half = config.width // 2
    rates = np.exp(-np.arange(half) * math.log(10_000) / max(half - 1, 1))
    heard = np.arange(config.past - 1, -max(config.future, 1), -1)
    rows = heard + (config.chunk + config.past + config.future) // 2 - config.past
    turns = rows[:, None] * rates
    table = np.concatenate([np.sin(turns), np.cos(turns)], axis=-1)
    return np.where(rows[:, None] < 0, 0, table).astype(np.float32)


@cache
def _window() -> Float32[np.ndarray, " 320"]:
    return np.hanning(FRAME + 1)[:FRAME].astype(np.float32)


def _init_layer(config: ConformerConfig, key: PRNGKeyArray) -> ConformerLayer:
    W, residual = config.width, (4 * max(config.layers, 1)) ** -0.5
    keys = iter(jax.random.split(key, 12))
    ones = jnp.ones(W, jnp.float32)

    def matrix_of(*shape: int, scale: float = 1.0) -> Clipped:
        return clipped(next(keys), *shape, bounded=config.clipped, scale=scale)

    def half_step() -> HalfStep:
        return HalfStep(ones, matrix_of(W, 4 * W), matrix_of(4 * W, W, scale=residual), ones)

    return ConformerLayer(
        first=half_step(),
        attention_norm=ones,
        wq=matrix_of(W, W),
        wk=matrix_of(W, W),
        wv=matrix_of(W, W),
        distances=matrix(next(keys), W, W),
        scale=jnp.zeros(W // config.heads, jnp.float32),
        wo=matrix_of(W, W, scale=residual),
        attention_post_norm=ones,
        mix_norm=ones,
        mix_in=matrix_of(W, 2 * W),
        kernel=matrix(next(keys), config.kernel, W),
        kernel_norm=ones,
        mix_out=matrix_of(W, W, scale=residual),
        last=half_step(),
        norm=ones,
    )
