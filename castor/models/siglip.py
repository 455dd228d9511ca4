"""Gemma 3's eyes: SigLIP over a square picture, pooled and projected.

Every picture fills the same number of slots, one after another, and sees nothing beside itself.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray, UInt8
from PIL import Image

from castor.core.batch import Signal, Slots
from castor.models.affine import Affine, LayerNorm, affine, layer_norm
from castor.models.encoder import attend_apart
from castor.models.layers import gelu, lookup, matrix, product, rms_norm
from castor.models.layout import scanned
from castor.models.patches import centred, pool_places, resized, windows
from castor.models.signals import SiglipConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SiglipBlock:
    """One layer."""

    attention_norm: LayerNorm  # [W]
    wq: Affine  # [W, W]
    wk: Affine  # [W, W]
    wv: Affine  # [W, W]
    wo: Affine  # [W, W]
    mlp_norm: LayerNorm  # [W]
    up: Affine  # [W, F]
    down: Affine  # [F, W]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SiglipEncoder:
    """Patches to slot states."""

    patches: Affine  # [patch*patch*3, W]
    table: Array  # [side*side, W], row by row
    blocks: SiglipBlock  # leaves are [layers, ...]
    norm: LayerNorm  # [W]
    pooled_norm: Array  # [W]
    out: Array  # [W, D]


def cut(
    pixels: UInt8[np.ndarray, "h w 3"], *, config: SiglipConfig, budget: int | None = None
) -> Signal:
    """A picture as slots of patches: it is stretched to a square.

    Raises:
        ValueError: the budget is below what every picture takes.
    """
    if budget is not None and budget < config.slots:
        raise ValueError(
            f"a picture takes {config.slots} slots of this model; the budget given is {budget}"
        )
    square = resized(pixels, size=(config.pixels, config.pixels), how=Image.Resampling.BILINEAR)
    return Signal("image", *windows(square, patch=config.patch, pool=config.pool))


def init_siglip(config: SiglipConfig, width: int, key: PRNGKeyArray) -> SiglipEncoder:
    """Fresh weights of an encoder that feeds a decoder of this width."""
    patches, table, blocks, out = jax.random.split(key, 4)
    layers = jax.random.split(blocks, config.layers)
    return SiglipEncoder(
        patches=affine(patches, 3 * config.patch**2, config.width),
        table=0.02 * jax.random.normal(table, (config.side**2, config.width), jnp.float32),
        blocks=jax.vmap(partial(_init_block, config))(layers),
        norm=layer_norm(config.width),
        pooled_norm=jnp.zeros(config.width, jnp.float32),
        out=matrix(out, config.width, width),
    )


def encode_siglip(
    encoder: SiglipEncoder, slots: Slots, *, config: SiglipConfig
) -> Float[Array, "B M D"]:
    """The states that fill a row's image slots; unused slots hold values nobody reads.

    The slots of a picture must stand together, and those of the first at the front of the row.
    """
    B, M, k2 = slots.values.shape[:3]
    values = jnp.asarray(slots.values).reshape(B * M * k2, -1)
    x = product(centred(values).astype(encoder.out.dtype), encoder.patches)
    places = pool_places(jnp.asarray(slots.places), config.pool).reshape(-1, 2)
    x = x + lookup(encoder.table, places[:, 1] * config.side + places[:, 0])
    owners = jnp.repeat(jnp.asarray(slots.blocks), k2, axis=1)
    x = encoder.norm.of(_through(encoder.blocks, x, owners, config))
    pooled = x.reshape(B * M, k2, -1).mean(axis=1)
    return product(rms_norm(pooled, encoder.pooled_norm), encoder.out).reshape(B, M, -1)


def _through(
    blocks: SiglipBlock, flat: Float[Array, "R W"], owners: Int[Array, "B P"], config: SiglipConfig
) -> Float[Array, "R W"]:
    """The states after all layers. Attention is computed picture by picture."""
    B, P = owners.shape
    shape = (config.heads, config.width // config.heads)
    T = min(config.side**2, P)  # patches of a picture
    more = -P % T

    def apart(x: Array) -> Array:
        wide = jnp.pad(x, ((0, 0), (0, more), *((0, 0),) * (x.ndim - 2)))
        return wide.reshape(-1, T, *x.shape[2:])

    whose = apart(owners)

    def layer(flat: Array, block: SiglipBlock) -> tuple[Array, None]:
        normed = block.attention_norm.of(flat)
        q, k, v = (
            apart(product(normed, w).reshape(B, P, *shape)) for w in (block.wq, block.wk, block.wv)
        )
        seen = attend_apart(q, k, v, whose).reshape(B, P + more, -1)[:, :P]
        flat = flat + product(seen.reshape(B * P, -1), block.wo)
        opened = gelu(product(block.mlp_norm.of(flat), block.up))
        return flat + product(opened, block.down), None

    return scanned(jax.checkpoint(layer), flat, blocks)[0]


def _init_block(config: SiglipConfig, key: PRNGKeyArray) -> SiglipBlock:
    q, k, v, o, up, down = jax.random.split(key, 6)
    W, residual = config.width, (2 * config.layers) ** -0.5
    return SiglipBlock(
        attention_norm=layer_norm(W),
        wq=affine(q, W, W),
        wk=affine(k, W, W),
        wv=affine(v, W, W),
        wo=affine(o, W, W, scale=residual),
        mlp_norm=layer_norm(W),
        up=affine(up, W, config.hidden),
        down=affine(down, config.hidden, W, scale=residual),
    )
