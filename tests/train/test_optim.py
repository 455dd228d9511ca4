"""Optimizers against NumPy, schedules by their shape, Muon by what makes it Muon."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from castor.models.layout import in_use, mesh_of
from castor.train.collectives import loops_exchange
from castor.train.optim import (
    Adafactor,
    AdamW,
    Cosine,
    Muon,
    WarmupStableDecay,
    matrices,
    orthogonal,
    orthogonal_momentum,
)


def array(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def updates(transform: optax.GradientTransformation, weights: Any, gradients: list[Any]) -> Any:
    """The weights after some gradients."""
    state = transform.init(weights)
    with jax.numpy_dtype_promotion("standard"):
        for gradient in gradients:
            change, state = transform.update(gradient, state, weights)
            weights = optax.apply_updates(weights, change)
    return weights


def test_warmup_stable_decay_rises_stays_and_falls_to_its_floor() -> None:
    rate = WarmupStableDecay(warmup=0.1, decay=0.4, floor=0.02).at(2.0, 100)
    values = [float(rate(n)) for n in range(101)]
    assert values[0] == pytest.approx(0.2) and values[9] == pytest.approx(2.0)
    assert values[10:61] == [2.0] * 51
    assert values[80] == pytest.approx(2 * (0.02 + 0.98 * 0.5))
    assert values[100] == pytest.approx(0.04)
    assert all(a >= b for a, b in zip(values[10:], values[11:], strict=False))


def test_cosine_rises_and_falls_half_a_turn() -> None:
    rate = Cosine(warmup=0.1, floor=0.1).at(1.0, 100)
    assert float(rate(0)) == pytest.approx(0.1)
    assert float(rate(10)) == pytest.approx(1.0)
    assert float(rate(55)) == pytest.approx(0.55)
    assert float(rate(100)) == pytest.approx(0.1)


def test_a_schedule_of_one_step_is_finite() -> None:
    for schedule in (WarmupStableDecay(), Cosine()):
        assert np.isfinite(float(schedule.at(1.0, 1)(0)))


def test_adamw_is_adam_with_decay_on_matrices_alone() -> None:
    settings = AdamW(
        peak_lr=0.1, decay=0.5, clip=1e9, schedule=WarmupStableDecay(warmup=0, decay=0.0, floor=1)
    )
    weights = {"wq": array(20, 30), "norm": array(30, seed=1)}
    gradients = [{"wq": array(20, 30, seed=s), "norm": array(30, seed=s + 9)} for s in (2, 3)]
    after = updates(settings.transform(10), weights, gradients)
    for name, decay in (("wq", 0.5), ("norm", 0.0)):
        w = np.asarray(weights[name], np.float64)
        m = v = np.zeros_like(w)
        for t, gradient in enumerate(gradients, start=1):
            g = np.asarray(gradient[name], np.float64)
            m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g**2
            step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.98**t)) + 1e-8)
            w = w - 0.1 * (step + decay * w)
        np.testing.assert_allclose(after[name], w, rtol=2e-4, atol=2e-4)


def test_clipping_bounds_the_global_norm() -> None:
    constant = WarmupStableDecay(warmup=0, decay=0.0, floor=1)
    settings = AdamW(peak_lr=1.0, b1=0.0, b2=0.0, decay=0.0, clip=1.0, schedule=constant)
    weights = {"a": jnp.zeros(4), "b": jnp.zeros((2, 2))}
    small = jax.tree.map(lambda x: x + 1e-12, weights)
    large = jax.tree.map(lambda x: x + 1e12, weights)
    once = [updates(settings.transform(9), weights, [g]) for g in (small, large)]
    assert np.isfinite(jax.tree.leaves(once[1])[0]).all()


def test_adafactor_keeps_far_fewer_moments_than_adamw() -> None:
    weights = {"wq": array(256, 512)}
    sizes = [
        sum(x.size for x in jax.tree.leaves(settings.transform(10).init(weights)))
        for settings in (Adafactor(), AdamW())
    ]
    assert sizes[0] < sizes[1] / 100


def test_adafactor_goes_downhill() -> None:
    weights, aim = {"w": array(32, 32)}, array(32, 32, seed=1)
    gradient = jax.grad(lambda w: jnp.sum((w["w"] - aim) ** 2))
    transform = Adafactor(peak_lr=0.1).transform(30)
    state, first = transform.init(weights), float(jnp.abs(weights["w"] - aim).mean())
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(30):
            change, state = transform.update(gradient(weights), state, weights)
            weights = optax.apply_updates(weights, change)
    assert float(jnp.abs(weights["w"] - aim).mean()) < 0.7 * first


def test_five_rounds_of_newton_schulz_bring_singular_values_near_one() -> None:
    stacked = array(3, 24, 64)
    values = np.linalg.svd(np.asarray(orthogonal(stacked, 5)), compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.25


def test_an_orthogonal_update_keeps_the_singular_vectors() -> None:
    x = array(1, 16, 32)
    u, _, v = np.linalg.svd(np.asarray(x[0]), full_matrices=False)
    aligned = u.T @ np.asarray(orthogonal(x, 5)[0]) @ v.T
    assert np.abs(aligned - np.diag(np.diag(aligned))).max() < 0.08


def test_matrices_go_through_newton_schulz_alike_alone_and_together() -> None:
    tree = {
        "gate": array(2, 20, 40),
        "down": array(2, 40, 20, seed=1),
        "wq": array(20, 40, seed=2),
        "stem": array(24, 24, seed=3),
    }
    together = orthogonal_momentum(0.9, 5)
    change, _ = together.update(tree, together.init(tree))
    for name, gradient in tree.items():
        alone = orthogonal_momentum(0.9, 5)
        single, _ = alone.update({name: gradient}, alone.init({name: gradient}))
        np.testing.assert_array_equal(change[name], single[name])


def test_on_a_mesh_each_device_turns_some_matrices_whole_and_exchanges_nothing_meanwhile() -> None:
    x = array(5, 16, 24)
    turn = partial(orthogonal, iterations=5)
    alone = jax.jit(turn)(x)
    with in_use(mesh_of({"replica": 2, "fsdp": 4})):
        given = jax.device_put(x, NamedSharding(jax.sharding.get_mesh(), P(None, "fsdp")))
        program = jax.jit(turn).lower(given).compile()
        np.testing.assert_array_equal(program(given), alone)
        text = program.as_text()
    assert text is not None and not loops_exchange(text)


def test_muons_update_has_the_size_of_adams() -> None:
    for shape in ((32, 128), (128, 32), (4, 64, 64)):
        transform = orthogonal_momentum(0.95, 5)
        change, _ = transform.update({"w": array(*shape)}, transform.init({"w": array(*shape)}))
        assert 0.12 < float(jnp.sqrt(jnp.mean(change["w"] ** 2))) < 0.28


def test_momentum_looks_ahead_as_nesterov_does() -> None:
    transform = orthogonal_momentum(0.5, 0)
    state = transform.init({"w": jnp.zeros((20, 20))})
    first, second = array(20, 20), array(20, 20, seed=1)
    _, state = transform.update({"w": first}, state)
    change, state = transform.update({"w": second}, state)
    running = 0.5 * first + second
    np.testing.assert_allclose(state.momentum["w"], running, rtol=1e-6)
    ahead = 0.5 * running + second
    scale = 0.2 * 20**0.5 / jnp.linalg.norm(ahead)
    np.testing.assert_allclose(change["w"], ahead * scale, rtol=0.02, atol=0.01)


def test_only_the_weights_of_matrix_products_are_matrices() -> None:
    tree = {
        "wq": array(2, 64, 64),
        "attention_norm": array(2, 64),
        "embedding": array(512, 64),
        "x_table": array(64, 64),
        "narrow": array(64, 4),
        "kernel": array(64, 64),
    }
    assert [name for name, is_matrix in matrices(tree).items() if is_matrix] == ["wq"]


def test_muon_moves_matrices_by_its_own_rule_and_the_rest_by_adams() -> None:
    constant = WarmupStableDecay(warmup=0, decay=0.0, floor=1)
    weights = {"wq": array(32, 32), "embedding": array(64, 32, seed=1)}
    gradients = [{"wq": array(32, 32, seed=5), "embedding": array(64, 32, seed=6)}]
    muon = Muon(peak_lr=0.1, decay=0.0, clip=1e9, schedule=constant)
    after = updates(muon.transform(9), weights, gradients)
    change = np.asarray(weights["wq"] - after["wq"]) / (0.1 * 0.2 * 32**0.5)
    values = np.linalg.svd(change, compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.25
    adam = AdamW(peak_lr=0.1, decay=0.0, clip=1e9, schedule=constant)
    expected = updates(adam.transform(9), weights, gradients)
    np.testing.assert_allclose(after["embedding"], expected["embedding"], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        *((kind, {"peak_lr": -1}, "peak_lr=-1 must be 0 or more")
          for kind in (AdamW, Adafactor, Muon)),
        *((kind, {"clip": 0}, "clip=0 must be above 0") for kind in (AdamW, Adafactor, Muon)),
        *((kind, {"decay": -1}, "decay=-1 must be 0 or more") for kind in (AdamW, Muon)),
        *((kind, {name: 1.0}, f"{name}=1.0 must be 0 or more, and below 1")
          for kind in (AdamW, Muon) for name in ("b1", "b2")),
        (Muon, {"momentum": -0.1}, "momentum=-0.1 must be 0 or more, and below 1"),
        (Muon, {"iterations": -1}, "iterations=-1 must be 1 or more"),
        *((kind, {name: -3}, f"{name}=-3 must be from 0 to 1")
          for kind in (WarmupStableDecay, Cosine) for name in ("warmup", "floor")),
        (WarmupStableDecay, {"decay": 1.5}, "decay=1.5 must be from 0 to 1"),
    ],
)  # fmt: skip
def test_a_setting_out_of_its_range_is_refused(kind: type, change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}.{sentence}"):
        kind(**change)
