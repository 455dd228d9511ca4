"""Gemma 4's eyes: a ViT over pictures of any aspect, whose patches are pooled into slots.

Patches see their own picture alone, so packing pictures side by side changes nothing.
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
from castor.models.affine import Clipped, clipped
from castor.models.encoder import attend_apart
from castor.models.layers import (
    Turns,
    geglu,
    matrix,
    normed_products,
    product,
    rms_norm,
    turned_by,
    turns_of,
)
from castor.models.layout import scanned
from castor.models.patches import centred, grid, placed, pool_places, resized, windows
from castor.models.signals import VitConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class VitBlock:
    """One layer."""

    attention_norm: Array  # [W]
    wq: Clipped  # [W, N*H]
    wk: Clipped  # [W, N*H]
    wv: Clipped  # [W, N*H]
    query_norm: Array  # [H]
    key_norm: Array  # [H]
    wo: Clipped  # [N*H, W]
    attention_post_norm: Array  # [W]
    mlp_norm: Array  # [W]
    gate: Clipped  # [W, F]
    up: Clipped  # [W, F]
    down: Clipped  # [F, W]
    mlp_post_norm: Array  # [W]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class VitEncoder:
    """Patches to slot states."""

    patches: Array  # [patch*patch*3, W]
    tables: Array  # [2, side, W]: of x, and of y
    blocks: VitBlock  # leaves are [layers, ...]
    middle: Array | None  # [W]: what is taken from slots, and the next their factor
    factor: Array | None
    out: Array  # [W, D]


def cut(
    pixels: UInt8[np.ndarray, "h w 3"], *, config: VitConfig, budget: int | None = None
) -> Signal:
    """A picture as slots of patches: as large as the budget allows, at about its aspect.

    Raises:
        ValueError: the budget is below 1.
    """
    most, cell = config.slots if budget is None else budget, config.patch * config.pool
    side = config.side // config.pool
    down, across = grid(*pixels.shape[:2], cell=cell, most=most, side=side)
    size = down * cell, across * cell
    pixels = resized(pixels, size=size, how=Image.Resampling.BICUBIC)
    return Signal("image", *windows(pixels, patch=config.patch, pool=config.pool))


def init_vit(config: VitConfig, width: int, key: PRNGKeyArray) -> VitEncoder:
    """Fresh weights of an encoder that feeds a decoder of this width."""
    patches, tables, blocks, out = jax.random.split(key, 4)
    layers = jax.random.split(blocks, config.layers)
    even = config.standardized
    return VitEncoder(
        patches=matrix(patches, 3 * config.patch**2, config.width),
        tables=0.02 * jax.random.normal(tables, (2, config.side, config.width), jnp.float32),
        blocks=jax.vmap(partial(_init_block, config))(layers),
        middle=jnp.zeros(config.width, jnp.float32) if even else None,
        factor=jnp.ones(config.width, jnp.float32) if even else None,
        out=matrix(out, config.width, width),
    )


def encode_vit(encoder: VitEncoder, slots: Slots, *, config: VitConfig) -> Float[Array, "B M D"]:
    """The states that fill a row's image slots; unused slots hold values nobody reads."""
    B, M, k2 = slots.values.shape[:3]
    dtype = encoder.out.dtype
    values = jnp.asarray(slots.values).reshape(B * M * k2, -1)
    x = product(centred(values).astype(dtype), encoder.patches)
    places = pool_places(jnp.asarray(slots.places), config.pool)
    x = x + placed(encoder.tables[0], encoder.tables[1], places.reshape(-1, 2))
    owners = jnp.repeat(jnp.asarray(slots.blocks), k2, axis=1)
    x = _through(encoder.blocks, x, places, owners, config)
    pooled = x.reshape(B * M, k2, -1).astype(jnp.float32).mean(axis=1) * config.width**0.5
    if encoder.middle is not None and encoder.factor is not None:
        middle, factor = (y.astype(jnp.float32)[None] for y in (encoder.middle, encoder.factor))
        pooled = (pooled - middle) * factor
    return product(rms_norm(pooled.astype(dtype), None), encoder.out).reshape(B, M, -1)


def _through(
    blocks: VitBlock,
    flat: Float[Array, "R W"],
    places: Int[Array, "B P 2"],
    owners: Int[Array, "B P"],
    config: VitConfig,
) -> Float[Array, "R W"]:
    """The states after all layers."""
    B, P = owners.shape
    H = config.head_width
    turns = [turns_of(places[..., i], H // 2, base=config.rope_base) for i in range(2)]
    turns = jax.lax.optimization_barrier(turns)
    norm = partial(rms_norm, start=0.0)

    def layer(flat: Array, block: VitBlock) -> tuple[Array, None]:
        matrices = block.wq, block.wk, block.wv
        products = normed_products(flat, block.attention_norm, *matrices, start=0.0)
        q, k, v = (x.reshape(B, P, config.heads, H) for x in products)
        q = _turned(norm(q, block.query_norm), turns)
        k = _turned(norm(k, block.key_norm), turns)
        seen = attend_apart(q, k, rms_norm(v, None), owners, scale=1.0)
        mixed = product(seen.reshape(B * P, -1), block.wo)
        flat = flat + norm(mixed, block.attention_post_norm)
        more = geglu(flat, block.mlp_norm, block.gate, block.up, block.down, start=0.0)
        return flat + norm(more, block.mlp_post_norm), None

    return scanned(jax.checkpoint(layer), flat, blocks)[0]


def _turned(x: Float[Array, "B P N H"], turns: list[Turns]) -> Float[Array, "B P N H"]:
    """Heads whose first half turns by x, and whose second by y."""
    halves = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([turned_by(x, by) for x, by in zip(halves, turns, strict=True)], axis=-1)


def _init_block(config: VitConfig, key: PRNGKeyArray) -> VitBlock:
    q, k, v, o, gate, up, down = jax.random.split(key, 7)
    W, F, inner = config.width, config.hidden, config.heads * config.head_width
    residual = (2 * config.layers) ** -0.5
    make = partial(clipped, bounded=config.clipped)
    ones, head = jnp.ones(W, jnp.float32), jnp.ones(config.head_width, jnp.float32)
    return VitBlock(
        attention_norm=ones,
        wq=make(q, W, inner),
        wk=make(k, W, inner),
        wv=make(v, W, inner),
        query_norm=head,
        key_norm=head,
        wo=make(o, inner, W, scale=residual),
        attention_post_norm=ones,
        mlp_norm=ones,
        gate=make(gate, W, F),
        up=make(up, W, F),
        down=make(down, F, W, scale=residual),
        mlp_post_norm=ones,
    )
