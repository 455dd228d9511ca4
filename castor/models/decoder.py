"""The decoder: ids and media slots in, one state per position out; logits are asked for apart.

Causal, multi-query attention [report], RMSNorm, GeGLU, RoPE, tied embedding scaled by sqrt(D)
[ours, after Gemma]; what else open weights do, a ModelConfig turns on. Weights of equal layers are
stacked and scanned. The forward pass runs in the type of the weights it is given; nothing here
knows about devices or precision.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float32, Int, PRNGKeyArray

from castor.core.batch import Batch, Slots
from castor.models.attention import attend, attend_held, causal
from castor.models.block import Block, finish, init_block, project
from castor.models.cache import Cache, append, written
from castor.models.layers import Turns, lookup, recomputed, rms_norm, turns_of
from castor.models.layout import by_rows_and_columns, gathered, scanned, written_out
from castor.models.modality import encode, init_encoders, unseeing
from castor.models.one_query import step_at_once, steps_at_once
from castor.models.one_row import Turned, one_row, suits
from castor.models.per_layer import MEDIA, Inputs, init_inputs, inputs_of
from castor.models.quant import dense
from castor.models.remat import Remat, rematerialised
from castor.models.sizes import Layer, ModelConfig, Sight, Stage

Mix = Callable[[Block, Layer, Array, Any, Any], tuple[Array, Any]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Decoder:
    """Embedding, layers in groups of the repeating patterns, final norm; the head is tied."""

    embedding: Array  # [V, D]
    blocks: tuple[Block, ...]  # as `ModelConfig.entries`; leaves are [repeats, ...]
    final_norm: Array  # [D]
    inputs: Inputs | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Model:
    """The decoder and one encoder for each kind of signal that it reads."""

    decoder: Decoder
    encoders: dict[str, Any]


def init(config: ModelConfig, key: PRNGKeyArray) -> Model:
    """Fresh float32 weights; layers that write to the residual stream start (2L)^-½ smaller."""
    embedding, layers, encoders = jax.random.split(key, 3)
    keys = jax.random.split(layers, len(config.entries))
    blocks = tuple(
        jax.vmap(partial(init_block, config, layer))(jax.random.split(k, repeats))
        for k, (layer, repeats) in zip(keys, config.entries, strict=True)
    )
    table = 0.02 * jax.random.normal(embedding, (config.vocab, config.width), jnp.float32)
    norm = jnp.full(config.width, 1 - config.norm_start, jnp.float32)
    inputs = init_inputs(config, jax.random.fold_in(key, 1))
    decoder = Decoder(table, blocks, norm, inputs)
    return Model(decoder, init_encoders(config, encoders))


def hidden(
    model: Model, batch: Batch, *, config: ModelConfig, remat: Remat = "none", ring: bool = False
) -> Float[Array, "B T D"]:
    """The state at every position of packed rows: the full forward pass of training.

    `remat` is what each layer keeps of it for the backward pass; `ring` is as in `attend`.
    """
    tokens, positions = jnp.asarray(batch.tokens), jnp.asarray(batch.positions)
    x = by_rows_and_columns(embed(model, tokens, batch.media, config=config))
    segments, blocks = jnp.asarray(batch.segments), jnp.asarray(batch.blocks)
    turns = _turns(positions, config)
    seeing = unseeing(blocks, batch.media, config=config)
    masks = {sight: causal(segments, seeing, sight=sight) for sight in _sights(config)}

    def mix(block: Block, layer: Layer, x: Array, _: None, source: Any) -> tuple[Array, Any]:
        projected = recomputed(partial(project, config=config, layer=layer))(
            block, x, turns[_turn(layer, config)]
        )
        keys = projected.own or source
        mask = masks[layer.sight]
        seen = attend(projected.q, *keys, mask=mask, ring=ring, **_scores(config))
        return seen, projected.own

    own = _inputs(model, tokens, x, blocks > 0, config=config)
    x, _ = _through(model, x, mix, own, config=config, remat=remat)
    return rms_norm(x, model.decoder.final_norm, start=config.norm_start)


class Seen(NamedTuple):
    """Media that were encoded before: what stands in the place of their slots' embeddings."""

    states: Float[Array | np.ndarray, "B T D"]
    slots: Bool[Array | np.ndarray, "B T"]


