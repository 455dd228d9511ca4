"""Prompts read in chunks, each into a row of its own, from as far as something like it was read.

Invariant: how a prompt is cut, and what of it was kept from before, changes none of its states.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64

from castor.core.batch import Signal, Slots
from castor.models import decoder
from castor.models.cache import Cache, empty_cache, fitted, rows_apart, rows_joined
from castor.models.decoder import Packed, Seen
from castor.models.modality import encode, is_causal
from castor.models.sizes import ModelConfig
from castor.sample.rows import LEAST_LENGTH, bucket, room_for, widths
from castor.tokens.render import Tokens

CHUNK = 64  # most ids that are read at once, but for a medium that is longer
TOGETHER = 4  # prompts that are read at once where more than one is [ours]
SLOTS = 16  # fewest slots that are encoded together


class Prompt(NamedTuple):
    """A rendered document, ready to be read and to be compared with others."""

    tokens: Tokens
    marks: Int64[np.ndarray, " n"]  # an id or, for a slot, a number made of what its medium holds

    def __len__(self) -> int:
        return len(self.marks)

    @property
    def media(self) -> list[tuple[int, int]]:
        """Where the slots of each signal begin and end: they are read together."""
        return [(at, at + len(signal.values)) for at, signal in self.tokens.signals]


class Read(NamedTuple):
    """What reading gave: the row, and what follows from its last id."""

    cache: Cache
    logits: Float[Array | np.ndarray, "1 V"]
    pooled: Float[Array | np.ndarray, "1 D"]  # the sum of the final states of what was read


def prompt_of(tokens: Tokens) -> Prompt:
    """The prompt of these tokens. Slots of equal media have equal marks, all below 0."""
    marks = tokens.ids.astype(np.int64)
    for at, signal in tokens.signals:
        held = hashlib.sha256(signal.values.tobytes() + signal.places.tobytes()).digest()
        marks[at : at + len(signal.values)] = -1 - (int.from_bytes(held[:8], "big") >> 2)
    return Prompt(tokens, marks)


def common(prompt: Prompt, marks: Int64[np.ndarray, " n"]) -> int:
    """How many of the prompt's first ids these marks share, whole media only, and not the last."""
    n = min(len(prompt) - 1, len(marks))
    differs = np.flatnonzero(prompt.marks[:n] != marks[:n])
    shared = int(differs[0]) if len(differs) else n
    return next((start for start, stop in prompt.media if start < shared < stop), shared)


class Reading:
    """One prompt on its way into a row that grows to `room` positions at most, no wider than what
    is read so far: a chunk takes the longer, the more positions it may look at."""

    def __init__(
        self,
        model: Any,
        prompt: Prompt,
        *,
        config: ModelConfig,
        room: int,
        known: Cache | None = None,
        shared: int = 0,
    ) -> None:
        self.model, self.config, self._prompt, self._most = model, config, prompt, room
        self._at = shared
        if known is None:
            known = empty_row(config, widths(room)[0], str(model.decoder.embedding.dtype))
        lengths = jax.device_put(np.array([shared], np.int32))
        cache = Cache(fitted(known, room=min(known.room, room)).layers, lengths)
        logits = np.zeros((1, config.vocab), np.float32)
        self.read = Read(cache, logits, np.zeros((1, config.width), np.float32))

    def __len__(self) -> int:
        return len(self._prompt)

    @property
    def left(self) -> int:
        """Ids still to be read."""
        return len(self._prompt) - self._at

    def room(self, most: int = CHUNK) -> int:
        """Positions of its row when up to `most` further ids are read."""
        return max(self.read.cache.room, room_for(self._stop(most), self._most))

    @property
    def done(self) -> Read:
        """The whole prompt, when nothing is left."""
        assert not self.left
        return self.read

    def advance(self, most: int = CHUNK) -> None:
        """Read up to `most` further ids, or one medium that is longer."""
        advance_together([self], most)

    def chunk(self, most: int) -> "Chunk":
        """What is read next."""
        stop = self._stop(most)
        ids = self._prompt.tokens.ids[self._at : stop]
        blocks, slots = np.zeros(len(ids), np.int32), np.zeros(len(ids), bool)
        states = np.zeros((len(ids), self.config.width), np.float32)
        for number, (at, signal) in enumerate(self._prompt.tokens.signals, start=1):
            if self._at <= at < stop:
                here = slice(at - self._at, at - self._at + len(signal.values))
                blocks[here] = 0 if is_causal(signal.kind, self.config) else number
                slots[here] = True
                states[here] = encoded(self.model, signal, config=self.config)
        return Chunk(ids, blocks, states, slots)

    def widened(self, room: int) -> Read:
        """What was read so far, with so many positions."""
        return self.read._replace(cache=fitted(self.read.cache, room=room))

    def took(self, read: Read, ids: int) -> None:
        """So many ids were read, to this end."""
        self.read = read
        self._at += ids

    def _stop(self, most: int) -> int:
        """Where the next chunk ends: before a medium that it would part, or after it."""
        stop = min(self._at + most, len(self._prompt))
        for start, end in self._prompt.media:
            if start < stop < end:
                return start if start > self._at else end
        return stop


