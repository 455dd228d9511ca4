"""The compiled parts: reading a prompt, then drawing ids in a loop that Python does not enter."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Int32, UInt8

from castor.core.batch import Batch, Slots
from castor.models import decoder
from castor.models.cache import Cache, empty_cache
from castor.models.image_codec import Codec, CodecConfig, decode_pictures
from castor.models.sizes import ModelConfig
from castor.sample.choose import Dials, draw, likeliest, penalise
from castor.sample.grammar import CODES, OVER, Grammar, Rules, allowed, begin, follow
from castor.tokens.vocab import CONTROLS, Control

CALL = 64  # most ids that one call of `run` draws
UNROLLED = 12  # most groups of layers whose loop is undone; more would compile for too long


class Running(NamedTuple):
    """Rows in the middle of their replies. With guidance a second half of rows has no prompt."""

    cache: Cache
    logits: Float[Array, "R V"]  # of the next id; R = B, or 2B with guidance
    grammar: Grammar
    counts: Int[Array, "B V"]  # how often each row said each text id; [B, 0] without penalties
    said: Int[Array, ""]
    keys: Array  # [B]


class Drawn(NamedTuple):
    """What one call drew; `steps` of the columns are real. A row that is over draws PAD."""

    ids: Int[Array, "B CALL"]
    logprobs: Float[Array, "B CALL"]
    steps: Int[Array, ""]
    over: Bool[Array, " B"]


def unrolled(model: Any, config: ModelConfig) -> tuple[Any, ModelConfig]:
    """The same model as one group of all its layers, so that decoding needs no loop over them.

    On a CPU the loop copies each layer's weights for every id: decoding one row takes 1.2 times
    as long in float32 and 1.6 times in bfloat16. Models of more than UNROLLED groups stay as they
    are.
    """
    groups = config.layers // len(config.pattern)
    if groups > UNROLLED:
        return model, config
    blocks = tuple(
        jax.tree.map(lambda x, i=i: x[i : i + 1], block)
        for i in range(groups)
        for block in model.decoder.blocks
    )
    inner = dataclasses.replace(model.decoder, blocks=blocks)
    pattern = config.pattern * groups
    return dataclasses.replace(model, decoder=inner), dataclasses.replace(config, pattern=pattern)


@partial(jax.jit, static_argnames=("config", "penalties", "guided"))
def read(
    model: decoder.Model,
    tokens: Int[Array, "R T"],
    valid: Bool[Array, "R T"],
    blocks: Int[Array, "R T"],
    media: dict[str, Slots],
    keys: Array,
    *,
    config: ModelConfig,
    penalties: bool,
    guided: bool,
) -> Running:
    """Prompts into a fresh cache of T positions, up to the logits of the first id."""
    R, T = tokens.shape
    dtype = model.decoder.embedding.dtype
    cache = empty_cache(config, rows=R, room=T, dtype=dtype)
    states, cache = decoder.extend(
        model, tokens, cache, config=config, valid=valid, blocks=blocks, media=media
    )
    last = jnp.maximum(valid.sum(1, dtype=jnp.int32) - 1, 0)
    final = jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]
    rows = R // 2 if guided else R
    counts = jnp.zeros((rows, config.vocab if penalties else 0), jnp.int32)
    logits = decoder.logits(model, final)
    return Running(cache, logits, begin(rows), counts, jnp.int32(0), keys)


@partial(
    jax.jit,
    static_argnames=("config", "greedy", "penalties", "guided"),
    donate_argnames=("running",),
)
def run(
    model: decoder.Model,
    running: Running,
    dial: Dials,
    law: Rules,
    steps: Int[Array, ""],
    most: Int[Array, " B"],
    *,
    config: ModelConfig,
    greedy: bool,
    penalties: bool,
    guided: bool,
) -> tuple[Running, Drawn]:
    """Up to `steps` (at most CALL) further ids per row, of each row's `most` in its whole reply.

    Ends early when every row is over. Log-probabilities are the model's own, before grammar,
    penalties, temperature and guidance.
    """
    B = running.keys.shape[0]
    rows = jnp.arange(B)

    def unfinished(carry: tuple[Running, Drawn]) -> Array:
        _, drawn = carry
        return (drawn.steps < steps) & ~jnp.all(drawn.over)

    def one(carry: tuple[Running, Drawn]) -> tuple[Running, Drawn]:
        now, drawn = carry
        plain = now.logits[:B]
        mixed = _guide(now, dial) if guided else plain
        mixed = penalise(mixed, now.counts, dial) if penalties else mixed
        first = jnp.broadcast_to(now.said == 0, B)
        may = allowed(now.grammar, law, size=config.vocab, room=most - now.said, first=first)
        masked = jnp.where(may, mixed, -jnp.inf)
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(now.keys, now.said)
        ids = likeliest(masked) if greedy else draw(masked, keys, dial)
        ids = jnp.where(drawn.over, Control.PAD, ids).astype(jnp.int32)
        chance = jnp.take_along_axis(plain, ids[:, None], 1)[:, 0] - jax.nn.logsumexp(plain, -1)
        grammar, said = follow(now.grammar, ids), now.said + 1
        fed, live = jnp.tile(ids, 1 + guided), jnp.tile(~drawn.over, 1 + guided)
        states, cache = decoder.extend(
            model, fed[:, None], now.cache, config=config, valid=live[:, None]
        )
        text = (ids >= CONTROLS) & (ids < law.text_size)
        counts = now.counts.at[rows, ids].add(text.astype(jnp.int32)) if penalties else now.counts
        logits = decoder.logits(model, states[:, 0])
        return Running(cache, logits, grammar, counts, said, now.keys), Drawn(
            drawn.ids.at[:, drawn.steps].set(ids),
            drawn.logprobs.at[:, drawn.steps].set(chance),
            drawn.steps + 1,
            drawn.over | (grammar.mode == OVER) | (said >= most),
        )

    fresh = Drawn(
        jnp.zeros((B, CALL), jnp.int32),
        jnp.zeros((B, CALL), jnp.float32),
        jnp.int32(0),
        (running.grammar.mode == OVER) | (running.said >= most),
    )
    return jax.lax.while_loop(unfinished, one, (running, fresh))


class Judged(NamedTuple):
    """Sums over the learned ids of each row."""

    nats: Float[Array, " B"]
    right: Float[Array, " B"]  # ids that were the likeliest
    count: Float[Array, " B"]


@partial(jax.jit, static_argnames=("config",))
def judge(model: decoder.Model, batch: Batch, *, config: ModelConfig) -> Judged:
    """How likely the targets of weight above 0 are, by the full forward pass."""
    states = decoder.hidden(model, batch, config=config)

    def row(given: tuple[Array, Array, Array]) -> Judged:
        state, targets, weights = given
        scores = decoder.logits(model, state)
        hit = jnp.take_along_axis(scores, targets[:, None], 1)[:, 0]
        learned = (weights > 0).astype(jnp.float32)
        nats = (jax.nn.logsumexp(scores, -1) - hit) * learned
        right = (hit >= scores.max(-1)).astype(jnp.float32) * learned
        return Judged(nats.sum(), right.sum(), learned.sum())

    return jax.lax.map(row, (states, jnp.asarray(batch.targets), jnp.asarray(batch.weights)))


@partial(jax.jit, static_argnames=("config",))
def painted(
    codec: Codec, codes: Int32[np.ndarray | Array, "n h w"], *, config: CodecConfig
) -> UInt8[Array, "n s t 3"]:
    """The pictures that codes stand for, compiled once for each shape."""
    return decode_pictures(codec, codes, config=config)


def weights_in(model: Any, dtype: str) -> Any:
    """The model's arrays in one floating-point type, on the device."""
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), model)


def _guide(now: Running, dial: Dials) -> Float[Array, "B V"]:
    """Where a code is next: the unprompted logits plus `guidance` times what the prompt changes.

    Paper: Ho & Salimans 2022, arXiv:2207.12598.
    """
    asked, unasked = jnp.split(now.logits, 2)
    pushed = unasked + dial.guidance * (asked - unasked)
    return jnp.where((now.grammar.mode == CODES)[:, None], pushed, asked)
