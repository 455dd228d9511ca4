"""Pictures cut into patches; and Gemma 4 12B's eyes, which are a projection of each patch.

A picture keeps its aspect, and no patch sees another.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Int32, PRNGKeyArray, Shaped, UInt8
from PIL import Image

from castor.core.batch import Signal, Slots
from castor.models.affine import Affine, LayerNorm, affine, layer_norm
from castor.models.layers import lookup, matrix, product, rms_norm
from castor.models.signals import PatchesConfig

EPSILON = 1e-5  # of its LayerNorms


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PatchesEncoder:
    """Patches to slot states."""

    first_norm: LayerNorm  # [patch*patch*3]
    patches: Affine  # [patch*patch*3, W]
    second_norm: LayerNorm  # [W]
    tables: Array  # [side, 2, W]: of x, and of y
    last_norm: LayerNorm  # [W]
    out: Array  # [W, D]


def grid(height: int, width: int, *, cell: int, most: int, side: int) -> tuple[int, int]:
    """Rows and columns of cells that hold a picture of this many pixels, at about its aspect.

    They are at most so many, and on a `side` at most so many; the picture is made as large as that
    allows. One that is too narrow for two rows of cells gets one, of whole squares.

    Raises:
        ValueError: not even one is allowed.
    """
    if most < 1:
        raise ValueError(f"a picture takes at least 1 slot; the budget given is {most}")
    factor = math.sqrt(most * cell**2 / (height * width))
    down, across = (math.floor(factor * n / cell) for n in (height, width))
    if not down:
        down, across = 1, max(1, width // height)
    elif not across:
        down, across = max(1, height // width), 1
    return min(down, most, side), min(across, most, side)


def resized(
    pixels: UInt8[np.ndarray, "h w 3"], *, size: tuple[int, int], how: Image.Resampling
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture at a size of rows and columns."""
    if pixels.shape[:2] == size:
        return pixels
    down, across = size
    return np.asarray(Image.fromarray(pixels).resize((across, down), how))


def windows(
    pixels: Shaped[np.ndarray, "h w 3"], *, patch: int, pool: int
) -> tuple[Shaped[np.ndarray, "M k2 patch patch 3"], Int32[np.ndarray, "M 2"]]:
    """Slots of pool by pool patches, both row by row, and each slot's x and y."""
    down, across = (n // (patch * pool) for n in pixels.shape[:2])
    tiles = pixels.reshape(down, pool, patch, across, pool, patch, 3)
    tiles = np.ascontiguousarray(tiles.transpose(0, 3, 1, 4, 2, 5, 6))
    y, x = np.divmod(np.arange(down * across, dtype=np.int32), np.int32(across))
    values = tiles.reshape(down * across, pool * pool, patch, patch, 3)
    return values, np.stack([x, y], axis=1)


def cut(
    pixels: UInt8[np.ndarray, "h w 3"], *, config: PatchesConfig, budget: int | None = None
) -> Signal:
    """A picture as patches of one slot each.

    Raises:
        ValueError: the budget is below 1.
    """
    most = config.slots if budget is None else budget
    down, across = grid(*pixels.shape[:2], cell=config.patch, most=most, side=config.side)
    size = down * config.patch, across * config.patch
    pixels = resized(pixels, size=size, how=Image.Resampling.BICUBIC)
    return Signal("image", *windows(pixels, patch=config.patch, pool=1))


def init_patches(config: PatchesConfig, width: int, key: PRNGKeyArray) -> PatchesEncoder:
    """Fresh weights of what feeds a decoder of this width."""
    patches, tables, out = jax.random.split(key, 3)
    inputs = 3 * config.patch**2
    return PatchesEncoder(
        first_norm=layer_norm(inputs),
        patches=affine(patches, inputs, config.width),
        second_norm=layer_norm(config.width),
        tables=0.02 * jax.random.normal(tables, (config.side, 2, config.width), jnp.float32),
        last_norm=layer_norm(config.width),
        out=matrix(out, config.width, width),
    )


def encode_patches(
    encoder: PatchesEncoder, slots: Slots, *, config: PatchesConfig
) -> Float[Array, "B M D"]:
    """The states that fill a row's image slots; unused slots hold values nobody reads."""
    B, M = slots.values.shape[:2]
    x = (jnp.asarray(slots.values).astype(jnp.float32) / 255).astype(encoder.out.dtype)
    x = encoder.first_norm.of(x.reshape(B * M, 3 * config.patch**2), epsilon=EPSILON)
    x = encoder.second_norm.of(product(x, encoder.patches), epsilon=EPSILON)
    across, down = (encoder.tables[:, i] for i in range(2))
    x = x + placed(across, down, jnp.asarray(slots.places).reshape(B * M, 2))
    x = encoder.last_norm.of(x, epsilon=EPSILON)
    return product(rms_norm(x, None), encoder.out).reshape(B, M, -1)


def placed(
    across: Float[Array, "side W"], down: Float[Array, "side W"], places: Int[Array, "R 2"]
) -> Float[Array, "R W"]:
    """What tables of x and of y add at each place."""
    return lookup(across, places[:, 0]) + lookup(down, places[:, 1])


def pool_places(places: Int[Array, "B M 2"], pool: int) -> Int[Array, "B P 2"]:
    """The x and y of every patch of slots that hold pool by pool, row by row."""
    fine = jnp.arange(pool**2, dtype=jnp.int32)
    within = jnp.stack([fine % pool, fine // pool], axis=1)[None, None]
    each = places[:, :, None] * pool + within  # [B, M, k2, 2]
    return each.reshape(places.shape[0], -1, 2)


def centred(values: Array | np.ndarray) -> Float[Array, "..."]:
    """Pixels of 0 to 255 as float32 from -1 to 1."""
    return jnp.asarray(values).astype(jnp.float32) / 127.5 - 1
