import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.models.layers import by_rows, geglu, lookup, product, rms_norm, rotate, turned


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("shape", [(64, 5), (7, 3), (128, 64), (96, 2)])
def test_turned_is_the_transpose(shape):
    np.testing.assert_array_equal(turned(random(*shape)), random(*shape).T)


def test_by_rows_is_a_product_with_the_transpose_that_is_not_written_out():
    x, rows = random(6, 5), random(9, 5, seed=1)
    np.testing.assert_allclose(by_rows(x, rows), x @ rows.T, atol=1e-5)
    narrow = by_rows(x.astype(jnp.bfloat16), rows.astype(jnp.bfloat16), dtype=jnp.float32)
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, x @ rows.T, atol=0.1)


@pytest.mark.parametrize(("wide", "narrow"), [(5, 9), (9, 5)])
def test_the_gradient_with_respect_to_one_factor_alone_is_the_same(wide, narrow):
    x, w, slope = random(6, wide), random(wide, narrow, seed=1), random(6, narrow, seed=2)

    def lost(x, w):
        return (product(x, w) * slope).sum()

    both = jax.grad(lost, (0, 1))(x, w)
    for i in (0, 1):
        np.testing.assert_allclose(jax.grad(lost, i)(x, w), both[i], atol=1e-5)


@pytest.mark.parametrize(("wide", "narrow"), [(5, 9), (9, 5)])
def test_the_gradient_of_a_product_is_that_of_a_matrix_product(wide, narrow):
    x, w, slope = random(6, wide), random(wide, narrow, seed=1), random(6, narrow, seed=2)
    ours = jax.grad(lambda x, w: (product(x, w) * slope).sum(), (0, 1))(x, w)
    theirs = jax.grad(lambda x, w: ((x @ w) * slope).sum(), (0, 1))(x, w)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_rms_norm_divides_by_the_root_mean_square():
    x, scale = random(4, 8), random(8, seed=1)
    expected = x / np.sqrt((np.asarray(x) ** 2).mean(-1, keepdims=True)) * (1 + scale)[None]
    np.testing.assert_allclose(rms_norm(x, scale), expected, atol=1e-5)


def test_a_norm_may_multiply_by_its_weight_alone_or_by_nothing():
    x, scale = random(4, 8), random(8, seed=1)
    expected = x / np.sqrt((np.asarray(x) ** 2).mean(-1, keepdims=True))
    np.testing.assert_allclose(rms_norm(x, scale, start=0.0), expected * scale[None], atol=1e-5)
    np.testing.assert_allclose(rms_norm(x, None), expected, atol=1e-5)


def test_rms_norm_of_bfloat16_is_computed_in_float32():
    x = (random(4, 8) * 1e4).astype(jnp.bfloat16)
    ours = rms_norm(x, jnp.zeros(8, jnp.bfloat16))
    exact = rms_norm(x.astype(jnp.float32), jnp.zeros(8))
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_array_equal(ours, exact.astype(jnp.bfloat16))


def test_rotation_keeps_lengths_and_makes_scores_depend_on_distance_alone():
    q, k = random(1, 1, 1, 16), random(1, 1, 1, 16, seed=1)

    def ahead(x: jax.Array, at: int) -> jax.Array:
        return rotate(x, jnp.array([[at]]), base=10_000.0)

    def score(at: int, to: int) -> float:
        return float((ahead(q, at) * ahead(k, to)).sum())

    assert score(7, 3) == pytest.approx(score(104, 100), abs=1e-3)
    assert score(7, 3) != pytest.approx(score(7, 4), abs=1e-3)
    length = np.linalg.norm(ahead(q, 50))
    assert length == pytest.approx(np.linalg.norm(q), rel=1e-5)


def test_rotation_pairs_a_dimension_with_the_one_half_a_head_further():
    x = jnp.zeros((1, 1, 1, 4)).at[0, 0, 0, 0].set(1.0)
    ahead = rotate(x, jnp.array([[1]]), base=10_000.0)[0, 0, 0]
    np.testing.assert_allclose(ahead, [np.cos(1), 0, np.sin(1), 0], atol=1e-6)


def test_a_factor_divides_positions():
    x = random(1, 1, 2, 16)
    ours = rotate(x, jnp.array([[8]]), base=1e6, factor=4.0)
    np.testing.assert_allclose(ours, rotate(x, jnp.array([[2]]), base=1e6), atol=1e-5)


def test_of_the_pairs_only_a_share_turns_and_as_fast_as_if_all_did():
    x = random(1, 1, 2, 16)
    ours = rotate(x, jnp.array([[5]]), base=1e4, share=0.25)
    whole = rotate(x, jnp.array([[5]]), base=1e4)
    turning = np.isin(np.arange(16), [0, 1, 8, 9])
    np.testing.assert_allclose(ours[..., turning], whole[..., turning], atol=1e-6)
    np.testing.assert_array_equal(ours[..., ~turning], x[..., ~turning])


def test_geglu_is_a_gated_feed_forward_layer_over_a_norm():
    x, gate, up, down = (random(*s, seed=i) for i, s in enumerate([(3, 4), (4, 6), (4, 6), (6, 4)]))
    norm = random(4, seed=4)
    flat = np.asarray(rms_norm(x, norm))
    g = flat @ np.asarray(gate)
    opened = 0.5 * g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3)))
    expected = (opened * (flat @ np.asarray(up))) @ np.asarray(down)
    np.testing.assert_allclose(geglu(x, norm, gate, up, down), expected, atol=1e-5)


def test_geglu_keeps_its_input_and_two_products_for_the_backward_pass():
    x, gate, up, down = (jnp.ones(s) for s in [(8, 4), (4, 6), (4, 6), (6, 4)])
    _, pull = jax.vjp(lambda x: geglu(x, jnp.zeros(4), gate, up, down), x)
    kept = [leaf.shape for leaf in jax.tree.leaves(pull) if leaf.shape[:1] == (8,)]
    assert sorted(kept) == [(8, 4), (8, 6), (8, 6)]


def test_the_gradient_of_a_row_looked_up_often_does_not_stop_growing_in_bfloat16():
    table, ids = jnp.zeros((4, 2), jnp.bfloat16), jnp.zeros(4096, jnp.int32)
    grads = jax.grad(lambda t: (lookup(t, ids) * jnp.bfloat16(0.01)).sum())(table)
    np.testing.assert_allclose(grads[0].astype(jnp.float32), 41, rtol=0.01)
    assert not np.asarray(grads[1:]).any()
