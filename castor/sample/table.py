"""The rows that are being answered, on the device: they join and leave between two calls.

The table is as long as its rows need and as wide as the longest of them has grown, out of a few
lengths and widths, so that little is ever compiled. A call is dispatched before the one before it
is looked at; so a row that the host ends may say a few ids that nobody hears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Int

from castor.models.cache import Cache, fitted, row_put, rows_taken
from castor.models.one_row import runs_here
from castor.models.sizes import ModelConfig
from castor.sample.ask import MOST_ALTERNATIVES
from castor.sample.choose import Dials, Sampling, dials
from castor.sample.decode import Drawn, How, Running, Seats, Told, run
from castor.sample.grammar import Rules, begin, for_rows
from castor.sample.reading import Read
from castor.sample.rows import room_for

ALONE = 8  # ids that a call draws for one row where nobody else is there
STRIDE = 4  # and for several where nobody waits for the one after
# With this many rows just as many are drawn between two chunks of prompts, with fewer two: the more
# rows, the sooner some are free, and the more of the prompts that wait are read together.
CROWD = 16  # [ours]


@dataclass(eq=False)
class Sitter:
    """One row: a candidate of a request, or the shadow of one. `said_most` 0 = it is over."""

    sampling: Sampling
    law: Rules
    prompt: int  # ids that it goes on from
    said_most: int
    alternatives: bool = False
    may: Bool[np.ndarray, " V"] | None = None  # what the host allows next, where it decides
    shadow: "Sitter | None" = None
    leader: "Sitter | None" = None
    due: int = 0  # ids that calls were made for, heard or not

    @property
    def plain(self) -> bool:
        """Whether the likeliest id is drawn and nothing else is asked."""
        quiet = self.sampling.temperature == 0 and not self.sampling.penalises
        together = self.shadow or self.leader
        return quiet and not together and not self.alternatives and self.may is None

    def positions(self, further: int) -> int:
        """What its row holds at most when so many further ids are drawn."""
        return self.prompt + min(self.due + further, self.said_most)


class Call(NamedTuple):
    """A call under way: who sat where, and what it will have drawn."""

    sitters: tuple[Sitter | None, ...]
    drawn: Drawn


def lengths(rows_most: int, *, half: bool) -> tuple[int, ...]:
    """How many rows a table may have: two at least in `half` precision, of which XLA makes single
    precision on a CPU where there is one row, all weights anew in each call."""
    found = [2 if half else 1]
    while found[-1] < rows_most:
        found.append(min(found[-1] * 4, rows_most))
    return tuple(found)


class Table:
    """Rows in the middle of their replies. Not for several threads."""

    def __init__(self, model: Any, *, config: ModelConfig, rows_most: int, draws: bool) -> None:
        self._model, self._config, self._draws = model, config, draws
        dtype = model.decoder.embedding.dtype
        half = dtype != jnp.float32 and not runs_here(dtype)
        self._rows_most, self.lengths = rows_most, lengths(rows_most, half=half)
        self._sitters: list[Sitter | None] = []
        self._running: Running | None = None
        self._facts: tuple[Dials, Rules, Seats] | None = None  # of those who sit, as arrays

    @property
    def sitters(self) -> list[Sitter]:
        """Those who sit, in the order of their rows."""
        return [sitter for sitter in self._sitters if sitter is not None]

    @property
    def free(self) -> int:
        """How many may still sit down."""
        return self._rows_most - len(self.sitters)

    @property
    def awaited(self) -> bool:
        """Whether few sit and one has said nothing: somebody waits for a first id."""
        sat = self.sitters
        return len(sat) < CROWD and not all(sitter.due for sitter in sat)

    @property
    def spent(self) -> bool:
        """Whether calls were made for all that those who sit may say."""
        return all(sitter.due >= sitter.said_most for sitter in self.sitters)

    def sit(self, sitter: Sitter, read: Read, key: Array) -> None:
        """Begin the reply to what was read."""
        self._facts = None
        room = self._room_for(sitter.positions(1))
        if None not in self._sitters:
            self._resize(self._length(len(self._sitters) + 1))
        cache = fitted(read.cache, room=max(room, self.room))
        row = _first(read._replace(cache=cache), key)
        if self._running is None:
            self._running, self._sitters = row, [sitter]
            if self.lengths[0] > 1:
                self._resize(self.lengths[0])
            return
        self._running = self.widened(room)
        at = self._sitters.index(None)
        self._sitters[at] = sitter
        self._running = _joined(self._running, row, np.int32(at))

    def widened(self, room: int) -> Running:
        """All rows with at least that many positions."""
        assert self._running is not None
        if self.room >= room:
            return self._running
        return self._running._replace(cache=fitted(self._running.cache, room=room))

    def leave(self, sitter: Sitter) -> Cache:
        """End a reply and give back what its row holds."""
        at = self._sitters.index(sitter)
        self._sitters[at], self._facts = None, None
        assert self._running is not None
        row = _taken(self._running, np.array([at], np.int32))
        left = len(self.sitters)
        if not left:
            self._running, self._sitters = None, []
        elif 2 * left <= self._rows_most and self._length(2 * left) < len(self._sitters):
            self._resize(self._length(left))
        return row.cache

    @property
    def room(self) -> int:
        """Positions of every row; 0 where nobody sits."""
        return 0 if self._running is None else self._running.cache.room

    def call(self, *, hurry: bool) -> Call:
        """Draw the next ids of all rows: one where the host decides; fewer in a `hurry`."""
        assert self._running is not None
        sitters, sat = tuple(self._sitters), self.sitters
        facts = self._facts
        if facts is None:
            dial = dials([sitter.sampling if sitter else _NOBODY for sitter in sitters])
            law = for_rows([self._law(sitter) for sitter in sitters])
            facts = jax.device_put((dial, law, _seats(sitters)))  # not anew for each call
            self._facts = facts
        plain = all(sitter is None or sitter.plain for sitter in sitters)
        bound = any(sitter.may is not None for sitter in sat)
        steps = 1 if bound else self._stride(hurry)
        self._running = self.widened(max(self._room_for(s.positions(steps)) for s in sat))
        self._running, drawn = run(
            self._model,
            self._running,
            *facts,
            np.int32(steps),
            None if plain else self._told(sitters),
            config=self._config,
            how=how(plain=plain, draws=self._draws),
        )
        for sitter in sat:
            sitter.due += steps
        return Call(sitters, drawn)

    def _length(self, rows: int) -> int:
        return next(length for length in self.lengths if length >= rows)

    def _room_for(self, positions: int) -> int:
        context = self._config.context
        return room_for(min(positions, context), context)

    def _stride(self, hurry: bool) -> int:
        """Ids of a call: with many rows, several between the chunks are little to wait for; with
        few, the first of a reply comes alone."""
        sat = self.sitters
        if self.awaited:
            return 1
        if hurry:
            return STRIDE if len(sat) >= CROWD else 2
        return ALONE if len(sat) == 1 else STRIDE

    def _law(self, sitter: Sitter | None) -> Rules:
        return next(s.law for s in (sitter, *self._sitters) if s is not None)

    def _told(self, sitters: Sequence[Sitter | None]) -> Told:
        may = np.zeros((len(sitters), self._config.vocab), bool)
        bound = np.zeros(len(sitters), bool)
        for row, sitter in enumerate(sitters):
            if sitter is not None and sitter.may is not None:
                may[row], bound[row] = sitter.may, True
        return Told(may, bound)

    def _resize(self, rows: int) -> None:
        """Make the table that long; those who sit move to the front."""
        if self._running is None:
            return
        self._facts = None
        seated = [row for row, sitter in enumerate(self._sitters) if sitter is not None]
        index = np.array([*seated, *[0] * (rows - len(seated))], np.int32)
        self._running = _taken(self._running, index)
        self._sitters = [*self.sitters, *[None] * (rows - len(seated))]


def how(*, plain: bool, draws: bool) -> How:
    """What `run` is compiled for: the likeliest ids alone, or all that a request may ask."""
    if plain:
        return How(greedy=True, penalties=False, guided=False, columns=ALONE)
    return How(guided=draws, columns=ALONE, likely=MOST_ALTERNATIVES)


_NOBODY = Sampling()


def _seats(sitters: Sequence[Sitter | None]) -> Seats:
    places = {id(sitter): row for row, sitter in enumerate(sitters) if sitter is not None}
    most, leader, shadow = np.zeros((3, len(sitters)), np.int32)
    leader[:] = shadow[:] = np.arange(len(sitters))
    for row, sitter in enumerate(sitters):
        if sitter is not None:
            most[row] = sitter.said_most
            leader[row] = places[id(sitter.leader or sitter)]
            shadow[row] = places[id(sitter.shadow or sitter)]
    return Seats(most, leader, shadow)


@jax.jit
def _first(read: Read, key: Array) -> Running:
    """A table of one row, at the beginning of its reply."""
    V = read.logits.shape[1]
    counts, said = jnp.zeros((1, V), jnp.int32), jnp.zeros(1, jnp.int32)
    return Running(read.cache, jnp.asarray(read.logits), begin(1), counts, said, key)


@partial(jax.jit, donate_argnames=("running",))
def _joined(running: Running, row: Running, at: Int[Array, ""]) -> Running:
    cache = row_put(running.cache, row.cache, at=at)
    rest = jax.tree.map(lambda all, one: all.at[at].set(one[0]), running[1:], row[1:])
    return Running(cache, *rest)


@jax.jit
def _taken(running: Running, index: Int[Array, " R"]) -> Running:
    cache = rows_taken(running.cache, index)
    return Running(cache, *jax.tree.map(lambda x: x[index], running[1:]))
