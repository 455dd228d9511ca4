"""Rounding by inputs: moments that are what went in, and codes that lose no more."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.checkpoint import Checkpoint
from castor.core.batch import Batch
from castor.models.decoder import Model, hidden, init
from castor.models.layers import lookup, product, rms_norm
from castor.models.quant import INT4, Format, densed, quantise, quantised
from castor.models.sizes import ModelConfig
from castor.tokens.vocab import Vocab
from castor.train.calibrate import (
    Watched,
    batches_of,
    calibrated,
    compensated,
    damped,
    error,
    moments,
    suited,
)

CONFIG = ModelConfig(layers=2, width=32, hidden=64, heads=2, head_width=16, vocab=64)
FORMATS = (INT4, Format(4, symmetric=False))


@pytest.fixture(scope="module")
def model() -> Model:
    return init(CONFIG, jax.random.key(0))


def batch(learned: int = 8) -> Batch:
    tokens = np.random.default_rng(0).integers(0, 64, (2, 8)).astype(np.int32)
    zeros = np.zeros_like(tokens)
    weights = np.zeros(tokens.shape, np.float32)
    weights[:, :learned] = 1
    positions = np.broadcast_to(np.arange(8, dtype=np.int32), tokens.shape)
    return Batch(tokens, np.roll(tokens, -1, 1), weights, zeros + 1, positions, zeros, zeros, {})


def correlated(width: int, rows: int = 400) -> jax.Array:
    mixing = jax.random.normal(jax.random.key(1), (width // 4, width), jnp.float32)
    few = jax.random.normal(jax.random.key(2), (rows, width // 4), jnp.float32)
    return few @ mixing + 0.1 * jax.random.normal(jax.random.key(3), (rows, width), jnp.float32)


def test_a_watched_weight_multiplies_as_before_and_its_gradient_is_the_moments() -> None:
    x, w = correlated(32), jax.random.normal(jax.random.key(0), (32, 8), jnp.float32)
    zeros = jnp.zeros((32, 32), jnp.float32)
    np.testing.assert_array_equal(product(x, Watched(w, zeros)), x @ w)
    used = jnp.where(jnp.arange(len(x)) < 100, 1.0, 0.0)[:, None]
    seen = jax.grad(lambda sums: jnp.sum(used * product(x, Watched(w, sums))))(zeros)
    np.testing.assert_allclose(seen, x[:100].T @ x[:100], rtol=1e-4, atol=1e-3)


def test_moments_are_those_of_every_layers_inputs(model: Model) -> None:
    found = moments(model, [batch(), batch()], config=CONFIG)
    assert found[".decoder.blocks[0].down"].shape == (2, 64, 64)
    first = lookup(model.decoder.embedding, jnp.asarray(batch().tokens)) * 32**0.5
    flat = rms_norm(first.reshape(-1, 32), model.decoder.blocks[0].attention_norm[0])
    np.testing.assert_allclose(
        found[".decoder.blocks[0].wv"][0], 2 * flat.T @ flat, rtol=1e-4, atol=1e-3
    )
    states = hidden(model, batch(), config=CONFIG).reshape(-1, 32)
    np.testing.assert_allclose(
        found[".decoder.embedding"], 2 * states.T @ states, rtol=1e-4, atol=1e-3
    )


def test_positions_that_no_target_depends_on_do_not_count(model: Model) -> None:
    found = moments(model, [batch(learned=3)], config=CONFIG)
    states = hidden(model, batch(), config=CONFIG)[:, :3].reshape(-1, 32)
    np.testing.assert_allclose(found[".decoder.embedding"], states.T @ states, rtol=1e-4, atol=1e-3)
    rank = np.linalg.matrix_rank(np.asarray(found[".decoder.blocks[0].down"][1]), tol=1e-3)
    assert rank <= 6


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_making_up_for_rounding_loses_less_where_inputs_are_correlated(form: Format) -> None:
    w, x = jax.random.normal(jax.random.key(0), (128, 48), jnp.float32), correlated(128)
    moment = damped(x.T @ x)
    better = error(w, compensated(w, moment, format=form), moment)
    plain = error(w, quantised(w, format=form), moment)
    assert float(better) < 0.6 * float(plain)


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_what_suits_never_loses_more_than_rounding_to_nearest(form: Format) -> None:
    w = jax.random.normal(jax.random.key(0), (3, 64, 8), jnp.float32)
    x = correlated(64)
    stack = jnp.stack([x.T @ x, jnp.eye(64, dtype=jnp.float32), jnp.zeros((64, 64), jnp.float32)])
    made, plain = suited(w, stack, format=form, by_row=False), quantised(w, format=form)
    for i in range(3):
        one, other = (jax.tree.map(lambda leaf, i=i: leaf[i], m) for m in (made, plain))
        moment = damped(stack[i])
        assert float(error(w[i], one, moment)) <= float(error(w[i], other, moment)) * 1.0001


@pytest.mark.slow
def test_a_calibrated_model_has_the_form_of_a_rounded_one_and_is_nearer(model: Model) -> None:
    heard: list[tuple[int, int]] = []
    made = calibrated(
        model,
        moments(model, [batch()], config=CONFIG),
        report=lambda what, done, total: heard.append((done, total)),
    )
    plain = quantise(model)
    assert jax.tree.structure(made) == jax.tree.structure(plain)
    assert heard == [(i, 8) for i in range(8)]
    run = partial(hidden, batch=batch(), config=CONFIG)
    off = [float(jnp.sum((run(densed(m)) - run(model)) ** 2)) for m in (made, plain)]
    assert off[0] < off[1]


def test_inputs_that_are_not_finite_are_refused(model: Model) -> None:
    broken = jax.tree.map(lambda x: x * jnp.nan, moments(model, [batch()], config=CONFIG))
    with pytest.raises(ValueError, match=r"the inputs of decoder\.\S+ are not finite"):
        calibrated(model, broken)


def test_a_model_of_unknown_origin_is_refused(tmp_path: Path, model: Model, vocab: Vocab) -> None:
    found = Checkpoint(model, replace(CONFIG, vocab=vocab.size), vocab)
    with pytest.raises(ValueError, match="what this model learned from is not known"):
        batches_of(found, data=tmp_path, aside=tmp_path, steps=1)
