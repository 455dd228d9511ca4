"""Pictures out: pixels to discrete ids and back, transformers around finite scalar quantisation.

Invariant: every id stands for exactly one vector of levels, and that vector for exactly that id.
Any picture whose sides are multiples of the patch can be coded; one id stands for one patch.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int32, PRNGKeyArray, UInt8

from castor.models.attention import attend
from castor.models.encoder import EncoderBlock, init_encoder_block
from castor.models.layers import geglu, matrix, product, rms_norm, rotate


@dataclass(frozen=True)
class CodecConfig:
    """The shape of a codec. Each patch of a picture becomes one of `codes` ids.

    Raises:
        ValueError: fewer than 2 levels, a halo wider than the patch, or a width that the heads
            cannot share.
    """

    patch: int = 8  # pixels along a side of one patch: 8 is f8, 16 is f16
    halo: int = 4  # pixels around a patch that its code also sees and paints
    levels: tuple[int, ...] = (8, 5, 5, 5)  # 1,000 codes
    width: int = 192
    heads: int = 3
    encoder_layers: int = 2
    decoder_layers: int = 4
    side: int = 64  # pixels along the sides of the pictures it is trained on; any others work

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels={self.levels}: every dimension needs at least 2 levels")
        if not 0 <= self.halo <= self.patch:
            raise ValueError(f"halo={self.halo} is not between 0 and patch={self.patch}")
        if self.width % (4 * self.heads):
            raise ValueError(f"width={self.width} is not a multiple of 4 * heads={4 * self.heads}")
        if self.side % self.patch:
            raise ValueError(f"side={self.side} is not a multiple of patch={self.patch}")

    @property
    def codes(self) -> int:
        """How many different ids there are."""
        return math.prod(self.levels)

    @property
    def span(self) -> int:
        """Pixels along a side of the window of one patch."""
        return self.patch + 2 * self.halo


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Codec:
    """Weights of both directions; the leaves of the blocks are stacked over the layers."""

    stem: Array  # [span*span*3, W]
    encoder: EncoderBlock
    encoder_norm: Array  # [W]
    to_levels: Array  # [W, number of levels]
    from_levels: Array  # [number of levels, W]
    decoder: EncoderBlock
    decoder_norm: Array  # [W]
    head: Array  # [W, span*span*3]


class Reconstruction(NamedTuple):
    """What came back, and the ids that it came from."""

    pixels: Float32[Array, "n s t 3"]  # 0 = black, 1 = white; may lie a little outside
    codes: Int32[Array, "n h w"]


def init_codec(config: CodecConfig, key: PRNGKeyArray) -> Codec:
    """Fresh float32 weights."""
    stem, encoder, to, back, decoder, head = jax.random.split(key, 6)
    W, values = config.width, config.span**2 * 3
    return Codec(
        stem=matrix(stem, values, W),
        encoder=_init_blocks(W, config.encoder_layers, encoder),
        encoder_norm=jnp.zeros(W, jnp.float32),
        to_levels=matrix(to, W, len(config.levels)),
        from_levels=matrix(back, len(config.levels), W),
        decoder=_init_blocks(W, config.decoder_layers, decoder),
        decoder_norm=jnp.zeros(W, jnp.float32),
        head=matrix(head, W, values, scale=0.1),
    )


def encode_pictures(
    codec: Codec, pixels: UInt8[Array | np.ndarray, "n s t 3"], *, config: CodecConfig
) -> Int32[Array, "n h w"]:
    """The ids of pictures, one per patch, row by row.

    Raises:
        ValueError: a side is not a multiple of the patch.
    """
    return codes_of(jnp.round(_bounded(codec, pixels, config=config)), levels=config.levels)


def decode_pictures(
    codec: Codec, codes: Int32[Array | np.ndarray, "n h w"], *, config: CodecConfig
) -> UInt8[Array, "n s t 3"]:
    """The pictures that ids stand for."""
    vectors = levels_of(jnp.asarray(codes), levels=config.levels)
    pixels = _paint(codec, vectors, config=config)
    return jnp.round(jnp.clip(pixels, 0, 1) * 255).astype(jnp.uint8)


def reconstruct(
    codec: Codec, pixels: UInt8[Array | np.ndarray, "n s t 3"], *, config: CodecConfig
) -> Reconstruction:
    """Pictures there and back. Gradients pass the rounding unchanged (straight through).

    Raises:
        ValueError: a side is not a multiple of the patch.
    """
    bounded = _bounded(codec, pixels, config=config)
    vectors = bounded + jax.lax.stop_gradient(jnp.round(bounded) - bounded)
    codes = codes_of(jax.lax.stop_gradient(vectors), levels=config.levels)
    return Reconstruction(_paint(codec, vectors, config=config), codes)


def codes_of(
    vectors: Float32[Array, "*grid d"], *, levels: tuple[int, ...]
) -> Int32[Array, "*grid"]:
    """The id of vectors of whole levels: digits of a number in mixed radix, the first lowest.

    Levels are centred: L of them run from -(L // 2) to (L - 1) // 2.
    Paper: Mentzer et al. 2023, arXiv:2309.15505, section 3.1.
    """
    digits = jnp.round(vectors).astype(jnp.int32)
    code = jnp.zeros(vectors.shape[:-1], jnp.int32)
    for i in reversed(range(len(levels))):
        code = code * levels[i] + digits[..., i] + levels[i] // 2
    return code


def levels_of(
    codes: Int32[Array, "*grid"], *, levels: tuple[int, ...]
) -> Float32[Array, "*grid d"]:
    """The vector of levels of ids: the exact inverse of `codes_of`."""
    digits, rest = [], codes
    for L in levels:
        digits.append(rest % L - L // 2)
        rest = rest // L
    return jnp.stack(digits, axis=-1).astype(jnp.float32)


def _bounded(
    codec: Codec, pixels: UInt8[Array | np.ndarray, "n s t 3"], *, config: CodecConfig
) -> Float32[Array, "n h w d"]:
    """The encoder's output, squeezed so that rounding it can only give the levels there are."""
    n, s, t, _ = pixels.shape
    if s % config.patch or t % config.patch:
        raise ValueError(f"a {t} x {s} picture has no whole number of {config.patch} pixel patches")
    h, w = s // config.patch, t // config.patch
    dtype = codec.stem.dtype
    flat = product(
        _windows(jnp.asarray(pixels).astype(dtype) / 127.5 - 1, config=config), codec.stem
    )
    flat = _look_around(codec.encoder, flat, grid=(n, h, w), heads=config.heads)
    z = (rms_norm(flat, codec.encoder_norm) @ codec.to_levels).astype(jnp.float32)
    L = np.array(config.levels, np.float32)
    half, shift = (L - 1) / 2 * 1.001, (L % 2 == 0) * np.float32(0.5)
    lean = np.arctanh(shift / half)  # so that z = 0 gives level 0
    return (jnp.tanh(z + lean[None]) * half[None] - shift[None]).reshape(n, h, w, -1)


def _paint(
    codec: Codec, vectors: Float32[Array, "n h w d"], *, config: CodecConfig
) -> Float32[Array, "n s t 3"]:
    n, h, w, d = vectors.shape
    scale = np.array([L // 2 for L in config.levels], np.float32)
    unit = (vectors / scale[None, None, None]).reshape(-1, d).astype(codec.head.dtype)
    flat = unit @ codec.from_levels
    flat = _look_around(codec.decoder, flat, grid=(n, h, w), heads=config.heads)
    values = product(rms_norm(flat, codec.decoder_norm), codec.head)
    windows = values.reshape(n, h, w, config.span, config.span, 3).astype(jnp.float32)
    return 0.5 + 0.5 * _overlay(windows, config=config)


def _windows(pixels: Float[Array, "n s t 3"], *, config: CodecConfig) -> Float[Array, "R V"]:
    """The window of each patch; beyond its edge the picture repeats its last pixel."""
    p, span = config.patch, config.span
    n, h, w = pixels.shape[0], pixels.shape[1] // p, pixels.shape[2] // p
    pad = (config.halo, config.halo)
    wide = jnp.pad(pixels, ((0, 0), pad, pad, (0, 0)), mode="edge")
    rows = np.arange(h)[:, None] * p + np.arange(span)[None]
    columns = np.arange(w)[:, None] * p + np.arange(span)[None]
    cut = wide[:, rows][:, :, :, columns]  # [n, h, span, w, span, 3]
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(n * h * w, -1)


def _overlay(
    windows: Float32[Array, "n h w span span 3"], *, config: CodecConfig
) -> Float32[Array, "n s t 3"]:
    """The sum of all windows, each in its place: neighbours blend across the patches' edges."""
    n, h, w = windows.shape[:3]
    x = _fold(windows.transpose(0, 2, 4, 5, 1, 3), config=config)  # [n, w, span, 3, s]
    x = _fold(x.transpose(0, 4, 3, 1, 2), config=config)  # [n, s, 3, t]
    return x.transpose(0, 1, 3, 2)


def _fold(x: Float32[Array, "*lead k span"], *, config: CodecConfig) -> Float32[Array, "*lead kp"]:
    """One axis of `_overlay`: [k, span] windows to k * patch pixels."""
    p, halo, k = config.patch, config.halo, x.shape[-2]
    lead = [(0, 0)] * (x.ndim - 2)
    middle = x[..., halo : halo + p]
    after = jnp.pad(x[..., :-1, halo + p :], [*lead, (1, 0), (0, p - halo)])
    before = jnp.pad(x[..., 1:, :halo], [*lead, (0, 1), (p - halo, 0)])
    return (middle + after + before).reshape(*x.shape[:-2], k * p)


def _init_blocks(width: int, layers: int, key: PRNGKeyArray) -> EncoderBlock:
    init = partial(init_encoder_block, width, layers)
    return jax.vmap(init)(jax.random.split(key, layers))


def _look_around(
    blocks: EncoderBlock, flat: Float[Array, "R W"], *, grid: tuple[int, int, int], heads: int
) -> Float[Array, "R W"]:
    """Transformer layers over each picture; half of each head turns with x, half with y."""
    (n, h, w), W = grid, flat.shape[1]
    y, x = np.divmod(np.arange(h * w, dtype=np.int32), np.int32(w))
    x, y = (jnp.broadcast_to(v[None], (n, h * w)) for v in (x, y))
    mask = jnp.ones((n, h * w, h * w), bool)

    def turn(v: Array) -> Array:
        left, right = jnp.split(v, 2, axis=-1)
        return jnp.concatenate([rotate(left, x, base=100.0), rotate(right, y, base=100.0)], -1)

    def layer(flat: Array, block: EncoderBlock) -> tuple[Array, None]:
        qkv = product(rms_norm(flat, block.attention_norm), block.wqkv)
        q, k, v = jnp.split(qkv.reshape(n, h * w, 3 * heads, W // heads), 3, axis=2)
        mixed = attend(turn(q), turn(k), v, mask=mask).reshape(-1, W)
        flat = flat + product(mixed, block.wo)
        flat = flat + geglu(rms_norm(flat, block.mlp_norm), block.gate, block.up, block.down)
        return flat, None

    flat, _ = jax.lax.scan(layer, flat, blocks)
    return flat
