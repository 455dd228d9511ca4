"""The chunked cross-entropy against a dense one, and what a codec is asked to do."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castor.core.batch import Batch
from castor.models import decoder
from castor.models.image_codec import CodecConfig, init_codec, reconstruct
from castor.models.sizes import ModelConfig
from castor.train import objectives
from castor.train.objectives import (
    CHUNK,
    SOURCES,
    Pictures,
    cross_entropy,
    next_token,
    reconstruction,
)

PLAIN = ModelConfig(layers=1, width=16, hidden=32, heads=2, head_width=8, vocab=40)


def problem(rows: int, width: int, ids: int, *, learned: float, seed: int = 0) -> tuple[Any, ...]:
    """States, a table, targets and weights, some of which are 0."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.1, 2, rows) * (rng.random(rows) < learned)
    return (
        jnp.asarray(rng.normal(size=(rows, width)).astype(np.float32)),
        jnp.asarray(rng.normal(size=(ids, width)).astype(np.float32)),
        jnp.asarray(rng.integers(0, ids, rows).astype(np.int32)),
        jnp.asarray(weights.astype(np.float32)),
    )


def dense(
    states: Any, table: Any, targets: Any, weights: Any, z_loss: float, cap: float | None = None
) -> jax.Array:
    """The definition, with all logits at once."""
    scores = states.astype(jnp.float32) @ table.astype(jnp.float32).T
    scores = scores if cap is None else cap * jnp.tanh(scores / cap)
    total = jax.nn.logsumexp(scores, axis=-1)
    hit = jnp.take_along_axis(scores, targets[:, None], axis=-1)[:, 0]
    return jnp.sum(weights * (total - hit + z_loss * total**2))


@cache
def both_of(*settings: float | None) -> tuple[Any, Any]:
    chunked = jax.jit(jax.value_and_grad(lambda *a: cross_entropy(*a, *settings)[0] * 3, (0, 1)))
    plain = jax.jit(jax.value_and_grad(lambda *a: dense(*a, *settings) * 3, (0, 1)))
    return chunked, plain


def both(arguments: tuple[Any, ...], z_loss: float, cap: float | None = None) -> tuple[Any, Any]:
    """(value, gradients) by chunks and by the definition."""
    chunked, plain = both_of(z_loss, cap)
    return chunked(*arguments), plain(*arguments)


@pytest.mark.parametrize("rows", [1, CHUNK, 2 * CHUNK + 17])
def test_value_and_gradients_equal_the_dense_ones(rows: int) -> None:
    ours, theirs = both(problem(rows, 8, 33, learned=0.6), 1e-3)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_capped_logits_have_the_dense_gradients_too() -> None:
    ours, theirs = both(problem(2 * CHUNK, 8, 33, learned=0.6), 1e-3, 2.5)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.9, 1.0]), st.sampled_from([0.0, 1e-2]))
def test_any_share_of_learned_positions_gives_the_dense_gradients(
    seed: int, learned: float, z_loss: float
) -> None:
    ours, theirs = both(problem(64, 4, 10, learned=learned, seed=seed), z_loss)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_bfloat16_sums_in_float32() -> None:
    states, table, targets, weights = problem(600, 32, 100, learned=1.0)
    half = states.astype(jnp.bfloat16), table.astype(jnp.bfloat16)
    ours, theirs = both((*half, targets, weights), 0.0)
    assert ours[0].dtype == jnp.float32
    assert [g.dtype for g in ours[1]] == [jnp.bfloat16, jnp.bfloat16]
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4)
    for a, b in zip(ours[1], theirs[1], strict=True):
        scale = float(jnp.abs(b).max())
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), atol=0.02 * scale)


def test_what_stands_at_a_position_of_weight_0_does_not_matter() -> None:
    states, table, targets, weights = problem(700, 8, 20, learned=0.5)
    spoiled = jnp.where((weights > 0)[:, None], states, 1e3 - states)
    ours, _ = both((spoiled, table, targets, weights), 1e-3)
    clean, _ = both((states, table, targets, weights), 1e-3)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.asarray(ours[1][0])[np.asarray(weights) == 0].any()


def test_marks_tell_the_nats_and_hits_of_each_learned_position() -> None:
    states, table, targets, weights = problem(600, 8, 20, learned=0.5)
    _, marks = cross_entropy(states, table, targets, weights, 1e-2)
    logs = jax.nn.log_softmax(states @ table.T)
    learned = np.asarray(weights) > 0
    nats = -np.take_along_axis(np.asarray(logs), np.asarray(targets)[:, None], 1)[:, 0]
    np.testing.assert_allclose(marks.nats, nats * learned, rtol=1e-5, atol=1e-5)
    right = (np.asarray(logs).argmax(1) == np.asarray(targets)) & learned
    np.testing.assert_array_equal(marks.right, right)


