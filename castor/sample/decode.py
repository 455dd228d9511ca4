"""The compiled parts: reading a prompt, then drawing ids in a loop that Python does not enter."""

import math
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
from castor.models.one_row import runs_here, turned
from castor.models.sizes import ModelConfig
from castor.sample.choose import Dials, draw, likeliest, penalise
from castor.sample.grammar import CODES, OVER, Grammar, Rules, allowed, begin, follow
from castor.tokens.control import Control

CALL = 64  # most ids that one call of `run` draws
JUDGED = 256  # positions whose logits are held at once: 0.3 GB of a vocabulary of 262,144
UNROLLED = 12  # most groups of layers whose loop is undone; more would compile for too long


class Running(NamedTuple):
    """Rows in the middle of their replies."""

    cache: Cache
    logits: Float[Array, "B V"]  # of the next id
    grammar: Grammar
    counts: Int[Array, "B V"]  # how often each row said each text id; [B, 0] without penalties
    said: Int[Array, " B"]
    keys: Array  # [B]


class Seats(NamedTuple):
    """What a call of `run` is told of each row. A shadow has no prompt and repeats its leader:
    guidance compares the two."""

    most: Int[np.ndarray, " B"]  # ids of the whole reply; 0 = nobody sits there
    leader: Int[np.ndarray, " B"]  # whose ids a row is fed: its own, but for a shadow
    shadow: Int[np.ndarray, " B"]  # the row that compares; the row itself where none does


class Told(NamedTuple):
    """Ids that the host allows, in place of the grammar, to rows that are `bound`."""

    may: Bool[np.ndarray, "B V"]
    bound: Bool[np.ndarray, " B"]


class How(NamedTuple):
    """What is compiled into `run`; what is left out costs nothing."""

    greedy: bool = False  # every temperature is 0
    penalties: bool = True
    guided: bool = True  # some rows have shadows
    columns: int = CALL  # most ids that one call draws
    likely: int = 0  # how many of the likeliest ids are told with each drawn one


class Drawn(NamedTuple):
    """What one call drew; `steps` of the columns are real. A row that is over draws PAD."""

    ids: Int[Array, "B columns"]
    logprobs: Float[Array, "B columns"]
    likely: Int[Array, "B columns likely"]  # the likeliest ids, best first
    likely_logprobs: Float[Array, "B columns likely"]
    steps: Int[Array, ""]
    over: Bool[Array, " B"]


def at_hand(model: decoder.Model, config: ModelConfig) -> tuple[decoder.Model, ModelConfig]:
    """The same model as it is decoded with: as one group of all its layers, so that there is no
    loop over them, and on a GPU with matrices as its kernels read them.

    On a CPU the loop copies each layer's weights for every id: decoding one row takes 1.2 times
    as long in float32 and 1.6 times in bfloat16. Models of more than UNROLLED groups stay as they
    are.
    """
    if max(stage.repeats for stage in config.stages) <= UNROLLED:
        model, config = decoder.unrolled(model, config)
    return (turned(model) if runs_here(model.decoder.final_norm.dtype) else model), config


@partial(jax.jit, static_argnames=("config", "penalties"))
def read(
    model: decoder.Model,
    tokens: Int[Array, "B T"],
    valid: Bool[Array, "B T"],
    blocks: Int[Array, "B T"],
    media: dict[str, Slots],
    keys: Array,
    *,
    config: ModelConfig,
    penalties: bool,
) -> Running:
    """Prompts into a fresh cache of T positions, up to the logits of the first id."""
    B, T = tokens.shape
    dtype = model.decoder.embedding.dtype
    cache = empty_cache(config, rows=B, room=T, dtype=dtype)
    states, cache = decoder.extend(
        model, tokens, cache, config=config, valid=valid, blocks=blocks, media=media
    )
    last = jnp.maximum(valid.sum(1, dtype=jnp.int32) - 1, 0)
    final = jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]
    counts = jnp.zeros((B, config.vocab if penalties else 0), jnp.int32)
    said = jnp.zeros(B, jnp.int32)
    return Running(
        cache, decoder.logits(model, final, cap=config.logit_cap), begin(B), counts, said, keys
    )


