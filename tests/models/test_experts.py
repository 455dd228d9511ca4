from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.models.experts import init_experts, mixed
from castor.models.sizes import TINY, ExpertsConfig

CONFIG = replace(TINY, width=16, norm_start=0.0, experts=ExpertsConfig(count=6, chosen=2, hidden=8))


def weights():
    experts = init_experts(CONFIG, jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), experts)


def states(rows: int) -> jax.Array:
    return jax.random.normal(jax.random.key(2), (rows, 16))


def norm(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


def reference(experts, x: np.ndarray) -> np.ndarray:
    """One token after another, one expert after another."""
    w = jax.tree.map(np.asarray, experts)
    out = np.zeros_like(x)
    for r, row in enumerate(x):
        scores = (norm(row) * w.router_scale / 4) @ w.router
        powers = np.exp(scores - scores.max())
        best = np.argsort(-powers)[:2]
        for e in best:
            gate, up = np.split((norm(row) * w.norm) @ w.gate_up[e], 2)
            opened = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
            out[r] += powers[e] / powers[best].sum() * w.factors[e] * ((opened * up) @ w.down[e])
    return norm(out) * w.post_norm


@pytest.mark.parametrize("rows", [1, 3, 4, 50])
def test_a_token_gets_the_shares_of_its_likeliest_experts(rows):
    experts, x = weights(), states(rows)
    ours = mixed(experts, x, chosen=2, start=0.0)
    np.testing.assert_allclose(ours, reference(experts, np.asarray(x)), atol=2e-5)


def test_a_token_is_computed_alike_alone_and_among_many():
    experts, x = weights(), states(40)
    alone = mixed(experts, x[7:8], chosen=2, start=0.0)
    np.testing.assert_allclose(alone, mixed(experts, x, chosen=2, start=0.0)[7:8], atol=2e-6)


def test_every_token_is_computed_though_all_choose_the_same_expert():
    experts, x = weights(), jnp.repeat(states(1), 30, axis=0)
    ours = mixed(experts, x, chosen=2, start=0.0)
    np.testing.assert_allclose(ours, jnp.repeat(ours[:1], 30, axis=0), atol=1e-6)


def test_experts_that_no_token_chose_have_no_gradient():
    experts, x = weights(), jnp.repeat(states(1), 30, axis=0)
    slope = jax.grad(lambda w: mixed(w, x, chosen=2, start=0.0).sum())(experts)
    moved = np.abs(np.asarray(slope.down)).max((1, 2)) > 0
    assert moved.sum() == 2


def test_a_model_without_experts_has_none():
    assert init_experts(TINY, jax.random.key(0)) is None
