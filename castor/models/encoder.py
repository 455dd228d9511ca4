"""A bidirectional transformer layer over the slots of one medium, for pictures and the codec; and
attention among the many patches of large pictures."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from castor.models.attention import attend
from castor.models.layers import geglu, matrix, normed_products, product
from castor.models.layout import scanned

SPAN = 256  # queries at once: more scores than theirs with 4096 keys leave a core's cache


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EncoderBlock:
    """One layer; its hidden width is 8/3 of its width, so that it has 12 W² weights."""

    attention_norm: Array  # [W]
    wqkv: Array  # [W, 3W]
    wo: Array  # [W, W]
    mlp_norm: Array  # [W]
    gate: Array  # [W, F]
    up: Array  # [W, F]
    down: Array  # [F, W]


def init_encoder_block(width: int, layers: int, key: PRNGKeyArray) -> EncoderBlock:
    """Fresh weights of one of `layers` layers."""
    qkv, o, gate, up, down = jax.random.split(key, 5)
    hidden = -(-width * 8 // 3 // 64) * 64
    residual = (2 * max(layers, 1)) ** -0.5
    return EncoderBlock(
        attention_norm=jnp.zeros(width, jnp.float32),
        wqkv=matrix(qkv, width, 3 * width),
        wo=matrix(o, width, width, scale=residual),
        mlp_norm=jnp.zeros(width, jnp.float32),
        gate=matrix(gate, width, hidden),
        up=matrix(up, width, hidden),
        down=matrix(down, hidden, width, scale=residual),
    )


def look_around(
    blocks: EncoderBlock, x: Float[Array, "B M W"], owners: Int[Array, "B M"], *, heads: int
) -> Float[Array, "B M W"]:
    """All layers over slots; two slots see each other if they have the same owner above 0."""
    B, M, W = x.shape
    mask = (owners[:, :, None] == owners[:, None, :]) & (owners[:, :, None] > 0)

    def layer(flat: Array, block: EncoderBlock) -> tuple[Array, None]:
        (qkv,) = normed_products(flat, block.attention_norm, block.wqkv)
        q, k, v = jnp.split(qkv.reshape(B, M, 3 * heads, W // heads), 3, axis=2)
        flat = flat + product(attend(q, k, v, mask=mask).reshape(B * M, W), block.wo)
        flat = flat + geglu(flat, block.mlp_norm, block.gate, block.up, block.down)
        return flat, None

    flat, _ = scanned(layer, x.reshape(B * M, W), blocks)
    return flat.reshape(B, M, W)


def attend_apart(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T N H"],
    v: Float[Array, "B T N H"],
    owners: Int[Array, "B T"],
    *,
    scale: float | None = None,
) -> Float[Array, "B T N H"]:
    """Attention among patches of the same owner above 0, some queries at a time.

    Neither scores nor a mask of all queries are ever held.
    """
    B, T, N, H = q.shape

    def seen(part: tuple[Array, Array]) -> Array:
        q, mine = part
        mask = (mine[:, :, None] == owners[:, None, :]) & (mine[:, :, None] > 0)
        return attend(q, k, v, mask=mask, scale=scale)

    if T <= SPAN:
        return seen((q, owners))
    parts = -(-T // SPAN)
    wide = jnp.pad(q, ((0, 0), (0, parts * SPAN - T), (0, 0), (0, 0)))
    whose = jnp.pad(owners, ((0, 0), (0, parts * SPAN - T)))
    by_part = (
        wide.reshape(B, parts, SPAN, N, H).swapaxes(0, 1),
        whose.reshape(B, parts, SPAN).swapaxes(0, 1),
    )
    mixed = jax.lax.map(seen, by_part).swapaxes(0, 1)
    return mixed.reshape(B, parts * SPAN, N, H)[:, :T]
