"""The training step: cut into parts it is the same step, and a bad batch changes nothing."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Batch
from castor.models import decoder
from castor.models.sizes import ModelConfig
from castor.train.objectives import SOURCES, Loss, next_token
from castor.train.optim import AdamW, Muon, WarmupStableDecay
from castor.train.programs import lean
from castor.train.step import StepMetrics, TrainState, cast, make_step, start

CONFIG = ModelConfig(layers=2, width=32, hidden=64, heads=2, head_width=16, vocab=64)
CONSTANT = WarmupStableDecay(warmup=0, decay=0.0, floor=1)


def text(seed: int, rows: int = 4, length: int = 16) -> Batch:
    """Random ids, of which some are learned."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, CONFIG.vocab, (rows, length)).astype(np.int32)
    weights = (rng.random((rows, length)) < 0.7).astype(np.float32)
    zeros = np.zeros_like(tokens)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape)
    return Batch(tokens, np.roll(tokens, -1, 1), weights, zeros + 1, positions, zeros, zeros, {})


def fresh(transform: Any, *, ema: float = 0.0) -> TrainState:
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(decoder.init, CONFIG), jax.random.key(0))
    model = jax.tree.map(
        lambda s: jnp.asarray(0.1 * rng.normal(size=s.shape).astype(np.float32)), shapes
    )
    return start(model, transform, key=jax.random.key(1), ema=ema)


def difference(one: Any, other: Any) -> float:
    gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), one, other)
    return max(jax.tree.leaves(gaps))


def test_a_batch_in_parts_gives_the_gradient_of_the_whole() -> None:
    transform = AdamW(peak_lr=0.1, schedule=CONSTANT).transform(10)
    after = []
    for accumulate in (1, 4):
        step = make_step(
            partial(next_token, config=CONFIG),
            transform,
            precision="float32",
            accumulate=accumulate,
        )
        after.append(step(fresh(transform), text(0)))
    (whole, told), (cut, told_cut) = after
    np.testing.assert_allclose(told.loss.nats, told_cut.loss.nats, rtol=1e-5)
    np.testing.assert_allclose(told.gradient_norm, told_cut.gradient_norm, rtol=1e-4)
    assert difference(whole.moments, cut.moments) < 1e-5


def bowl(weights: dict[str, jax.Array], batch: jax.Array) -> Loss:
    """A quadratic loss; a batch with something in it that is no number spoils it."""
    nats = jnp.sum((weights["w"] - batch) ** 2)
    zeros = jnp.zeros(SOURCES)
    return Loss(nats, jnp.float32(1), zeros, zeros, zeros)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("optimizer", [AdamW(), Muon()])
def test_a_step_that_is_not_finite_changes_nothing_but_the_counts(
    poison: float, optimizer: Any
) -> None:
    transform = optimizer.transform(10)
    step = make_step(bowl, transform, precision="float32", ema=0.9)
    good = jnp.ones((24, 24))

    def run(batches: list[jax.Array]) -> tuple[TrainState, list[StepMetrics]]:
        state, told = start({"w": good * 3}, transform, key=jax.random.key(0), ema=0.9), []
        for batch in batches:
            state, metrics = step(state, batch)
            told.append(metrics)
        return state, told

    clean, _ = run([good, good])
    spoiled, told = run([good, good.at[3, 4].set(poison), good])
    assert [bool(metrics.finite) for metrics in told] == [True, False, True]
    assert int(spoiled.skipped) == 1 and int(spoiled.step) == 3 and int(clean.step) == 2
    assert (jax.random.key_data(spoiled.key) == jax.random.key_data(clean.key)).all()
    assert difference(spoiled.moments, clean.moments) == 0
    assert difference(spoiled.model, clean.model) == 0


def test_the_average_follows_the_weights_and_starts_quickly() -> None:
    transform = AdamW(peak_lr=0.5, schedule=CONSTANT).transform(100)
    step = make_step(bowl, transform, precision="float32", ema=0.5)
    state = start({"w": jnp.zeros((4, 4))}, transform, key=jax.random.key(0), ema=0.5)
    expected = np.zeros((4, 4))
    for n in range(1, 15):
        state, _ = step(state, jnp.ones((4, 4)))
        decay = min(0.5, n / (n + 9))
        expected = decay * expected + (1 - decay) * np.asarray(state.model["w"])
        np.testing.assert_allclose(state.average["w"], expected, rtol=1e-5)


def test_without_an_average_none_is_kept() -> None:
    transform = AdamW().transform(10)
    state = start({"w": jnp.zeros((4, 4))}, transform, key=jax.random.key(0), ema=0.0)
    step = make_step(bowl, transform, precision="float32")
    assert state.average == () and step(state, jnp.ones((4, 4)))[0].average == ()


def test_the_state_hands_over_its_memory_if_it_may() -> None:
    transform, after = AdamW().transform(10), []
    for donate in (True, False):
        state = start({"w": jnp.zeros((64, 64))}, transform, key=jax.random.key(0), ema=0.0)
        step = make_step(bowl, transform, precision="float32", donate=donate)
        before = state.model["w"]
        after.append(step(state, jnp.ones((64, 64)))[0])
        assert before.is_deleted() == donate
    assert not before.any() and difference(*(state.model for state in after)) == 0


@pytest.mark.slow
def test_bfloat16_learns_the_same_thing_and_keeps_float32_weights() -> None:
    transform = Muon(schedule=CONSTANT).transform(30)
    losses = {}
    for precision in ("float32", "bfloat16"):
        step = make_step(partial(next_token, config=CONFIG), transform, precision=precision)
        state, seen = fresh(transform), []
        for _ in range(12):
            state, told = step(state, text(1))
            seen.append(float(told.loss.nats / told.loss.count))
        losses[precision] = seen
        kinds = {leaf.dtype for leaf in jax.tree.leaves((state.model, state.moments))}
        assert kinds <= {jnp.dtype("float32"), jnp.dtype("int32")}
    assert losses["float32"][-1] < 0.8 * losses["float32"][0]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)


def test_casting_leaves_whole_numbers_alone() -> None:
    tree = cast({"w": jnp.ones(2), "n": jnp.int32(3)}, "bfloat16")
    assert tree["w"].dtype == jnp.bfloat16 and tree["n"].dtype == jnp.int32


def test_a_lean_function_is_compiled_once_for_each_shape() -> None:
    traced = []

    @lean
    @jax.jit
    def double(x: Any) -> Any:
        traced.append(x.shape)
        return 2 * x

    for size in (3, 5, 3, 5):
        np.testing.assert_array_equal(double(np.ones(size, np.float32)), np.full(size, 2.0))
    assert traced == [(3,), (5,)]


def test_what_is_frozen_is_read_and_stays_as_it_is() -> None:
    def shifted(weights: dict[str, jax.Array], batch: jax.Array, frozen: jax.Array) -> Loss:
        return bowl({"w": weights["w"] + frozen}, batch)

    transform = AdamW(peak_lr=0.1, schedule=CONSTANT).transform(10)
    frozen = jnp.full((1, 24), 2.0)
    for accumulate in (1, 2):
        step = make_step(
            shifted, transform, precision="float32", accumulate=accumulate, frozen=(frozen,)
        )
        state = start({"w": jnp.zeros((1, 24))}, transform, key=jax.random.key(0), ema=0.0)
        state, told = step(state, jnp.ones((4, 24)))
        assert float(told.loss.nats) > 0 and float(state.model["w"].max()) < 0
        np.testing.assert_array_equal(frozen, np.full((1, 24), 2.0, np.float32))
