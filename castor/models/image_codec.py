"""Pictures out: pixels to discrete ids and back, by finite scalar quantisation.

Convolutions see to detail, transformer layers on the grid of patches to the whole picture.
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

from castor.core.ranges import AMOUNT, COUNT
from castor.models.attention import attend
from castor.models.encoder import EncoderBlock, init_encoder_block
from castor.models.layers import (
    geglu,
    gelu,
    matrix,
    normed_products,
    product,
    recomputed,
    rms_norm,
    rotate,
)
from castor.models.layout import scanned


@dataclass(frozen=True)
class CodecConfig:
    """The shape of a codec. Each patch of a picture becomes one of `codes` ids.

    Raises:
        ValueError: a number is out of its range, the patch is odd, a dimension has fewer than 2
            levels, or the heads cannot share the width.
    """

    patch: int = 8  # pixels along a side of one patch: 8 is f8, 16 is f16
    levels: tuple[int, ...] = (8, 5, 5, 5)  # 1,000 codes
    fine: int = 64  # channels of the fine grid, of half patches
    width: int = 128  # channels of the grid of patches
    heads: int = 4
    # Residual convolutions: encoder, fine grid then patches; decoder, patches then fine grid.
    blocks: tuple[int, int, int, int] = (1, 2, 2, 2)
    encoder_layers: int = 1  # of transformers on the grid of patches, after its convolutions
    decoder_layers: int = 2  # and before them
    side: int = 64  # pixels along the sides of the pictures it is trained on; any others work

    def __post_init__(self) -> None:
        COUNT.check(self, "fine", "width", "heads", "side")
        AMOUNT.check(self, "blocks", "encoder_layers", "decoder_layers")
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels={self.levels}: every dimension needs at least 2 levels")
        if self.codes >= 2**31:
            raise ValueError(f"levels={self.levels} make {self.codes:,} codes; ids have 32 bits")
        if self.patch < 2 or self.patch % 2:
            raise ValueError(f"patch={self.patch} must be even: the fine grid has half patches")
        if self.width % (4 * self.heads):
            raise ValueError(f"width={self.width} is not a multiple of 4 * heads={4 * self.heads}")
        if self.side % self.patch:
            raise ValueError(f"side={self.side} is not a multiple of patch={self.patch}")

    @property
    def codes(self) -> int:
        """How many different ids there are."""
        return math.prod(self.levels)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConvBlock:
    """A residual convolution; in a Codec every leaf is stacked over the blocks of its grid."""

    norm: Array  # [c]
    around: Array  # [3*3*c, c]
    mix: Array  # [c, c]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Encoder:
    """Pixels to vectors of levels."""

    stem: Array  # [3*3*pixels of a half patch*3, fine]
    fine: ConvBlock
    join: Array  # [2*2*fine, W]
    patches: ConvBlock
    layers: EncoderBlock
    norm: Array  # [W]
    to_levels: Array  # [W, d]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Painter:
    """Vectors of levels to pixels."""

    from_levels: Array  # [3*3*d, W]
    layers: EncoderBlock
    patches: ConvBlock
    part: Array  # [W, 2*2*fine]
    fine: ConvBlock
    norm: Array  # [fine]
    head: Array  # [3*3*fine, pixels of a half patch*3]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Codec:
    """Weights of both directions."""

    encoder: Encoder
    painter: Painter


class Reconstruction(NamedTuple):
    """What came back, and the ids that it came from."""

    pixels: Float32[Array, "n s t 3"]  # 0 = black, 1 = white; may lie a little outside
    codes: Int32[Array, "n h w"]


def init_codec(config: CodecConfig, key: PRNGKeyArray) -> Codec:
    """Fresh float32 weights."""
    keys = iter(jax.random.split(key, 12))
    W, fine, d = config.width, config.fine, len(config.levels)
    values = (config.patch // 2) ** 2 * 3
    zeros = partial(jnp.zeros, dtype=jnp.float32)
    encoder = Encoder(
        stem=matrix(next(keys), 9 * values, fine),
        fine=_init_convs(fine, config.blocks[0], next(keys)),
        join=matrix(next(keys), 4 * fine, W),
        patches=_init_convs(W, config.blocks[1], next(keys)),
        layers=_init_layers(W, config.encoder_layers, next(keys)),
        norm=zeros(W),
        to_levels=matrix(next(keys), W, d),
    )
    painter = Painter(
        from_levels=matrix(next(keys), 9 * d, W),
        layers=_init_layers(W, config.decoder_layers, next(keys)),
        patches=_init_convs(W, config.blocks[2], next(keys)),
        part=matrix(next(keys), W, 4 * fine),
        fine=_init_convs(fine, config.blocks[3], next(keys)),
        norm=zeros(fine),
        head=matrix(next(keys), 9 * fine, values, scale=0.2),
    )
    return Codec(encoder, painter)


@partial(jax.jit, static_argnames="config")
def encode_pictures(
    codec: Codec, pixels: UInt8[Array | np.ndarray, "n s t 3"], *, config: CodecConfig
) -> Int32[Array, "n h w"]:
    """The ids of pictures, one per patch, row by row.

    Raises:
        ValueError: a side is not a multiple of the patch.
    """
    return codes_of(jnp.round(_bounded(codec, pixels, config=config)), levels=config.levels)


@partial(jax.jit, static_argnames="config")
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
    height, width = pixels.shape[1:3]
    if height % config.patch or width % config.patch:
        raise ValueError(
            f"a {width} x {height} picture has no whole number of {config.patch} pixel patches"
        )
    net = codec.encoder
    x = jnp.asarray(pixels).astype(net.stem.dtype) / 127.5 - 1
    x = convolve_around(_fold(x, config.patch // 2), net.stem)
    x = _convs(net.fine, x)
    x = _each(_fold(x, 2), net.join)
    x = _convs(net.patches, x)
    x = _look_around(net.layers, x, heads=config.heads)
    z = _each(rms_norm(x, net.norm), net.to_levels).astype(jnp.float32)
    L = np.array(config.levels, np.float32)[None, None, None]
    half, shift = (L - 1) / 2 * 1.001, (L % 2 == 0) * np.float32(0.5)
    lean = np.arctanh(shift / half)  # so that z = 0 gives level 0
    return jnp.tanh(z + lean) * half - shift


def _paint(
    codec: Codec, vectors: Float32[Array, "n h w d"], *, config: CodecConfig
) -> Float32[Array, "n s t 3"]:
    net = codec.painter
    scale = np.array([L // 2 for L in config.levels], np.float32)[None, None, None]
    x = convolve_around((vectors / scale).astype(net.head.dtype), net.from_levels)
    x = _look_around(net.layers, x, heads=config.heads)
    x = _convs(net.patches, x)
    x = _unfold(_each(x, net.part), 2)
    x = _convs(net.fine, x)
    values = convolve_around(rms_norm(x, net.norm), net.head)
    return 0.5 + 0.5 * _unfold(values, config.patch // 2).astype(jnp.float32)


def _fold(x: Float[Array, "n s t c"], side: int) -> Float[Array, "n h w C"]:
    """Squares of side x side pixels, each as one long vector."""
    n, s, t, c = x.shape
    x = x.reshape(n, s // side, side, t // side, side, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, s // side, t // side, side * side * c)


def _unfold(x: Float[Array, "n h w C"], side: int) -> Float[Array, "n s t c"]:
    n, h, w, C = x.shape
    x = x.reshape(n, h, w, side, side, C // side**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h * side, w * side, C // side**2)


def _each(x: Float[Array, "n h w a"], weights: Float[Array, "a b"]) -> Float[Array, "n h w b"]:
    return product(x.reshape(-1, x.shape[-1]), weights).reshape(*x.shape[:-1], -1)


def convolve_around(
    x: Float[Array, "n h w a"], weights: Float[Array, "A b"]
) -> Float[Array, "n h w b"]:
    """A 3 x 3 convolution, rows of weights by (y, x, channel); zeros stand around the picture.

    Columns are gathered before one product and rows are added after it: on a CPU this takes 0.6 of
    the time of gathering all nine neighbours.
    """
    a, b = x.shape[-1], weights.shape[1]
    wide = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
    beside = jnp.concatenate([wide[:, :, j : j + x.shape[2]] for j in range(3)], axis=-1)
    kernel = weights.reshape(3, 3, a, b).transpose(1, 2, 0, 3).reshape(3 * a, 3 * b)
    rows = jnp.pad(_each(beside, kernel), ((0, 0), (1, 1), (0, 0), (0, 0))).astype(jnp.float32)
    above, here, below = rows[:, :-2, :, :b], rows[:, 1:-1, :, b : 2 * b], rows[:, 2:, :, 2 * b :]
    return (above + here + below).astype(x.dtype)


def _convs(blocks: ConvBlock, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    for i in range(blocks.norm.shape[0]):  # a scan would copy what the backward pass needs
        block = jax.tree.map(lambda leaf, i=i: leaf[i], blocks)
        x = x + _each(gelu(convolve_around(rms_norm(x, block.norm), block.around)), block.mix)
    return x


def _look_around(
    blocks: EncoderBlock, x: Float[Array, "n h w W"], *, heads: int
) -> Float[Array, "n h w W"]:
    """Transformer layers over each picture; half of each head turns with x, half with y."""
    n, h, w, W = x.shape
    rows, columns = np.divmod(np.arange(h * w, dtype=np.int32), np.int32(w))
    rows, columns = (jnp.broadcast_to(v[None], (n, h * w)) for v in (rows, columns))
    mask = jnp.ones((n, h * w, h * w), bool)

    @recomputed
    def turn(v: Array) -> Array:
        left, right = jnp.split(v, 2, axis=-1)
        left, right = rotate(left, columns, base=100.0), rotate(right, rows, base=100.0)
        return jnp.concatenate([left, right], axis=-1)

    def layer(flat: Array, block: EncoderBlock) -> tuple[Array, None]:
        (qkv,) = normed_products(flat, block.attention_norm, block.wqkv)
        q, k, v = jnp.split(qkv.reshape(n, h * w, 3 * heads, W // heads), 3, axis=2)
        mixed = attend(turn(q), turn(k), v, mask=mask).reshape(-1, W)
        flat = flat + product(mixed, block.wo)
        flat = flat + geglu(flat, block.mlp_norm, block.gate, block.up, block.down)
        return flat, None

    flat, _ = scanned(layer, x.reshape(-1, W), blocks)
    return flat.reshape(x.shape)


def _init_layers(width: int, layers: int, key: PRNGKeyArray) -> EncoderBlock:
    init = partial(init_encoder_block, width, layers)
    return jax.vmap(init)(jax.random.split(key, layers))


def _init_convs(channels: int, blocks: int, key: PRNGKeyArray) -> ConvBlock:
    around, mix = jax.random.split(key)
    return ConvBlock(
        norm=jnp.zeros((blocks, channels), jnp.float32),
        around=matrix(around, blocks, 9 * channels, channels),
        mix=matrix(mix, blocks, channels, channels, scale=0.5),
    )
