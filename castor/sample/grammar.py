"""What may come next: text is only text, and a picture is its sides and exactly its codes.

The state of every row lives in the compiled decode loop; nothing here looks at Python values of it.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int

from castor.tokens.vocab import CONTROLS, SIDES, Control, Vocab

TEXT, HEIGHT, WIDTH, CODES, CLOSE, OVER = range(6)  # what a row is in the middle of

Pictures = Literal["never", "allowed", "only"]


class Rules(NamedTuple):
    """The vocabulary's ranges and what a request asks for; all static while decoding."""

    text_size: int
    codes: int
    pictures: Pictures
    grid: tuple[int, int] | None  # the height and width that pictures must have, in codes

    @property
    def picture_ids(self) -> int:
        """Ids that the largest allowed picture takes, from its begin to its end."""
        height, width = self.grid or (SIDES, SIDES)
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
    return Rules(vocab.text_size, len(vocab.codes), pictures, grid)


def begin(rows: int) -> Grammar:
    """Every row at the start of a turn."""
    zeros = jnp.zeros(rows, jnp.int32)
    return Grammar(zeros, zeros, zeros)


def allowed(
    state: Grammar, law: Rules, *, size: int, room: Int[Array, " B"], first: Bool[Array, " B"]
) -> Bool[Array, "B V"]:
    """Which of `size` ids may come next in each row.

    `room` is how many more ids fit: no picture is begun that could not be finished. `first` marks
    rows that have said nothing yet; where only pictures are asked for, they begin one.
    """
    ids = jnp.arange(size, dtype=jnp.int32)[None]
    mode = state.mode[:, None]
    is_end, is_draw = ids == Control.END, ids == Control.DRAW_BEGIN
    fits = (room >= law.picture_ids)[:, None]
    text = ((ids >= CONTROLS) & (ids < law.text_size)) | is_end
    if law.pictures == "allowed":
        text = text | (is_draw & fits)
    elif law.pictures == "only":
        draws = first[:, None] & fits
        text = jnp.where(draws, is_draw, is_end)
    sides = (ids > Control.SIDE) & (ids <= Control.SIDE + SIDES)
    height, width = (sides, sides)
    if law.grid is not None:
        height, width = (ids == Control.SIDE + side for side in law.grid)
    else:
        cap = (room[:, None] - 2) // jnp.maximum(state.height[:, None], 1)
        width = sides & (ids - Control.SIDE <= cap)
    codes = (ids >= law.text_size) & (ids < law.text_size + law.codes)
    options = [text, height, width, codes, ids == Control.DRAW_END, is_end]
    choices = [jnp.broadcast_to(option, (mode.shape[0], size)) for option in options]
    return jnp.select([mode == i for i in range(6)], choices, default=False)


def follow(state: Grammar, chosen: Int[Array, " B"], law: Rules) -> Grammar:
    """Where each row stands after the chosen id."""
    side = chosen - Control.SIDE
    left = jnp.where(state.mode == WIDTH, state.height * side, state.left)
    left = jnp.where(state.mode == CODES, left - 1, left)
    after_text = jnp.where(
        chosen == Control.DRAW_BEGIN, HEIGHT, jnp.where(chosen == Control.END, OVER, TEXT)
    )
    after_codes = jnp.where(left > 0, CODES, CLOSE)
    following = [after_text, WIDTH, CODES, after_codes, TEXT, OVER]
    mode = jnp.select(
        [state.mode == i for i in range(6)],
        [jnp.broadcast_to(jnp.asarray(m, jnp.int32), chosen.shape) for m in following],
    )
    height = jnp.where(state.mode == HEIGHT, side, state.height)
    return Grammar(mode, height, left)
