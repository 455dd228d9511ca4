from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.models.cache import empty_cache, fitted
from castor.models.decoder import Packed, extend, hidden, init, logits, unrolled
from castor.models.sizes import TINY

KINDS = [(), ("image",), ("audio", "image"), ("image", "image")]


@cache
def compiled(function, config):
    return jax.jit(partial(function, config=config))


def states_of(model, batch, config):
    return np.asarray(compiled(hidden, config)(model, batch))


def sums(model, batch, config):
    """A loss with a gradient for every weight: the states against fixed directions."""
    states = hidden(model, batch, config=config)
    places = jnp.asarray(batch.positions, jnp.float32)[..., None]
    marks = jnp.sin(jnp.arange(config.width, dtype=jnp.float32)[None, None] + 1.7 * places)
    return (states * marks * jnp.asarray(batch.weights)[..., None]).sum()


@pytest.fixture
def pieces(sized, rows):
    document, _ = rows
    return [document(sized[1], seed=i, media=kinds) for i, kinds in enumerate(KINDS)]


@pytest.fixture
def apart(rows, pieces):
    """Four documents, each in a row of its own."""
    return rows[1]([[piece] for piece in pieces], length=18)


@pytest.fixture
def packed(rows, pieces):
    """The same documents, two to a row."""
    return rows[1]([pieces[:2], pieces[2:]], length=32)


def test_packed_documents_have_the_states_that_they_have_alone(sized, packed, apart):
    ours, theirs = (states_of(sized[0], batch, sized[1]) for batch in (packed, apart))
    found = [ours[b][packed.segments[b] == s] for b in (0, 1) for s in (1, 2)]
    for n in range(4):
        np.testing.assert_allclose(found[n], theirs[n][apart.segments[n] > 0], atol=2e-5)


@pytest.mark.parametrize(
    "sized",
    ["TINY", *(pytest.param(size, marks=pytest.mark.slow) for size in ("DEEP", "MANY"))],
    indirect=True,
)
def test_the_gradient_of_packed_documents_is_the_sum_of_their_own(sized, packed, apart):
    slope = compiled(jax.grad(sums), sized[1])
    ours, theirs = (slope(sized[0], batch) for batch in (packed, apart))
    theirs = dict(jax.tree_util.tree_leaves_with_path(theirs))
    for path, leaf in jax.tree_util.tree_leaves_with_path(ours):
        size = np.abs(theirs[path]).max(initial=0)
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(leaf, theirs[path], atol=1e-5 * size + 1e-7, err_msg=name)


def test_reading_token_by_token_gives_the_states_of_reading_at_once(sized, apart):
    model, config = sized
    expected = states_of(model, apart, config)
    lengths, cut = (apart.segments > 0).sum(1), 10
    step = compiled(extend, config)
    cache = empty_cache(config, rows=4, room=18, dtype=jnp.float32)
    valid = np.arange(cut)[None] < lengths[:, None]
    tokens, blocks = (jnp.asarray(x[:, :cut]) for x in (apart.tokens, apart.blocks))
    states, cache = step(
        model, tokens, cache, valid=jnp.asarray(valid), blocks=blocks, media=apart.media
    )
    agree(states, expected[:, :cut], valid)
    cache = fitted(cache, room=24)
    for t in range(cut, 18):
        valid = (t < lengths)[:, None]
        token = jnp.asarray(apart.tokens[:, t : t + 1])
        states, cache = step(model, token, cache, valid=jnp.asarray(valid))
        agree(states, expected[:, t : t + 1], valid)
    np.testing.assert_array_equal(cache.lengths, lengths)


def test_rows_grow_apart_when_they_bring_different_numbers_of_tokens(sized, rows):
    model, config = sized
    document, pack = rows
    batch = pack([[document(config, seed=seed)] for seed in (5, 7)], length=18)
    expected = states_of(model, batch, config)
    cache = empty_cache(config, rows=2, room=18, dtype=jnp.float32)
    taken = np.zeros(2, int)
    for counts in ([2, 3], [0, 1], [2, 0], [0, 2]):
        tokens, valid = np.zeros((2, 3), np.int32), np.arange(3)[None] < np.array(counts)[:, None]
        for b in (0, 1):
            tokens[b, : counts[b]] = batch.tokens[b, taken[b] : taken[b] + counts[b]]
        states, cache = compiled(extend, config)(
            model, jnp.asarray(tokens), cache, valid=jnp.asarray(valid)
        )
        for b in (0, 1):
            theirs = expected[b, taken[b] : taken[b] + counts[b]]
            np.testing.assert_allclose(states[b, : counts[b]], theirs, atol=2e-5)
        taken += counts


