"""Sound in: 16 kHz samples to log-mel windows on the host, windows to slot states on the device.

One slot stands for 40 ms. Its window holds exactly the seven mel frames that its two convolutions
reach, so packing sounds side by side changes nothing.
"""

from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int, PRNGKeyArray

from castor.core.batch import Signal, Slots
from castor.models.attention import attend
from castor.models.layers import gelu, lookup, matrix, product, rms_norm, rotate
from castor.models.layout import scanned
from castor.models.sizes import AudioConfig

RATE = 16_000  # samples a second [report]
FRAME, HOP, FFT = 400, 160, 512  # 25 ms every 10 ms
LOW_HZ, HIGH_HZ = 60.0, 7600.0
STRIDE, REACH = 4, 7  # mel frames from one slot to the next, and in one slot's window
SILENCE = -1.0  # the value of a frame 60 dB or more below the loudest


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Conformer:
    """One layer of attention and convolution between two half-steps of feed-forward.

    Paper: Gulati et al. 2020, arXiv:2005.08100; USM, Zhang et al. 2023, arXiv:2303.01037.
    """

    first_norm: Array  # [W]
    first_up: Array  # [W, 4W]
    first_down: Array  # [4W, W]
    attention_norm: Array  # [W]
    wqkv: Array  # [W, 3W]
    wo: Array  # [W, W]
    mix_norm: Array  # [W]
    mix_in: Array  # [W, 2W]
    kernel: Array  # [5, W]
    mix_out: Array  # [W, W]
    last_norm: Array  # [W]
    last_up: Array  # [W, 4W]
    last_down: Array  # [4W, W]
    norm: Array  # [W]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AudioEncoder:
    """Mel windows to slot states."""

    first: Array  # [3*3*1, C0]
    second: Array  # [3*3*C0, C1]
    stem: Array  # [mels/4*C1, W]
    table: Array  # [slots, W]
    blocks: Conformer  # leaves are [layers, ...]
    norm: Array  # [W]
    out: Array  # [W, D]