@partial(jax.jit, static_argnames=("config", "how"), donate_argnames=("running",))
def run(
    model: decoder.Model,
    running: Running,
    dial: Dials,
    law: Rules,
    seats: Seats,
    steps: Int[Array, ""],
    told: Told | None = None,
    *,
    config: ModelConfig,
    how: How,
) -> tuple[Running, Drawn]:
    """Up to `steps` (at most `how.columns`) further ids per row, of each row's most.

    Ends early when every row is over. Log-probabilities are the model's own, before grammar,
    penalties, temperature and guidance.
    """
    B, V = running.logits.shape
    rows, most = jnp.arange(B), jnp.asarray(seats.most)

    def unfinished(carry: tuple[Running, Drawn]) -> Array:
        _, drawn = carry
        return (drawn.steps < steps) & ~jnp.all(drawn.over)

    def one(carry: tuple[Running, Drawn]) -> tuple[Running, Drawn]:
        now, drawn = carry
        mixed = _guide(now, seats, dial) if how.guided else now.logits
        mixed = penalise(mixed, now.counts, dial) if how.penalties else mixed
        may = allowed(now.grammar, law, size=V, room=most - now.said, first=now.said == 0)
        if told is not None:
            may = jnp.where(jnp.asarray(told.bound)[:, None], told.may, may)
        masked = jnp.where(may, mixed, -jnp.inf)
        keys = jax.vmap(jax.random.fold_in)(now.keys, now.said)
        ids = likeliest(masked) if how.greedy else draw(masked, keys, dial)
        ids = jnp.where(drawn.over, Control.PAD, ids).astype(jnp.int32)
        ids = ids[seats.leader] if how.guided else ids
        grammar, said = follow(now.grammar, law, ids), now.said + 1
        states, cache = decoder.extend(
            model, ids[:, None], now.cache, config=config, valid=~drawn.over[:, None]
        )
        text = (ids >= law.text_start) & (ids < law.text_stop)
        counts = (
            now.counts.at[rows, ids].add(text.astype(jnp.int32)) if how.penalties else now.counts
        )
        logits = decoder.logits(model, states[:, 0], cap=config.logit_cap)
        noted = _noted(drawn, now.logits, ids)
        over = drawn.over | (grammar.mode == OVER) | (said >= most)
        return Running(cache, logits, grammar, counts, said, now.keys), noted._replace(over=over)

    fresh = Drawn(
        jnp.zeros((B, how.columns), jnp.int32),
        jnp.zeros((B, how.columns), jnp.float32),
        jnp.zeros((B, how.columns, how.likely), jnp.int32),
        jnp.zeros((B, how.columns, how.likely), jnp.float32),
        jnp.int32(0),
        (running.grammar.mode == OVER) | (running.said >= most),
    )
    return jax.lax.while_loop(unfinished, one, (running, fresh))


def _noted(drawn: Drawn, logits: Float[Array, "B V"], ids: Int[Array, " B"]) -> Drawn:
    """One more column, of ids drawn where the model gave these logits."""
    total = jax.nn.logsumexp(logits, -1)
    chance = jnp.take_along_axis(logits, ids[:, None], 1)[:, 0] - total
    at = drawn.steps
    noted = drawn._replace(
        ids=drawn.ids.at[:, at].set(ids),
        logprobs=drawn.logprobs.at[:, at].set(chance),
        steps=at + 1,
    )
    if not drawn.likely.shape[2]:
        return noted
    best, which = jax.lax.top_k(logits, drawn.likely.shape[2])
    return noted._replace(
        likely=drawn.likely.at[:, at].set(which),
        likely_logprobs=drawn.likely_logprobs.at[:, at].set(best - total[:, None]),
    )


class Judged(NamedTuple):
    """Sums over the learned ids of each row."""

    nats: Float[Array, " B"]
    right: Float[Array, " B"]  # ids that were the likeliest
    count: Float[Array, " B"]


@partial(jax.jit, static_argnames=("config",))
def judge(model: decoder.Model, batch: Batch, *, config: ModelConfig) -> Judged:
    """How likely the targets of weight above 0 are, by the full forward pass."""
    states = decoder.hidden(model, batch, config=config)

    B, T = batch.targets.shape
    part = math.gcd(T, JUDGED)

    def stretch(given: tuple[Array, Array, Array]) -> Judged:
        state, targets, weights = given
        scores = decoder.logits(model, state, cap=config.logit_cap)
        hit = jnp.take_along_axis(scores, targets[:, None], 1)[:, 0]
        learned = (weights > 0).astype(jnp.float32)
        nats = (jax.nn.logsumexp(scores, -1) - hit) * learned
        right = (hit >= scores.max(-1)).astype(jnp.float32) * learned
        return Judged(nats.sum(), right.sum(), learned.sum())

    cut = (jnp.asarray(x) for x in (states, batch.targets, batch.weights))
    judged = jax.lax.map(stretch, tuple(x.reshape(-1, part, *x.shape[2:]) for x in cut))
    return Judged(*(x.reshape(B, -1).sum(1) for x in judged))


@partial(jax.jit, static_argnames=("config",))
def painted(
    codec: Codec, codes: Int32[np.ndarray | Array, "n h w"], *, config: CodecConfig
) -> UInt8[Array, "n s t 3"]:
    """The pictures that codes stand for, compiled once for each shape."""
    return decode_pictures(codec, codes, config=config)


def weights_in(model: Any, dtype: str) -> Any:
    """The model's floating-point arrays in one type, all on the device; codes stay codes."""

    def cast(x: Any) -> Array:
        array = jnp.asarray(x)
        return array.astype(dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array

    return jax.tree.map(cast, model)


def _guide(now: Running, seats: Seats, dial: Dials) -> Float[Array, "B V"]:
    """Where a code is next: the unprompted logits plus `guidance` times what the prompt changes.

    Paper: Ho & Salimans 2022, arXiv:2207.12598.
    """
    asked, unasked = now.logits, now.logits[seats.shadow]
    pushed = unasked + jnp.asarray(dial.guidance)[:, None] * (asked - unasked)
    compared = (now.grammar.mode == CODES) & (seats.shadow != jnp.arange(len(seats.shadow)))
    return jnp.where(compared[:, None], pushed, asked)