def test_rows_laid_end_to_end_grow_as_they_do_apart(sized, rows):
    model, config = sized
    document, pack = rows
    batch = pack([[document(config, seed=seed)] for seed in (5, 7)], length=18)
    tokens = jnp.asarray(batch.tokens)
    before = empty_cache(config, rows=2, room=18, dtype=jnp.float32)
    valid = jnp.arange(6)[None] < jnp.array([[2], [5]])
    _, before = compiled(extend, config)(model, tokens[:, :6], before, valid=valid)

    counts, places = np.array([5, 2]), np.array([[0, 1, 2, 3, 4], [5, 6, 0, 0, 0]], np.int32)
    further = np.stack([batch.tokens[0, 2:7], batch.tokens[1, 5:10]])
    valid = jnp.arange(5)[None] < jnp.asarray(counts)[:, None]
    expected, grown = compiled(extend, config)(model, jnp.asarray(further), before, valid=valid)
    which = (
        np.array([0, 0, 0, 0, 0, 1, 1, 0], np.int32),
        np.array([0, 1, 2, 3, 4, 0, 1, 0], np.int32),
    )
    states, same = compiled(extend, config)(
        model, jnp.asarray(further[which])[None], before, valid=valid, packed=Packed(*which, places)
    )
    np.testing.assert_allclose(states[0, :5], expected[0], atol=2e-5)
    np.testing.assert_allclose(states[0, 5:7], expected[1, :2], atol=2e-5)
    np.testing.assert_array_equal(same.lengths, grown.lengths)
    for mine, theirs in zip(
        jax.tree.leaves(same.layers), jax.tree.leaves(grown.layers), strict=True
    ):
        for row, length in enumerate(grown.lengths):
            of_each = mine.shape[1] // 2
            heads = slice(row * of_each, (row + 1) * of_each)
            held = slice(None), heads, slice(int(length))
            np.testing.assert_allclose(mine[held], theirs[held], atol=2e-5)


def test_padding_has_no_influence(sized, apart):
    model, config = sized
    before = states_of(model, apart, config)
    real = apart.segments > 0
    apart.tokens[~real] = 177
    np.testing.assert_array_equal(states_of(model, apart, config)[real], before[real])


def test_the_first_slot_of_a_picture_sees_its_last(sized, apart):
    model, config = sized
    before = states_of(model, apart, config)
    apart.media["image"].values[1, 3] ^= 255
    after = states_of(model, apart, config)
    assert np.abs(after[1, 1] - before[1, 1]).max() > 1e-3
    np.testing.assert_array_equal(after[1, 0], before[1, 0])


def test_a_later_token_changes_no_earlier_state(sized, apart):
    model, config = sized
    before = states_of(model, apart, config)
    apart.tokens[0, 2] -= 1
    after = states_of(model, apart, config)
    np.testing.assert_array_equal(after[0, :2], before[0, :2])
    assert np.abs(after[0, 2] - before[0, 2]).max() > 1e-3


def test_logits_are_the_states_on_the_embedding_table(sized, apart):
    model, config = sized
    states = jnp.asarray(states_of(model, apart, config))
    expected = np.asarray(states) @ np.asarray(model.decoder.embedding).T
    np.testing.assert_allclose(logits(model, states), expected, atol=1e-4)


def test_a_cap_holds_logits_below_it(sized):
    model, config = sized
    states = 40 * jax.random.normal(jax.random.key(1), (5, config.width))
    free = np.asarray(logits(model, states), np.float64)
    assert np.abs(free).max() > 3
    np.testing.assert_allclose(logits(model, states, cap=3.0), 3 * np.tanh(free / 3), atol=1e-5)


def test_layers_told_apart_are_the_same_model(sized, apart):
    model, config = sized
    ours, alone = unrolled(model, config)
    assert [stage.repeats for stage in alone.stages] == [1]
    expected = states_of(model, apart, config)
    np.testing.assert_allclose(states_of(ours, apart, alone), expected, atol=2e-5)


def test_bfloat16_weights_give_bfloat16_states_near_those_of_float32(sized, apart):
    model, config = sized
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model)
    ours, theirs = states_of(narrow, apart, config), states_of(model, apart, config)
    assert ours.dtype == jnp.bfloat16
    real = apart.segments > 0
    error = np.abs(np.asarray(ours, np.float32) - np.asarray(theirs))[real]
    assert error.mean() < 0.03  # where experts are chosen, rounding may choose others


def test_a_fresh_model_is_a_function_of_its_key():
    one, same, other = (init(TINY, jax.random.key(i)) for i in (0, 0, 1))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), one, same)))
    assert not (one.decoder.embedding == other.decoder.embedding).all()


def agree(ours, theirs, valid):
    np.testing.assert_allclose(np.asarray(ours)[valid], theirs[valid], atol=2e-5)
