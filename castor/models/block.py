"""One layer: what it holds, and what it does before and after attention.

What a block does not hold it does not do: no option that is off is in the compiled program.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from castor.models.experts import Experts, init_experts, mixed
from castor.models.layers import Turns, geglu, matrix, product, rms_norm, turned_by
from castor.models.per_layer import Inlet, init_inlet, taken_in
from castor.models.sizes import Layer, ModelConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Block:
    """One layer's weights; in a Decoder every leaf is stacked over the groups of the pattern."""

    attention_norm: Array  # [D]
    wq: Array  # [D, N*H]
    wk: Array | None  # [D, K*H]; None: another layer's keys and values are read
    wv: Array | None  # [D, K*H]; None: values are what keys are made of
    query_norm: Array | None  # [H]
    key_norm: Array | None  # [H]
    wo: Array  # [N*H, D]
    mlp_norm: Array  # [D]
    gate: Array  # [D, F]
    up: Array  # [D, F]
    down: Array  # [F, D]
    attention_post_norm: Array | None = None  # [D]
    mlp_post_norm: Array | None = None  # [D]
    experts: Experts | None = None
    inlet: Inlet | None = None
    scale: Array | None = None  # [1]


class Projected(NamedTuple):
    """What attention is given: queries, and keys and values where the layer makes its own."""

    q: Float[Array, "B T N H"]
    own: tuple[Float[Array, "B T K H"], Float[Array, "B T K H"]] | None


def init_block(config: ModelConfig, layer: Layer, key: PRNGKeyArray) -> Block:
    """Fresh float32 weights; what writes to the residual stream starts (2L)^-½ smaller."""
    D, F, H = config.width, layer.hidden or config.hidden, config.head_width_of(layer)
    N, K = config.heads, config.kv_heads_of(layer)
    q, k, v, o, gate, up, down = jax.random.split(key, 7)
    residual = (2 * config.layers) ** -0.5
    start = partial(jnp.full, fill_value=1.0 - config.norm_start, dtype=jnp.float32)
    own = layer.keys_of is None
    return Block(
        attention_norm=start(D),
        wq=matrix(q, D, N * H),
        wk=matrix(k, D, K * H) if own else None,
        wv=matrix(v, D, K * H) if own and not layer.tied_values else None,
        query_norm=start(H) if config.qk_norm else None,
        key_norm=start(H) if config.qk_norm and own else None,
        wo=matrix(o, N * H, D, scale=residual),
        mlp_norm=start(D),
        gate=matrix(gate, D, F),
        up=matrix(up, D, F),
        down=matrix(down, F, D, scale=residual),
        attention_post_norm=start(D) if config.post_norms else None,
        mlp_post_norm=start(D) if config.post_norms else None,
        experts=init_experts(config, jax.random.fold_in(key, 1)),
        inlet=init_inlet(config, jax.random.fold_in(key, 2)),
        scale=jnp.ones(1, jnp.float32) if config.layer_scale else None,
    )


def project(
    block: Block,
    x: Float[Array, "B T D"],
    turns: Turns,
    *,
    config: ModelConfig,
    layer: Layer,
) -> Projected:
    """Queries, keys and values under their norms, turned to their positions."""
    (B, T, D), H = x.shape, config.head_width_of(layer)
    norm = partial(rms_norm, start=config.norm_start)
    flat = norm(x.reshape(B * T, D), block.attention_norm)
    q, k, v = (
        w if w is None else product(flat, w).reshape(B, T, -1, H)
        for w in (block.wq, block.wk, block.wv)
    )
    v = k if v is None else v
    if config.qk_norm:
        scales = block.query_norm, block.key_norm
        q, k = (y if y is None else norm(y, s) for y, s in zip((q, k), scales, strict=True))
    q, k = (y if y is None else turned_by(y, turns) for y in (q, k))
    assert q is not None
    if k is None or v is None:
        return Projected(q, None)
    return Projected(q, (k, rms_norm(v, None) if config.value_norm else v))


def finish(
    block: Block,
    x: Float[Array, "B T D"],
    seen: Float[Array, "B T N H"],
    own: Float[Array, "R P"] | None,
    *,
    config: ModelConfig,
) -> Float[Array, "B T D"]:
    """The states that leave the layer: attention's result and the feed-forward layer added.

    `own` is the layer's own input, where the model has such.
    """
    B, T, D = x.shape
    norm = partial(rms_norm, start=config.norm_start)
    added = product(seen.reshape(B * T, -1), block.wo)
    if block.attention_post_norm is not None:
        added = norm(added, block.attention_post_norm)
    flat = x.reshape(B * T, D) + added
    fed = geglu(flat, block.mlp_norm, block.gate, block.up, block.down, start=config.norm_start)
    if block.experts is not None and config.experts is not None:
        fed = norm(fed, block.experts.dense_post_norm) + mixed(
            block.experts, flat, chosen=config.experts.chosen, start=config.norm_start
        )
    if block.mlp_post_norm is not None:
        fed = norm(fed, block.mlp_post_norm)
    flat = flat + fed
    if block.inlet is not None and own is not None:
        flat = flat + taken_in(block.inlet, flat, own, start=config.norm_start)
    if block.scale is not None:
        flat = flat * block.scale[None]
    return flat.reshape(B, T, D)