class Chunk(NamedTuple):
    """The next ids of one prompt, with the states of the media among them."""

    ids: Int32[np.ndarray, " T"]
    blocks: Int32[np.ndarray, " T"]
    states: Float32[np.ndarray, "T D"]
    slots: Bool[np.ndarray, " T"]


def advance_together(readings: Sequence[Reading], most: int) -> None:
    """Read up to `most` further ids of each, all of one model, in rows as wide as the widest's.
    Four together take half the time of one after another."""
    room = max(reading.room(most) for reading in readings)
    chunks = [reading.chunk(most) for reading in readings]
    first, longest = readings[0], max(len(chunk.ids) for chunk in chunks)
    if len(readings) == 1:
        N, T, P = 1, *[min(bucket(longest, least=LEAST_LENGTH), room)] * 2
    else:
        N, T = TOGETHER, min(bucket(longest, least=CHUNK), room)
        P = -(-sum(len(chunk.ids) for chunk in chunks) // T) * T
    before = [reading.widened(room) for reading in readings]
    before += before[:1] * (N - len(readings))
    given = laid_out(chunks, rows=N, length=T, places=P)
    rows = read_on(first.model, *given, tuple(before), config=first.config)
    for reading, chunk, row in zip(readings, chunks, rows[: len(readings)], strict=True):
        reading.took(row, len(chunk.ids))


class Laid(NamedTuple):
    """Chunks of N rows as arrays: P places hold their ids end to end."""

    tokens: Int32[np.ndarray, "1 P"]
    seen: Seen  # [1, P, ...]
    packed: Packed
    counts: Int32[np.ndarray, " N"]
    blocks: Int32[np.ndarray, "N T"]


def laid_out(chunks: Sequence[Chunk], *, rows: int, length: int, places: int) -> Laid:
    """So many rows of that length in so many places; what is left over of each holds nothing."""
    tokens, whose, columns = np.zeros((3, places), np.int32)
    blocks, where = np.zeros((2, rows, length), np.int32)
    states = np.zeros((places, chunks[0].states.shape[1]), np.float32)
    slots, counts = np.zeros(places, bool), np.zeros(rows, np.int32)
    at = 0
    for row, chunk in enumerate(chunks):
        n = counts[row] = len(chunk.ids)
        here = slice(at, at + n)
        tokens[here], states[here], slots[here] = chunk.ids, chunk.states, chunk.slots
        whose[here], columns[here] = row, np.arange(n)
        blocks[row, :n], where[row, :n] = chunk.blocks, columns[here] + at
        at += n
    seen = Seen(states[None], slots[None])
    return Laid(tokens[None], seen, Packed(whose, columns, where), counts, blocks)


@lru_cache(maxsize=16)
def empty_row(config: ModelConfig, room: int, dtype: str) -> Cache:
    """A row that holds nothing, shared by all that are read from the start."""
    return empty_cache(config, rows=1, room=room, dtype=dtype)


@partial(jax.jit, static_argnames=("config",))
def read_on(
    model: decoder.Model,
    tokens: Int[Array, "1 P"],
    seen: Seen,
    packed: Packed,
    counts: Int[Array, " N"],
    blocks: Int[Array, "N T"],
    rows: tuple[Read, ...],
    *,
    config: ModelConfig,
) -> tuple[Read, ...]:
    """Rows with further ids in them, each with the logits of the next one."""
    cache = rows_joined([row.cache for row in rows])
    valid = jnp.arange(blocks.shape[1], dtype=jnp.int32)[None] < counts[:, None]
    (states,), cache = decoder.extend(
        model,
        tokens,
        cache,
        config=config,
        valid=valid,
        blocks=blocks,
        media=seen,
        packed=packed,
    )
    ends = jnp.cumsum(counts)
    place = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    mine = (place >= (ends - counts)[:, None]) & (place < ends[:, None])  # [N, P]
    sums = jnp.dot(mine.astype(jnp.float32), states.astype(jnp.float32))
    pooled = sums + jnp.concatenate([jnp.asarray(row.pooled) for row in rows])
    logits = decoder.logits(model, states[jnp.maximum(ends - 1, 0)], cap=config.logit_cap)
    apart = rows_apart(cache)
    return tuple(Read(row, logits[i, None], pooled[i, None]) for i, row in enumerate(apart))


def encoded(model: Any, signal: Signal, *, config: ModelConfig) -> Float[np.ndarray, "n D"]:
    """The states of one signal's slots."""
    n = len(signal.values)
    M = bucket(n, least=SLOTS)
    values = np.zeros((1, M, *signal.values.shape[1:]), signal.values.dtype)
    places, blocks = np.zeros((1, M, 2), np.int32), np.zeros((1, M), np.int32)
    values[0, :n], places[0, :n], blocks[0, :n] = signal.values, signal.places, 1
    slots = Slots(values, places, np.zeros((1, M), np.int32), blocks)
    states = _encode(model.encoders[signal.kind], slots, config=config)
    return np.asarray(states)[0, :n].astype(np.float32)


@partial(jax.jit, static_argnames=("config",))
def _encode(encoder: Any, slots: Slots, *, config: ModelConfig) -> Float[Array, "1 M D"]:
    return encode(encoder, slots, config=config)
