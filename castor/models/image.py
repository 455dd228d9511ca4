"""Pictures in: pixels to windows on the host, windows to slot states on the device.

A picture keeps its aspect and takes a number of slots that follows its size. Every slot is
computed from its own window of pixels, so packing pictures side by side changes nothing.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray, UInt8
from PIL import Image

from castor.core.batch import Signal, Slots
from castor.models.encoder import EncoderBlock, init_encoder_block, look_around
from castor.models.layers import gelu, lookup, matrix, product, rms_norm
from castor.models.sizes import ImageConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Stem:
    """Two convolutions over a window, a residual mix of channels, and a linear map to the width."""

    first: Array  # [3*3*12, C0]
    second: Array  # [4*4*C0, C1]
    mix: Array  # [C1, C1]
    out: Array  # [positions*C1, W]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ImageEncoder:
    """Windows to slot states; `stem` is one matrix where a model is encoder-free."""

    stem: Stem | Array
    x_table: Array  # [side*pool, W]
    y_table: Array  # [side*pool, W]
    blocks: EncoderBlock  # leaves are [layers, ...]
    norm: Array  # [W]
    out: Array  # [W, D]


def grid(
    height: int, width: int, *, config: ImageConfig, budget: int | None = None
) -> tuple[int, int]:
    """Rows and columns of slots for a picture of this many pixels.

    One slot stands for `detail`² pixels, with at least `least` slots and at most `budget`
    (`config.slots` unless given), shared between the sides so as to keep the aspect.

    Raises:
        ValueError: the budget is below 1.
    """
    most = config.slots if budget is None else budget
    if most < 1:
        raise ValueError(f"a picture takes at least 1 slot; the budget given is {most}")
    wanted = height * width / config.detail**2
    count = min(max(wanted, config.least), most)
    rows = min(max(1.0, (count * height / width) ** 0.5), config.side, count)
    columns = min(max(1.0, count / rows), config.side)
    down, across = round(rows), round(columns)
    while down * across > most:  # rounding both sides up may pass the budget
        down, across = (down - 1, across) if down >= across else (down, across - 1)
    return down, across


def cut(
    pixels: UInt8[np.ndarray, "h w 3"], *, config: ImageConfig, budget: int | None = None
) -> Signal:
    """A picture as windows, one per slot, each with `halo` more pixels of its neighbours around."""
    down, across = grid(*pixels.shape[:2], config=config, budget=budget)
    cell, k, halo = config.patch * config.pool, config.pool, config.halo
    size = (across * cell, down * cell)
    if pixels.shape[:2] != size[::-1]:
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
        pixels = np.asarray(picture)
    wide = np.pad(pixels, ((halo, halo), (halo, halo), (0, 0)), mode="edge")
    span = config.patch + 2 * halo
    views = np.lib.stride_tricks.sliding_window_view(wide, (span, span), axis=(0, 1))
    views = views[:: config.patch, :: config.patch]  # [down*k, across*k, 3, span, span]
    tiles = views.reshape(down, k, across, k, 3, span, span).transpose(0, 2, 1, 3, 5, 6, 4)
    values = np.ascontiguousarray(tiles).reshape(down * across, k * k, span, span, 3)
    y, x = np.divmod(np.arange(down * across, dtype=np.int32), np.int32(across))
    return Signal("image", values, np.stack([x, y], axis=1))


def init_image(config: ImageConfig, width: int, key: PRNGKeyArray) -> ImageEncoder:
    """Fresh weights of an encoder that feeds a decoder of this width."""
    stem, tables, blocks, out = jax.random.split(key, 4)
    sides = config.side * config.pool
    x, y = 0.02 * jax.random.normal(tables, (2, sides, config.width), jnp.float32)
    init = partial(init_encoder_block, config.width, config.layers)
    return ImageEncoder(
        stem=_init_stem(config, stem),
        x_table=x,
        y_table=y,
        blocks=jax.vmap(init)(jax.random.split(blocks, config.layers)),
        norm=jnp.zeros(config.width, jnp.float32),
        out=matrix(out, config.width, width),
    )


def encode_image(
    encoder: ImageEncoder, slots: Slots, *, config: ImageConfig
) -> Float[Array, "B M D"]:
    """The states that fill a row's image slots; unused slots hold values nobody reads."""
    B, M, k2 = slots.values.shape[:3]
    dtype = encoder.norm.dtype
    windows = jnp.asarray(slots.values).reshape(B * M * k2, *slots.values.shape[3:])
    x = _stem(encoder.stem, (windows.astype(dtype) - 127.5) / 127.5)
    fine = jnp.arange(k2, dtype=jnp.int32)[None, None, :]
    places = jnp.asarray(slots.places)[:, :, None, :] * config.pool
    x_places = (places[..., 0] + fine % config.pool).reshape(-1)
    y_places = (places[..., 1] + fine // config.pool).reshape(-1)
    x = x + lookup(encoder.x_table, x_places) + lookup(encoder.y_table, y_places)
    blocks = jnp.repeat(slots.blocks, k2, axis=1)
    x = look_around(encoder.blocks, x.reshape(B, M * k2, -1), blocks, heads=config.heads)
    pooled = x.reshape(B * M, k2, -1).mean(axis=1)
    return product(rms_norm(pooled, encoder.norm), encoder.out).reshape(B, M, -1)


def _init_stem(config: ImageConfig, key: PRNGKeyArray) -> Stem | Array:
    span = config.patch + 2 * config.halo
    if not config.stem:
        return matrix(key, span * span * 3, config.width)
    first, second, mix, out = jax.random.split(key, 4)
    narrow, wide = config.stem
    side = (span // 2 - 2 - 4) // 2 + 1
    return Stem(
        matrix(first, 9 * 12, narrow),
        matrix(second, 16 * narrow, wide),
        matrix(mix, wide, wide),
        matrix(out, side * side * wide, config.width),
    )


def _stem(stem: Stem | Array, windows: Float[Array, "R span span 3"]) -> Float[Array, "R W"]:
    R, span = windows.shape[:2]
    if not isinstance(stem, Stem):
        return product(windows.reshape(R, -1), stem)
    half = span // 2
    folded = windows.reshape(R, half, 2, half, 2, 3).transpose(0, 1, 3, 2, 4, 5)
    x = gelu(convolve(folded.reshape(R, half, half, 12), stem.first, size=3, stride=1))
    x = gelu(convolve(x, stem.second, size=4, stride=2))
    side = x.shape[1]
    flat = x.reshape(R * side * side, -1)
    flat = flat + gelu(product(flat, stem.mix))
    return product(flat.reshape(R, -1), stem.out)


def convolve(
    x: Float[Array, "R h w c"], weights: Float[Array, "kkc o"], *, size: int, stride: int
) -> Float[Array, "R h2 w2 o"]:
    """A convolution without padding, as slices side by side and one two-dimensional product."""
    down, across = ((n - size) // stride + 1 for n in x.shape[1:3])
    reach = [
        slice(i, i + stride * (n - 1) + 1, stride) for n in (down, across) for i in range(size)
    ]
    patches = jnp.concatenate(
        [x[:, rows, columns] for rows in reach[:size] for columns in reach[size:]], axis=-1
    )
    flat = product(patches.reshape(-1, weights.shape[0]), weights)
    return flat.reshape(x.shape[0], down, across, -1)