class Packed(NamedTuple):
    """Tokens of rows that bring different numbers of them, laid end to end: nothing but attention
    is computed for the places between. What is left of the P at the end may say anything."""

    rows: Int[Array | np.ndarray, " P"]
    columns: Int[Array | np.ndarray, " P"]  # each one's number among the new tokens of its row
    places: Int[Array | np.ndarray, "B T"]  # where they lie; any, where a row brings none


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
    blocks = jnp.zeros((B, T), jnp.int32) if blocks is None else blocks
    if isinstance(media, Seen):
        slots = jnp.asarray(media.slots)
        x = embed(model, tokens, {}, config=config)
        x = jnp.where(slots[..., None], jnp.asarray(media.states, x.dtype), x)
    else:
        slots = blocks > 0 if packed is None else blocks[packed.rows, packed.columns][None] > 0
        x = embed(model, tokens, media or {}, config=config)
        blocks = blocks if packed else unseeing(blocks, media or {}, config=config)
    turns = _turns(positions, config)
    masks = {sight: written(cache, valid, blocks, sight=sight) for sight in _sights(config)}

    def mix(block: Block, layer: Layer, x: Array, held: Any, source: Any) -> tuple[Array, Any]:
        if packed is None and steps_at_once(block, x, held, config=config):
            given = block, x, turns[_turn(layer, config)], held, masks[layer.sight]
            return step_at_once(*given, at=cache.lengths, config=config)
        q, own = project(block, x, turns[_turn(layer, config)], config=config, layer=layer)
        if packed is not None:
            places = jnp.asarray(packed.places)
            q, own = jax.tree.map(lambda y: y[0][places], (q, own))
        held = append(held, *own, at=cache.lengths) if own else None
        keys = (held or source).by_row(config.kv_heads_of(layer))
        seen = attend_held(q, *keys, mask=masks[layer.sight], **_scores(config))
        if packed is not None:
            seen = seen[packed.rows, packed.columns][None]
        return seen, held

    own = _inputs(model, tokens, x, slots, config=config)
    x, layers = _through(model, x, mix, own, cache, config=config)
    lengths = cache.lengths + valid.sum(1, dtype=jnp.int32)
    states = rms_norm(x, model.decoder.final_norm, start=config.norm_start)
    return states, Cache(layers, lengths)


def embed(
    model: Model, tokens: Int[Array, "B T"], media: dict[str, Slots], *, config: ModelConfig
) -> Float[Array, "B T D"]:
    """Scaled embeddings of the tokens, with encoded media in the places of their slots."""
    table = model.decoder.embedding
    scale = jnp.asarray(table.shape[1] ** 0.5, table.dtype)
    x = lookup(table, tokens) * scale
    rows = jnp.arange(tokens.shape[0])[:, None]
    for kind, slots in sorted(media.items()):
        states = encode(gathered(model.encoders[kind]), slots, config=config).astype(x.dtype)
        x = x.at[rows, slots.columns].set(states, mode="drop")
    return x


def logits(
    model: Model, states: Float[Array, "... D"], *, cap: float | None = None
) -> Float32[Array, "... V"]:
    """Unnormalised log-probabilities of the next id: the embedding table, transposed.

    `cap` is `ModelConfig.logit_cap`.
    """
    flat, head = states.reshape(-1, states.shape[-1]), Turned(model.decoder.embedding)
    if suits(flat, head):
        scores = one_row(flat, head, dtype=jnp.float32)
    else:
        # A batch of one: of a plain bfloat16 product XLA makes a float32 one on a CPU, from a copy
        # of the table that takes twice as long to read.
        pair = flat[None], dense(model.decoder.embedding)[None]
        scores = jnp.einsum("grd,gvd->grv", *pair, preferred_element_type=jnp.float32)
    scores = scores if cap is None else jnp.tanh(scores / cap) * cap
    return scores.reshape(*states.shape[:-1], scores.shape[-1])


def unrolled(model: Model, config: ModelConfig) -> tuple[Model, ModelConfig]:
    """The same model as one group of all its layers, each of them an entry of the pattern."""
    blocks, at = [], 0
    for stage in config.stages:
        entries = model.decoder.blocks[at : at + len(stage.pattern)]
        at += len(entries)
        for i in range(stage.repeats):
            blocks += [jax.tree.map(lambda x, i=i: x[i : i + 1], block) for block in entries]
    inner = replace(model.decoder, blocks=tuple(blocks))
    return replace(model, decoder=inner), replace(config, pattern=config.every_layer, further=())


def _turn(layer: Layer, config: ModelConfig) -> tuple[float, float, float, int]:
    """What a layer's turns depend on."""
    return layer.rope_base, layer.rope_factor, layer.rope_share, config.head_width_of(layer)


