"""Prompts read in chunks, each into a row of its own, from as far as something like it was read.

Invariant: how a prompt is cut, and what of it was kept from before, changes none of its states.
"""

import hashlib
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Int64

from castor.core.batch import Signal, Slots
from castor.models import decoder
from castor.models.cache import Cache, empty_cache, fitted
from castor.models.decoder import Seen
from castor.models.modality import encode
from castor.models.sizes import ModelConfig
from castor.sample.rows import LEAST_LENGTH, bucket
from castor.tokens.render import Tokens

CHUNK = 128  # most ids that are read at once, but for a medium that is longer
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
    logits: Float[Array, "1 V"]
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
    """One prompt on its way into a cache of `room` positions."""

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
        self._model, self._config, self._prompt = model, config, prompt
        self._at = shared
        if known is None:
            known = empty_row(config, room, str(model.decoder.embedding.dtype))
        lengths = jax.device_put(np.array([shared], np.int32))
        self._cache = Cache(fitted(known, room=room).layers, lengths)
        self._pooled: Array | np.ndarray = np.zeros((1, config.width), np.float32)
        self._logits: Array | None = None

    @property
    def left(self) -> int:
        """Ids still to be read."""
        return len(self._prompt) - self._at

    @property
    def done(self) -> Read:
        """The whole prompt, when nothing is left."""
        assert self._logits is not None and not self.left
        return Read(self._cache, self._logits, self._pooled)

    def advance(self, most: int = CHUNK) -> None:
        """Read up to `most` further ids, or one medium that is longer."""
        stop = self._stop(most)
        ids = self._prompt.tokens.ids[self._at : stop]
        T = bucket(len(ids), least=LEAST_LENGTH)
        tokens, blocks = np.zeros((2, 1, T), np.int32)
        tokens[0, : len(ids)] = ids
        states = np.zeros((1, T, self._config.width), np.float32)
        slots = np.zeros((1, T), bool)
        for number, (at, signal) in enumerate(self._prompt.tokens.signals, start=1):
            if self._at <= at < stop:
                here = slice(at - self._at, at - self._at + len(signal.values))
                blocks[0, here], slots[0, here] = number, True
                states[0, here] = encoded(self._model, signal, config=self._config)
        self._cache, self._logits, self._pooled = read_on(
            self._model,
            tokens,
            np.arange(T)[None] < len(ids),
            blocks,
            Seen(states, slots),
            self._cache,
            self._pooled,
            config=self._config,
        )
        self._at = stop

    def _stop(self, most: int) -> int:
        """Where the next chunk ends: before a medium that it would part, or after it."""
        stop = min(self._at + most, len(self._prompt))
        for start, end in self._prompt.media:
            if start < stop < end:
                return start if start > self._at else end
        return stop


@lru_cache(maxsize=16)
def empty_row(config: ModelConfig, room: int, dtype: str) -> Cache:
    """A row that holds nothing, shared by all that are read from the start."""
    return empty_cache(config, rows=1, room=room, dtype=dtype)


@partial(jax.jit, static_argnames=("config",))
def read_on(
    model: decoder.Model,
    tokens: Int[Array, "1 T"],
    valid: Bool[Array, "1 T"],
    blocks: Int[Array, "1 T"],
    seen: Seen,
    cache: Cache,
    pooled: Float[Array, "1 D"],
    *,
    config: ModelConfig,
) -> tuple[Cache, Float[Array, "1 V"], Float[Array, "1 D"]]:
    """A row with further ids in it, the logits of the next one, and the sum of all states."""
    states, cache = decoder.extend(
        model, tokens, cache, config=config, valid=valid, blocks=blocks, media=seen
    )
    last = jnp.maximum(valid.sum(1, dtype=jnp.int32) - 1, 0)
    final = jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]
    pooled = pooled + jnp.where(valid[..., None], states.astype(jnp.float32), 0.0).sum(1)
    return cache, decoder.logits(model, final), pooled


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