def test_the_logits_of_all_positions_never_exist_at_once() -> None:
    rows, width, ids = 16 * CHUNK, 16, 4096
    shapes = [
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in (
            ((rows, width), jnp.float32),
            ((ids, width), jnp.float32),
            ((rows,), jnp.int32),
            ((rows,), jnp.float32),
        )
    ]
    gradient = jax.jit(jax.grad(lambda *a: cross_entropy(*a, 0.0)[0], (0, 1)))
    used = gradient.lower(*shapes).compile().memory_analysis().temp_size_in_bytes
    assert used < rows * ids * 4 / 3, f"{used} bytes; all logits take {rows * ids * 4}"


def weights_of(config: ModelConfig) -> Any:
    """Random weights, without compiling what draws them."""
    rng = np.random.default_rng(7)
    shapes = jax.eval_shape(partial(decoder.init, config), jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape).astype(s.dtype)), shapes)


def batch_of(tokens: np.ndarray, weights: np.ndarray, sources: np.ndarray) -> Batch:
    """A text batch of one document per row."""
    ints = tokens.astype(np.int32)
    zeros = np.zeros_like(ints)
    positions = np.broadcast_to(np.arange(ints.shape[1], dtype=np.int32), ints.shape)
    targets = np.roll(ints, -1, axis=1)
    return Batch(
        ints, targets, weights.astype(np.float32), zeros + 1, positions, zeros, sources, {}
    )


def test_sums_by_source_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(3)
    tokens, weights = rng.integers(0, 40, (3, 20)), (rng.random((3, 20)) < 0.5).astype(float)
    sources = np.repeat(np.array([[0], [5], [5]], np.int32), 20, axis=1)
    batch = batch_of(tokens, weights, sources)
    model, measure = weights_of(PLAIN), jax.jit(partial(next_token, config=PLAIN))
    loss = measure(model, batch)
    assert loss.source_nats.shape == (SOURCES,)
    np.testing.assert_allclose(loss.source_nats.sum(), loss.nats, rtol=1e-5)
    assert loss.count == weights.sum()
    assert loss.source_count[5] == weights[1:].sum() and loss.source_count[1:5].sum() == 0
    one = measure(
        model, batch._replace(weights=batch.weights * np.array([[1], [0], [0]], np.float32))
    )
    np.testing.assert_allclose(loss.source_nats[0], one.nats, rtol=1e-5)


def test_a_weight_counts_a_target_more_without_changing_its_metrics() -> None:
    rng = np.random.default_rng(4)
    tokens, sources = rng.integers(0, 40, (2, 12)), np.zeros((2, 12), np.int32)
    model, measure = weights_of(PLAIN), jax.jit(partial(next_token, config=PLAIN))
    once, twice = (
        measure(model, batch_of(tokens, np.full((2, 12), w), sources)) for w in (1.0, 2.0)
    )
    np.testing.assert_allclose(twice.nats, 2 * once.nats, rtol=1e-5)
    np.testing.assert_allclose(twice.source_nats, once.source_nats, rtol=1e-6)
    assert twice.count == 2 * once.count


def test_reconstruction_is_the_squared_and_a_share_of_the_absolute_error() -> None:
    config = CodecConfig(levels=(3, 3), width=16, heads=1, encoder_layers=1, decoder_layers=1)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(init_codec, config), jax.random.key(0))
    codec = jax.tree.map(
        lambda s: jnp.asarray(0.1 * rng.normal(size=s.shape).astype(s.dtype)), shapes
    )
    pixels = rng.integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    batch = Pictures(pixels, np.array([0, 2, 2], np.int32))
    loss = jax.jit(partial(reconstruction, config=config, absolute=0.5))(codec, batch)
    back = jax.jit(partial(reconstruct, config=config))(codec, pixels)
    error = np.asarray(back.pixels) - pixels / 255
    squares = (error**2).mean((1, 2, 3))
    np.testing.assert_allclose(loss.nats, squares.sum() + 0.5 * 3 * np.abs(error).mean(), rtol=1e-4)
    np.testing.assert_allclose(loss.source_nats[2], squares[1:].sum(), rtol=1e-4)
    assert loss.count == 3 and loss.source_count[2] == 2


def test_a_mixture_may_have_more_sources_than_any_recipe_names() -> None:
    assert objectives.SOURCES >= 40


def test_a_table_that_is_not_learned_has_no_gradient_and_states_have_the_same() -> None:
    states, *others = problem(CHUNK + 3, 8, 33, learned=0.7)

    def lost(states: Any) -> jax.Array:
        return cross_entropy(states, *others, 0.1)[0] * 3

    _, (wanted, _) = both((states, *others), 0.1)[0]
    np.testing.assert_array_equal(jax.jit(jax.grad(lost))(states), wanted)
    assert "f32[33,8] = dot_general" not in str(jax.make_jaxpr(jax.grad(lost))(states))
    both_slopes = jax.grad(lambda s, t: cross_entropy(s, t, *others[1:], 0.1)[0], (0, 1))
    assert "f32[33,8] = dot_general" in str(jax.make_jaxpr(both_slopes)(states, others[0]))
