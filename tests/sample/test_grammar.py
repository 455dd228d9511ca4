"""The grammar against a plain reading of its rules, id by id."""

import jax.numpy as jnp
import numpy as np
import pytest

from castor.sample.grammar import (
    CLOSE,
    CODES,
    HEIGHT,
    OVER,
    TEXT,
    WIDTH,
    Grammar,
    allowed,
    begin,
    follow,
    rules,
)
from castor.tokens.render import Reader
from castor.tokens.vocab import SIDES, Control


def options(law, state: Grammar, vocab, *, room: int, first: bool = False) -> set[int]:
    may = allowed(
        state,
        law,
        size=vocab.size,
        room=jnp.full(1, room, jnp.int32),
        first=jnp.full(1, first),
    )
    return set(np.flatnonzero(np.asarray(may)[0]).tolist())


def at(mode: int, *, height: int = 0, left: int = 0) -> Grammar:
    return Grammar(*(jnp.full(1, n, jnp.int32) for n in (mode, height, left)))


def sides(low: int, high: int) -> set[int]:
    return {Control.SIDE + n for n in range(low, high + 1)}


def test_text_is_text_or_its_end_and_no_other_control(vocab):
    law = rules(vocab, pictures="never", grid=(8, 8))
    text = {i for i in range(vocab.size) if vocab.is_text(i)}
    assert options(law, at(TEXT), vocab, room=500) == text | {Control.END}
    law = rules(vocab, pictures="allowed", grid=(8, 8))
    drawing = text | {Control.END, Control.DRAW_BEGIN}
    assert options(law, at(TEXT), vocab, room=68) == drawing
    assert options(law, at(TEXT), vocab, room=67) == text | {Control.END}


def test_only_a_picture_begins_with_one_and_ends_after_it(vocab):
    law = rules(vocab, pictures="only", grid=(8, 8))
    assert options(law, at(TEXT), vocab, room=69, first=True) == {Control.DRAW_BEGIN}
    assert options(law, at(TEXT), vocab, room=69) == {Control.END}
    assert options(law, at(TEXT), vocab, room=67, first=True) == {Control.END}


def test_a_given_grid_leaves_no_choice_of_sides(vocab):
    law = rules(vocab, pictures="allowed", grid=(5, 7))
    assert options(law, at(HEIGHT), vocab, room=40) == sides(5, 5)
    assert options(law, at(WIDTH, height=5), vocab, room=39) == sides(7, 7)


def test_a_free_grid_is_what_still_fits(vocab):
    law = rules(vocab, pictures="allowed", grid=None)
    assert options(law, at(HEIGHT), vocab, room=2000) == sides(1, SIDES)
    assert options(law, at(HEIGHT), vocab, room=10) == sides(1, 7)
    assert options(law, at(WIDTH, height=7), vocab, room=9) == sides(1, 1)
    assert options(law, at(WIDTH, height=4), vocab, room=39) == sides(1, 9)
    assert Control.DRAW_BEGIN in options(law, at(TEXT), vocab, room=5)
    assert Control.DRAW_BEGIN not in options(law, at(TEXT), vocab, room=4)


def test_codes_are_codes_and_then_the_picture_closes(vocab):
    law = rules(vocab, pictures="allowed", grid=None)
    assert options(law, at(CODES, left=3), vocab, room=9) == set(vocab.codes)
    assert options(law, at(CLOSE), vocab, room=9) == {Control.DRAW_END}
    assert options(law, at(OVER), vocab, room=9) == {Control.END}


@pytest.mark.parametrize("grid", [None, (2, 3), (1, 1)])
@pytest.mark.parametrize("pictures", ["never", "allowed", "only"])
def test_random_walks_read_as_text_and_whole_pictures(vocab, pictures, grid):
    law, rows, most = rules(vocab, pictures=pictures, grid=grid), 64, 40
    rng = np.random.default_rng(0)
    state, said = begin(rows), []
    for n in range(most):
        room, first = jnp.full(rows, most - n, jnp.int32), jnp.full(rows, n == 0)
        may = np.asarray(allowed(state, law, size=vocab.size, room=room, first=first))
        assert may.any(axis=1).all()
        liking = rng.random(may.shape) + 0.3 * (np.arange(vocab.size) < 64)
        said.append(np.where(may, liking, -1).argmax(axis=1).astype(np.int32))
        state = follow(state, law, jnp.asarray(said[-1]))
    for ids in np.stack(said, axis=1).tolist():
        spoken = ids[: ids.index(Control.END)] if Control.END in ids else ids
        reader = Reader(vocab)
        pieces = [piece for i in spoken for piece in reader.feed(i)]
        drawn = [piece for piece in pieces if isinstance(piece, np.ndarray)]
        assert len(drawn) == spoken.count(Control.DRAW_BEGIN) == spoken.count(Control.DRAW_END)
        assert all(piece.shape == grid for piece in drawn if grid)
        if pictures == "only":
            assert len(drawn) == 1 and len(spoken) == drawn[0].size + 4
        if pictures == "never":
            assert not drawn


def test_impossible_wishes_are_refused(vocab):
    with pytest.raises(ValueError, match="1 to 32 codes a side; got 33 by 2"):
        rules(vocab, pictures="allowed", grid=(33, 2))
    with pytest.raises(ValueError, match="its vocabulary has no picture codes"):
        rules(type(vocab)(vocab.model, codes=0), pictures="allowed", grid=None)