def _turns(positions: Int[Array, "B T"], config: ModelConfig) -> dict[Any, Turns]:
    """The turns of all layers, each computed once: without a barrier XLA would do it anew in every
    layer, which takes a sixth of the time of reading a prompt on a CPU."""
    found: dict[Any, Turns] = {}
    for base, factor, share, width in {_turn(layer, config) for layer in config.every_layer}:
        turns = turns_of(positions, width, base=base, factor=factor, share=share)
        found[base, factor, share, width] = jax.lax.optimization_barrier(turns)
    return found


def _sights(config: ModelConfig) -> dict[Sight, None]:
    """Those of all layers, each once and in their order."""
    return dict.fromkeys(layer.sight for layer in config.every_layer)


def _scores(config: ModelConfig) -> dict[str, float | None]:
    return {"scale": config.score_scale, "cap": config.score_cap}


def _inputs(
    model: Model, tokens: Array, x: Array, slots: Bool[Array, "B T"], *, config: ModelConfig
) -> Float[Array, "L R P"] | None:
    """What each layer is given besides, if the model's layers are; slots of media share a row."""
    inputs = model.decoder.inputs
    if inputs is None:
        return None
    ids = jnp.where(slots, jnp.asarray(MEDIA, tokens.dtype), tokens)
    return inputs_of(inputs, ids, x, start=config.norm_start)


def _through(
    model: Model,
    x: Float[Array, "B T D"],
    mix: Mix,
    inputs: Float[Array, "L R P"] | None,
    cache: Cache | None = None,
    *,
    config: ModelConfig,
    remat: Remat = "none",
) -> tuple[Float[Array, "B T D"], tuple[Any, ...]]:
    """The states after all layers, and what the cache then holds of each entry.

    `mix` gives attention's result and the keys and values that the layer made.
    """
    blocks, held = model.decoder.blocks, cache and cache.layers
    after: list[Any] = []
    kept: dict[int, Any] = {}  # of the layers that later ones may read
    first = 0
    for stage in config.stages:
        here, layers = len(stage.pattern), len(stage.pattern) * stage.repeats
        at = slice(len(after), len(after) + here)
        given = (
            blocks[at],
            held[at] if held else (None,) * here,
            _by_entry(inputs, stage, first),
        )
        group = _group_of(stage, mix=mix, first=first, kept=kept, config=config, remat=remat)
        x, new = _each_group(group, x, given)
        after += new
        first += layers
    return x, tuple(after)


def _group_of(
    stage: Stage,
    *,
    mix: Mix,
    first: int,
    kept: dict[int, Any],
    config: ModelConfig,
    remat: Remat,
) -> Callable[[Array, Any], tuple[Array, Any]]:
    """The function that passes states through one group of a stage's layers.

    Where there is but one, what its layers hold is `kept` for those that read it later.
    """

    def through(layer: Layer, x: Array, block: Block, given: Any) -> tuple[Array, Any]:
        held, own, source = given
        block = gathered(block)
        seen, new = mix(block, layer, x, held, source)
        return by_rows_and_columns(finish(block, x, seen, own, config=config)), new

    def group(x: Array, given: Any) -> tuple[Array, Any]:
        after = []
        for i, (block, held, own, layer) in enumerate(zip(*given, stage.pattern, strict=True)):
            source = None if layer.keys_of is None else kept[layer.keys_of]
            looped = stage.repeats > 1 and not written_out(stage.repeats)
            one = rematerialised(partial(through, layer), remat, looped=looped)
            x, new = one(x, block, (held, own, source))
            if stage.repeats == 1:
                kept[first + i] = new
            after.append(None if held is None else new)
        return x, tuple(after)

    return group


def _by_entry(
    inputs: Float[Array, "L R P"] | None, stage: Stage, first: int
) -> tuple[Float[Array, "repeats R P"] | None, ...]:
    """The inputs of a stage's layers, for each entry of its pattern."""
    step, end = len(stage.pattern), first + len(stage.pattern) * stage.repeats
    if inputs is None:
        return (None,) * step
    return tuple(inputs[first + i : end : step] for i in range(step))


def _each_group(group: Callable[[Array, Any], tuple[Array, Any]], x: Array, given: Any) -> Any:
    """A scan over the groups; no loop where there is one, since a loop copies what it changes."""
    groups = jax.tree.leaves(given)[0].shape[0]
    if groups > 1:
        return scanned(group, x, given)
    x, after = group(x, jax.tree.map(lambda leaf: leaf[0], given))
    return x, jax.tree.map(lambda leaf: leaf[None], after)
