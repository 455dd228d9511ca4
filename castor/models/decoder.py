"""The decoder: ids and media slots in, one state per position out; logits are asked for apart.

Causal, multi-query attention [report], RMSNorm, GeGLU, RoPE, tied embedding scaled by sqrt(D)
[ours, after Gemma]. Weights of equal layers are stacked and scanned. The forward pass runs in the
type of the weights it is given; nothing here knows about devices or precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float32, Int, PRNGKeyArray

from castor.core.batch import Batch, Slots
from castor.models.attention import attend, causal
from castor.models.cache import Cache, LayerCache, append, written
from castor.models.layers import geglu, lookup, matrix, product, recomputed, rms_norm, rotate
from castor.models.modality import encode, init_encoders
from castor.models.sizes import Layer, ModelConfig

Held = tuple[LayerCache, ...]  # of one group of layers


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Block:
    """One layer's weights; in a Decoder every leaf is stacked over the groups of the pattern."""

    attention_norm: Array  # [D]
    wq: Array  # [D, N*H]
    wk: Array  # [D, K*H]
    wv: Array  # [D, K*H]
    query_norm: Array  # [H]
    key_norm: Array  # [H]
    wo: Array  # [N*H, D]
    mlp_norm: Array  # [D]
    gate: Array  # [D, F]
    up: Array  # [D, F]
    down: Array  # [F, D]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Decoder:
    """Embedding, layers in groups of the repeating pattern, final norm; the head is tied."""

    embedding: Array  # [V, D]
    blocks: tuple[Block, ...]  # one per entry of the pattern; leaves are [L / pattern, ...]
    final_norm: Array  # [D]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Model:
    """The decoder and one encoder for each kind of signal that it reads."""

    decoder: Decoder
    encoders: dict[str, Any]


def init(config: ModelConfig, key: PRNGKeyArray) -> Model:
    """Fresh float32 weights; layers that write to the residual stream start (2L)^-½ smaller."""
    embedding, layers, encoders = jax.random.split(key, 3)
    groups = config.layers // len(config.pattern)
    blocks = tuple(
        jax.vmap(partial(_init_block, config))(jax.random.split(k, groups))
        for k in jax.random.split(layers, len(config.pattern))
    )
    table = 0.02 * jax.random.normal(embedding, (config.vocab, config.width), jnp.float32)
    decoder = Decoder(table, blocks, jnp.zeros(config.width, jnp.float32))
    return Model(decoder, init_encoders(config, encoders))


def hidden(model: Model, batch: Batch, *, config: ModelConfig) -> Float[Array, "B T D"]:
    """The state at every position of packed rows: the full forward pass of training."""
    tokens, positions = jnp.asarray(batch.tokens), jnp.asarray(batch.positions)
    x = embed(model, tokens, batch.media, config=config)
    mask = causal(jnp.asarray(batch.segments), jnp.asarray(batch.blocks))

    def group(x: Array, blocks: tuple[Block, ...]) -> tuple[Array, None]:
        for block, layer in zip(blocks, config.pattern, strict=True):
            project = recomputed(partial(_project, config=config, layer=layer))
            x = _finish(block, x, attend(*project(block, x, positions), mask=mask))
        return x, None

    x, _ = jax.lax.scan(group, x, model.decoder.blocks)
    return rms_norm(x, model.decoder.final_norm)


class Seen(NamedTuple):
    """Media that were encoded before: what stands in the place of their slots' embeddings."""

    states: Float[Array | np.ndarray, "B T D"]
    slots: Bool[Array | np.ndarray, "B T"]


class Packed(NamedTuple):
    """Tokens of rows that bring different numbers of them, laid end to end: nothing but attention
    is computed for the places between. What is left of the P at the end may say anything."""

    rows: Int[Array | np.ndarray, " P"]
    columns: Int[Array | np.ndarray, " P"]  # each one's number among the new tokens of its row
    places: Int[
        Array | np.ndarray, "B T"
    ]  # where among the P each row's tokens lie; any, where there is none


