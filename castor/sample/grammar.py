"""What may come next: text is only text, and a picture is its sides and exactly its codes.

The state of every row lives in the compiled decode loop; nothing here looks at Python values of it.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Int

from castor.tokens.control import SIDES, Control
from castor.tokens.vocab import Vocab

TEXT, HEIGHT, WIDTH, CODES, CLOSE, OVER = range(6)  # what a row is in the middle of

Pictures = Literal["never", "allowed", "only"]
NEVER, ALLOWED, ONLY = range(3)
ENDS = 3  # most ids by which a dialogue ends a reply


class Rules(NamedTuple):
    """The vocabulary's ranges and what a request, or each row, asks for; none is compiled in."""

    text_start: Int[np.ndarray | Array, "..."]
    text_stop: Int[np.ndarray | Array, "..."]
    ends: Int[np.ndarray | Array, "... E"]  # ids that end a reply, the last one repeated
    code_start: Int[np.ndarray | Array, "..."]
    codes: Int[np.ndarray | Array, "..."]
    pictures: Int[np.ndarray | Array, "..."]  # NEVER, ALLOWED or ONLY
    height: Int[np.ndarray | Array, "..."]  # that pictures must have, in codes; 0 = any
    width: Int[np.ndarray | Array, "..."]

    @property
    def picture_ids(self) -> Int[np.ndarray | Array, "..."] | np.integer:
        """Ids that the smallest allowed picture takes, from its begin to its end."""
        height, width = (n + (n == 0).astype(np.int32) for n in (self.height, self.width))
        return height * width + 4


class Grammar(NamedTuple):
    """Where each row stands."""

    mode: Int[Array, " B"]
    height: Int[Array, " B"]
    left: Int[Array, " B"]  # codes that the picture still needs


def rules(vocab: Vocab, *, pictures: Pictures, grid: tuple[int, int] | None) -> Rules:
    """The rules of a request.

    Raises:
        ValueError: pictures are asked for and the vocabulary has no codes, or the grid is too big.
    """
    if pictures != "never" and not len(vocab.codes):
        raise ValueError("this model cannot draw: its vocabulary has no picture codes")
    if grid is not None and not all(1 <= side <= SIDES for side in grid):
        raise ValueError(f"a picture has 1 to {SIDES} codes a side; got {grid[0]} by {grid[1]}")
    wanted = ("never", "allowed", "only").index(pictures)
    ends = vocab.dialogue.ends
    numbers = (
        vocab.text.start,
        vocab.text.stop,
        [*ends, *[ends[-1]] * (ENDS - len(ends))],
        vocab.codes.start,
        len(vocab.codes),
        wanted,
        *(grid or (0, 0)),
    )
    return Rules(*(np.asarray(number, np.int32) for number in numbers))


def for_rows(laws: Sequence[Rules]) -> Rules:
    """The rules of requests, a row for each."""
    return Rules(*(np.stack(numbers) for numbers in zip(*laws, strict=True)))


def begin(rows: int) -> Grammar:
    """Every row at the start of a turn."""
    zeros = jnp.zeros(rows, jnp.int32)
    return Grammar(zeros, zeros, zeros)


def allowed(
    state: Grammar, law: Rules, *, size: int, room: Int[Array, " B"], first: Bool[Array, " B"]
) -> Bool[Array, "B V"]:
    """Which of `size` ids may come next in each row: a range of ids, and up to two more.

    `room` is how many more ids fit: no picture is begun that could not be finished, and a free
    grid is no larger than that. `first` marks rows that have said nothing yet; where only pictures
    are asked for, they begin one and end after it. Calls of functions are never begun: nothing
    here could promise that their JSON is whole.
    """
    only = law.pictures == ONLY
    draws = (room >= law.picture_ids) & ((law.pictures == ALLOWED) | (only & first))
    talks = (state.mode == TEXT) & ~only
    tallest = jnp.where(law.height > 0, law.height, jnp.clip(room - 3, 1, SIDES))
    fitting = jnp.clip((room - 2) // jnp.maximum(state.height, 1), 1, SIDES)
    widest = jnp.where(law.width > 0, law.width, fitting)
    nothing = jnp.zeros_like(room)
    one = jnp.ones_like(room)
    ranges = {  # what is being written: first id, and one past the last
        TEXT: (jnp.where(talks, law.text_start, 0), jnp.where(talks, law.text_stop, 0)),
        HEIGHT: (Control.SIDE + jnp.maximum(law.height, one), Control.SIDE + tallest + 1),
        WIDTH: (Control.SIDE + jnp.maximum(law.width, one), Control.SIDE + widest + 1),
        CODES: (nothing + law.code_start, nothing + law.code_start + law.codes),
    }
    modes = [state.mode == mode for mode in ranges]
    start, stop = (jnp.select(modes, list(ends), 0) for ends in zip(*ranges.values(), strict=True))
    must_draw = only & draws
    ends = ((state.mode == TEXT) & ~must_draw) | (state.mode == OVER)
    closes = jnp.where(state.mode == CLOSE, Control.DRAW_END, -1)
    opens = jnp.where((state.mode == TEXT) & draws, Control.DRAW_BEGIN, closes)
    ids = jnp.arange(size, dtype=jnp.int32)[None]
    inside = (ids >= start[:, None]) & (ids < stop[:, None]) | (ids == opens[:, None])
    for n in range(ENDS):
        end = jnp.where(ends, law.ends[..., n], -1)
        inside = inside | (ids == end[:, None])
    return inside


def follow(state: Grammar, law: Rules, chosen: Int[Array, " B"]) -> Grammar:
    """Where each row stands after the chosen id."""
    ended = jnp.zeros_like(chosen, bool)
    for n in range(ENDS):
        ended = ended | (chosen == law.ends[..., n])
    side = chosen - Control.SIDE
    left = jnp.where(state.mode == WIDTH, state.height * side, state.left)
    left = jnp.where(state.mode == CODES, left - 1, left)
    draws = (chosen == Control.DRAW_BEGIN) & (law.codes > 0)
    after_text = jnp.where(draws, HEIGHT, jnp.where(ended, OVER, TEXT))
    after_codes = jnp.where(left > 0, CODES, CLOSE)
    following = [after_text, WIDTH, CODES, after_codes, TEXT, OVER]
    mode = jnp.select(
        [state.mode == i for i in range(6)],
        [jnp.broadcast_to(jnp.asarray(m, jnp.int32), chosen.shape) for m in following],
    )
    height = jnp.where(state.mode == HEIGHT, side, state.height)
    return Grammar(mode, height, left)
