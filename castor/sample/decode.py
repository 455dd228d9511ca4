"""The compiled parts: reading a prompt, then drawing ids in a loop that Python does not enter."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from castor.core.batch import Batch, Slots
from castor.models import decoder
from castor.models.cache import Cache, empty_cache
from castor.models.sizes import ModelConfig
from castor.sample.choose import Dials, choose, penalise
from castor.sample.grammar import CODES, OVER, Grammar, Rules, allowed, begin, follow
from castor.tokens.vocab import Control

CALL = 64  # most ids that one call of `run` draws


class Running(NamedTuple):
    """Rows in the middle of their replies. With guidance a second half of rows has no prompt."""

    cache: Cache
    logits: Float[Array, "R V"]  # of the next id; R = B, or 2B with guidance
    grammar: Grammar
    counts: Int[Array, "B V"]  # how often each row said each id; [B, 0] without penalties
    said: Int[Array, ""]
    keys: Array  # [B]


class Drawn(NamedTuple):
    """What one call drew; `steps` of the columns are real."""

    ids: Int[Array, "B CALL"]
    logprobs: Float[Array, "B CALL"]
    steps: Int[Array, ""]
    over: Bool[Array, " B"]


@partial(jax.jit, static_argnames=("config", "room", "penalties", "guided"))
def read(
    model: decoder.Model,
    tokens: Int[Array, "R T"],
    valid: Bool[Array, "R T"],
    blocks: Int[Array, "R T"],
    media: dict[str, Slots],
    keys: Array,
    *,
    config: ModelConfig,
    room: int,
    penalties: bool,
    guided: bool,
) -> Running:
    """Prompts into a fresh cache of `room` positions, up to the logits of the first id."""
    R = tokens.shape[0]
    dtype = model.decoder.embedding.dtype
    cache = empty_cache(config, rows=R, room=room, dtype=dtype)
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
    static_argnames=("config", "law", "greedy", "penalties", "guided"),
    donate_argnames=("running",),
)
def run(
    model: decoder.Model,
    running: Running,
    dial: Dials,
    steps: Int[Array, ""],
    most: Int[Array, ""],
    *,
    config: ModelConfig,
    law: Rules,
    greedy: bool,
    penalties: bool,
    guided: bool,
) -> tuple[Running, Drawn]:
    """Up to `steps` (at most CALL) further ids per row, of `most` in the whole reply.

    Ends early when every row is over. Log-probabilities are the model's own, before grammar,
    penalties, temperature and guidance.
    """
    B = running.keys.shape[0]

    def unfinished(carry: tuple[Running, Drawn]) -> Array:
        now, drawn = carry
        return (drawn.steps < steps) & ~jnp.all(drawn.over)

    def one(carry: tuple[Running, Drawn]) -> tuple[Running, Drawn]:
        now, drawn = carry
        plain = now.logits[:B]
        mixed = _guide(now, dial) if guided else plain
        if penalties:
            mixed = penalise(mixed, now.counts, dial)
        room, first = jnp.broadcast_to(most - now.said, B), jnp.broadcast_to(now.said == 0, B)
        may = allowed(now.grammar, law, size=config.vocab, room=room, first=first)
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(now.keys, now.said)
        ids = choose(jnp.where(may, mixed, -jnp.inf), keys, dial, greedy=greedy)
        ids = jnp.where(drawn.over, Control.PAD, ids).astype(jnp.int32)
        chance = jnp.take_along_axis(plain, ids[:, None], 1)[:, 0] - jax.nn.logsumexp(plain, -1)
        grammar = follow(now.grammar, ids, law)
        fed = jnp.tile(ids, 2) if guided else ids
        live = jnp.tile(~drawn.over, 2) if guided else ~drawn.over
        states, cache = decoder.extend(
            model, fed[:, None], now.cache, config=config, valid=live[:, None]
        )
        counts = now.counts.at[jnp.arange(B), ids].add(1) if penalties else now.counts
        after = Running(
            cache, decoder.logits(model, states[:, 0]), grammar, counts, now.said + 1, now.keys
        )
        column = drawn.steps
        return after, Drawn(
            drawn.ids.at[:, column].set(ids),
            drawn.logprobs.at[:, column].set(chance),
            column + 1,
            drawn.over | (grammar.mode == OVER),
        )

    fresh = Drawn(
        jnp.zeros((B, CALL), jnp.int32),
        jnp.zeros((B, CALL), jnp.float32),
        jnp.int32(0),
        running.grammar.mode == OVER,
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


def _guide(now: Running, dial: Dials) -> Float[Array, "B V"]:
    """Where a code is next: the unprompted logits plus `guidance` times what the prompt changes.

    Paper: Ho & Salimans 2022, arXiv:2207.12598.
    """
    asked, unasked = jnp.split(now.logits, 2)
    pushed = unasked + dial.guidance * (asked - unasked)
    return jnp.where((now.grammar.mode == CODES)[:, None], pushed, asked)


def weights_in(model: Any, dtype: str) -> Any:
    """The model's arrays in one floating-point type, on the device."""
    return jax.tree.map(lambda x: jnp.asarray(x).astype(dtype), model)