def log_mel(samples: Float32[np.ndarray, " n"], *, mels: int) -> Float32[np.ndarray, "F mels"]:
    """Log-mel energies, one frame per 10 ms, from -1 (60 dB below the loudest) to 1."""
    count = max(1, 1 + (len(samples) - FRAME) // HOP)
    padded = np.zeros(max(len(samples), FRAME + (count - 1) * HOP), np.float32)
    padded[: len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP][:count]
    spectrum = np.fft.rfft(frames * _window(), FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    level = np.log10(np.maximum(power @ mel_filters(mels), 1e-10))
    top = level.max()
    return ((np.maximum(level, top - 6) - top) / 3 + 1).astype(np.float32)


@cache
def mel_filters(
    mels: int, *, low_hz: float = LOW_HZ, high_hz: float = HIGH_HZ
) -> Float32[np.ndarray, "bins mels"]:
    """Triangles of equal width on the HTK mel scale, unit height."""
    edges = np.linspace(_mel(low_hz), _mel(high_hz), mels + 2)
    hz = 700 * (10 ** (edges / 2595) - 1)
    bins = np.arange(FFT // 2 + 1)[:, None] * RATE / FFT
    left, centre, right = hz[None, :-2], hz[None, 1:-1], hz[None, 2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def cut(samples: Float32[np.ndarray, " n"], *, config: AudioConfig) -> Signal:
    """Sound as windows of mel frames, one per slot; what is past the most slots is left out."""
    return windows(log_mel(samples, mels=config.mels), config=config)


def windows(mel: Float32[np.ndarray, "F mels"], *, config: AudioConfig) -> Signal:
    """Mel frames as windows, one per slot."""
    count = min(-(-len(mel) // STRIDE), config.slots)
    before = REACH // 2
    after = max(0, count * STRIDE + REACH - before - len(mel))
    wide = np.pad(mel, ((before, after), (0, 0)), constant_values=SILENCE)
    views = np.lib.stride_tricks.sliding_window_view(wide, REACH, axis=0)[::STRIDE][:count]
    values = np.ascontiguousarray(views.transpose(0, 2, 1)).astype(np.float16)
    time = np.arange(count, dtype=np.int32)
    return Signal("audio", values, np.stack([np.zeros_like(time), time], axis=1))


def init_audio(config: AudioConfig, width: int, key: PRNGKeyArray) -> AudioEncoder:
    """Fresh weights of an encoder that feeds a decoder of this width."""
    first, second, stem, table, blocks, out = jax.random.split(key, 6)
    narrow, wide = config.channels
    init = partial(_init_conformer, config)
    return AudioEncoder(
        first=matrix(first, 9, narrow),
        second=matrix(second, 9 * narrow, wide),
        stem=matrix(stem, config.mels // 4 * wide, config.width),
        table=0.02 * jax.random.normal(table, (config.slots, config.width), jnp.float32),
        blocks=jax.vmap(init)(jax.random.split(blocks, config.layers)),
        norm=jnp.zeros(config.width, jnp.float32),
        out=matrix(out, config.width, width),
    )


def encode_audio(
    encoder: AudioEncoder, slots: Slots, *, config: AudioConfig
) -> Float[Array, "B M D"]:
    """The states that fill a row's audio slots; unused slots hold values nobody reads."""
    B, M = slots.values.shape[:2]
    dtype = encoder.norm.dtype
    x = jnp.asarray(slots.values).reshape(B * M, REACH, config.mels, 1).astype(dtype)
    x = gelu(_convolve(x, encoder.first))
    x = gelu(_convolve(x, encoder.second))
    times = jnp.asarray(slots.places[..., 1]).reshape(-1)
    x = product(x.reshape(B * M, -1), encoder.stem) + lookup(encoder.table, times)
    x = _conform(encoder.blocks, x.reshape(B, M, -1), slots, heads=config.heads)
    return product(rms_norm(x.reshape(B * M, -1), encoder.norm), encoder.out).reshape(B, M, -1)


def _convolve(
    x: Float[Array, "R t m c"], weights: Float[Array, "9*c o"]
) -> Float[Array, "R t2 m2 o"]:
    """3 by 3, stride 2: no padding over time, one bin of padding below over the mel bins."""
    times, bins = (x.shape[1] - 1) // 2, x.shape[2] // 2
    wide = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))
    patches = jnp.concatenate(
        [
            wide[:, i : i + 2 * times - 1 : 2, j : j + 2 * bins - 1 : 2]
            for i in range(3)
            for j in range(3)
        ],
        axis=-1,
    )
    flat = product(patches.reshape(-1, weights.shape[0]), weights)
    return flat.reshape(x.shape[0], times, bins, -1)


def _init_conformer(config: AudioConfig, key: PRNGKeyArray) -> Conformer:
    W, residual = config.width, (4 * max(config.layers, 1)) ** -0.5
    keys = jax.random.split(key, 9)
    zeros = jnp.zeros(W, jnp.float32)
    return Conformer(
        first_norm=zeros,
        first_up=matrix(keys[0], W, 4 * W),
        first_down=matrix(keys[1], 4 * W, W, scale=residual),
        attention_norm=zeros,
        wqkv=matrix(keys[2], W, 3 * W),
        wo=matrix(keys[3], W, W, scale=residual),
        mix_norm=zeros,
        mix_in=matrix(keys[4], W, 2 * W),
        kernel=matrix(keys[5], 5, W),
        mix_out=matrix(keys[6], W, W, scale=residual),
        last_norm=zeros,
        last_up=matrix(keys[7], W, 4 * W),
        last_down=matrix(keys[8], 4 * W, W, scale=residual),
        norm=zeros,
    )


def _conform(
    blocks: Conformer, x: Float[Array, "B M W"], slots: Slots, *, heads: int
) -> Float[Array, "B M W"]:
    owners = jnp.asarray(slots.blocks)
    mask = (owners[:, :, None] == owners[:, None, :]) & (owners[:, :, None] > 0)
    times = jnp.asarray(slots.places[..., 1])
    B, M, W = x.shape

    def layer(x: Array, block: Conformer) -> tuple[Array, None]:
        x = x + 0.5 * _feed(x, block.first_norm, block.first_up, block.first_down)
        qkv = product(rms_norm(x, block.attention_norm).reshape(B * M, W), block.wqkv)
        q, k, v = jnp.split(qkv.reshape(B, M, 3 * heads, W // heads), 3, axis=2)
        q, k = rotate(q, times, base=10_000.0), rotate(k, times, base=10_000.0)
        mixed = attend(q, k, v, mask=mask).reshape(B * M, W)
        x = x + product(mixed, block.wo).reshape(B, M, W)
        x = x + _mix(block, x, owners)
        x = x + 0.5 * _feed(x, block.last_norm, block.last_up, block.last_down)
        return rms_norm(x, block.norm), None

    return scanned(layer, x, blocks)[0]


def _mix(
    block: Conformer, x: Float[Array, "B M W"], owners: Int[Array, "B M"]
) -> Float[Array, "B M W"]:
    """A gated depthwise convolution over five slots that never crosses into another sound."""
    B, M, W = x.shape
    gated = jax.nn.glu(product(rms_norm(x, block.mix_norm).reshape(B * M, W), block.mix_in))
    wide = jnp.pad(gated.reshape(B, M, W), ((0, 0), (2, 2), (0, 0)))
    around = jnp.pad(owners, ((0, 0), (2, 2)))
    total = jnp.zeros_like(x)
    for i in range(5):
        same = (around[:, i : i + M] == owners)[:, :, None]
        total = total + jnp.where(same, wide[:, i : i + M], 0) * block.kernel[i][None, None, :]
    return product(jax.nn.silu(total).reshape(B * M, W), block.mix_out).reshape(B, M, W)


def _feed(
    x: Float[Array, "B M W"],
    norm: Float[Array, " W"],
    up: Float[Array, "W F"],
    down: Float[Array, "F W"],
) -> Float[Array, "B M W"]:
    flat = rms_norm(x, norm).reshape(-1, x.shape[-1])
    return product(jax.nn.silu(product(flat, up)), down).reshape(x.shape)


def _mel(hz: float) -> float:
    return 2595 * np.log10(1 + hz / 700)


@cache
def _window() -> Float32[np.ndarray, " 400"]:
    return np.hanning(FRAME + 1)[:FRAME].astype(np.float32)