def extend(
    model: Model,
    tokens: Int[Array, "R L"],
    cache: Cache,
    *,
    config: ModelConfig,
    valid: Bool[Array, "B T"],
    blocks: Int[Array, "B T"] | None = None,
    media: dict[str, Slots] | Seen | None = None,
    packed: Packed | None = None,
) -> tuple[Float[Array, "R L D"], Cache]:
    """States of further tokens of each row, and the cache that now holds them too.

    `valid` marks the real tokens; they stand at the front of each row, and rows may bring
    different numbers of them. The cache must have room (`cache.room`) for T more positions.
    A medium's slots must come in one call: they see each other through `blocks`. Tokens, media
    and states are [B, T], but [1, P] if the rows are `packed`.
    """
    B, T = valid.shape
    positions = cache.lengths[:, None] + jnp.arange(T, dtype=jnp.int32)[None]
    if packed is not None:
        positions = (cache.lengths[packed.rows] + packed.columns)[None]
    if isinstance(media, Seen):
        x = embed(model, tokens, {}, config=config)
        x = jnp.where(media.slots[..., None], jnp.asarray(media.states, x.dtype), x)
    else:
        x = embed(model, tokens, media or {}, config=config)
    mask = written(cache, valid, jnp.zeros((B, T), jnp.int32) if blocks is None else blocks)

    def group(x: Array, given: tuple[tuple[Block, ...], Held]) -> tuple[Array, Held]:
        after = []
        for block, before, layer in zip(*given, config.pattern, strict=True):
            q, k, v = _project(block, x, positions, config=config, layer=layer)
            if packed is not None:
                q, k, v = (y[0][jnp.asarray(packed.places)] for y in (q, k, v))
            held = append(before, k, v, at=cache.lengths)
            mixed = attend(q, *held.by_row(config.kv_heads), mask=mask)
            if packed is not None:
                mixed = mixed[packed.rows, packed.columns][None]
            x = _finish(block, x, mixed)
            after.append(held)
        return x, tuple(after)

    x, layers = _each_group(group, x, (model.decoder.blocks, cache.layers))
    lengths = cache.lengths + valid.sum(1, dtype=jnp.int32)
    return rms_norm(x, model.decoder.final_norm), Cache(layers, lengths)


def embed(
    model: Model, tokens: Int[Array, "B T"], media: dict[str, Slots], *, config: ModelConfig
) -> Float[Array, "B T D"]:
    """Scaled embeddings of the tokens, with encoded media in the places of their slots."""
    table = model.decoder.embedding
    scale = jnp.asarray(table.shape[1] ** 0.5, table.dtype)
    x = lookup(table, tokens) * scale
    rows = jnp.arange(tokens.shape[0])[:, None]
    for kind, slots in sorted(media.items()):
        states = encode(model.encoders[kind], slots, config=config).astype(x.dtype)
        x = x.at[rows, slots.columns].set(states, mode="drop")
    return x


def logits(model: Model, states: Float[Array, "... D"]) -> Float32[Array, "... V"]:
    """Unnormalised log-probabilities of the next id: the embedding table, transposed."""
    table = model.decoder.embedding
    flat = states.reshape(-1, states.shape[-1])
    # A batch of one: of a plain bfloat16 product XLA makes a float32 one on a CPU, from a copy of
    # the table that takes twice as long to read.
    scores = jnp.einsum("grd,gvd->grv", flat[None], table[None], preferred_element_type=jnp.float32)
    return scores.reshape(*states.shape[:-1], table.shape[0])


def _each_group(group: Callable[[Array, Any], tuple[Array, Any]], x: Array, given: Any) -> Any:
    """A scan over the groups; no loop where there is one, since a loop copies what it changes."""
    if jax.tree.leaves(given)[0].shape[0] > 1:
        return jax.lax.scan(group, x, given)
    x, after = group(x, jax.tree.map(lambda leaf: leaf[0], given))
    return x, jax.tree.map(lambda leaf: leaf[None], after)


def _init_block(config: ModelConfig, key: PRNGKeyArray) -> Block:
    D, F, H = config.width, config.hidden, config.head_width
    q, k, v, o, gate, up, down = jax.random.split(key, 7)
    residual = (2 * config.layers) ** -0.5
    zeros = partial(jnp.zeros, dtype=jnp.float32)
    return Block(
        attention_norm=zeros(D),
        wq=matrix(q, D, config.heads * H),
        wk=matrix(k, D, config.kv_heads * H),
        wv=matrix(v, D, config.kv_heads * H),
        query_norm=zeros(H),
        key_norm=zeros(H),
        wo=matrix(o, config.heads * H, D, scale=residual),
        mlp_norm=zeros(D),
        gate=matrix(gate, D, F),
        up=matrix(up, D, F),
        down=matrix(down, F, D, scale=residual),
    )


def _project(
    block: Block,
    x: Float[Array, "B T D"],
    positions: Int[Array, "B T"],
    *,
    config: ModelConfig,
    layer: Layer,
) -> tuple[Float[Array, "B T N H"], Float[Array, "B T K H"], Float[Array, "B T K H"]]:
    B, T, D = x.shape
    flat = rms_norm(x.reshape(B * T, D), block.attention_norm)
    q, k, v = (
        product(flat, w).reshape(B, T, -1, config.head_width)
        for w in (block.wq, block.wk, block.wv)
    )
    if config.qk_norm:
        q, k = rms_norm(q, block.query_norm), rms_norm(k, block.key_norm)
    q, k = (rotate(y, positions, base=layer.rope_base) for y in (q, k))
    return q, k, v


def _finish(
    block: Block, x: Float[Array, "B T D"], mixed: Float[Array, "B T N H"]
) -> Float[Array, "B T D"]:
    B, T, D = x.shape
    flat = x.reshape(B * T, D) + product(mixed.reshape(B * T, -1), block.wo)
    flat = flat + geglu(flat, block.mlp_norm, block.gate, block.up, block.down)
    return flat.reshape(B, T, D)
