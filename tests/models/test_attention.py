import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.models import attention
from castor.models.attention import FEW, attend, attend_held, causal
from castor.models.sizes import Sight

B, T, N, K, H = 2, 12, 4, 2, 8


def attended(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray(attend(*(jnp.asarray(x) for x in (q, k, v)), mask=jnp.asarray(mask)))


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def reference(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    out = np.zeros_like(q)
    for b, t, n in np.ndindex(q.shape[:3]):
        seen = mask[b, t]
        if not seen.any():
            continue
        keys, values = k[b, seen, n // (N // K)], v[b, seen, n // (N // K)]
        scores = keys @ q[b, t, n] / np.sqrt(H)
        powers = np.exp(scores - scores.max())
        out[b, t, n] = powers @ values / powers.sum()
    return out


def inputs() -> tuple[np.ndarray, ...]:
    mask = np.random.default_rng(1).random((B, T, T)) < 0.5
    mask[0, 3] = False
    return random(B, T, N, H), random(B, T, K, H, seed=2), random(B, T, K, H, seed=3), mask


def plain(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array,
    scale: float = H**-0.5,
    cap: float | None = None,
) -> jax.Array:
    """What attend computes, left to JAX to differentiate."""
    k, v = (jnp.repeat(x, N // K, axis=2) for x in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) * scale
    scores = cap * jnp.tanh(scores / cap) if cap else scores
    scores = jnp.where(mask[:, None], scores, -1e30)
    shares = jnp.where(mask[:, None], jax.nn.softmax(scores, axis=-1), 0.0)
    return jnp.einsum("bnts,bsnh->btnh", shares, v)


def test_attention_is_a_weighted_mean_of_the_values_that_may_be_seen():
    q, k, v, mask = inputs()
    np.testing.assert_allclose(attended(q, k, v, mask), reference(q, k, v, mask), atol=1e-5)


def test_a_query_that_sees_nothing_returns_zeros_and_moves_nothing():
    q, k, v, mask = (jnp.asarray(x) for x in inputs())
    assert not np.asarray(attend(q, k, v, mask=mask)[0, 3]).any()
    grads = jax.grad(lambda q: attend(q, k, v, mask=mask).sum())(q)
    assert not np.asarray(grads[0, 3]).any()


def test_the_backward_pass_written_by_hand_is_the_derivative():
    q, k, v, mask = (jnp.asarray(x) for x in inputs())
    slope = jnp.asarray(random(B, T, N, H, seed=4))
    by_hand = jax.grad(lambda *x: (attend(*x, mask=mask) * slope).sum(), (0, 1, 2))(q, k, v)
    by_jax = jax.grad(lambda *x: (plain(*x, mask) * slope).sum(), (0, 1, 2))(q, k, v)
    for ours, theirs in zip(by_hand, by_jax, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(("scale", "cap"), [(1.0, None), (0.7, None), (1.0, 2.0), (0.3, 1.5)])
def test_scale_and_cap_are_those_given_forward_and_backward(scale, cap):
    q, k, v, mask = (jnp.asarray(x) for x in inputs())
    slope = jnp.asarray(random(B, T, N, H, seed=4))

    def ours(*x):
        return (attend(*x, mask=mask, scale=scale, cap=cap) * slope).sum()

    def theirs(*x):
        return (plain(*x, mask, scale, cap) * slope).sum()

    assert float(ours(q, k, v)) == pytest.approx(float(theirs(q, k, v)), abs=1e-4)
    grads = (jax.grad(f, (0, 1, 2))(q, k, v) for f in (ours, theirs))
    for one, other in zip(*grads, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6)


def test_a_single_query_has_the_scale_and_the_cap_that_several_have():
    q, k, v, _ = (jnp.asarray(x) for x in inputs())
    mask = jnp.ones((B, T, T), bool)
    several = attend(q, k, v, mask=mask, scale=1.0, cap=2.0)
    one = attend(q[:, 3:4], k, v, mask=mask[:, 3:4], scale=1.0, cap=2.0)
    np.testing.assert_allclose(one, several[:, 3:4], atol=2e-6)


@pytest.mark.parametrize("length", [1, 7, 64])
def test_lengths_of_any_kind_are_attended(length):
    q, k, v = random(B, length, N, H), random(B, 9, K, H, seed=2), random(B, 9, K, H, seed=3)
    mask = np.ones((B, length, 9), bool)
    np.testing.assert_allclose(attended(q, k, v, mask), reference(q, k, v, mask), atol=1e-5)


def test_bfloat16_attention_stays_near_float32():
    q, k, v, mask = (jnp.asarray(x) for x in inputs())
    narrow = attend(*(x.astype(jnp.bfloat16) for x in (q, k, v)), mask=mask)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), attend(q, k, v, mask=mask), atol=0.03)


def test_heads_that_do_not_divide_are_refused():
    q, k, v = (random(1, 4, heads, 8) for heads in (3, 2, 2))
    with pytest.raises(ValueError, match="3 query heads cannot share 2 key/value heads"):
        attended(q, k, v, np.ones((1, 4, 4), bool))


@pytest.mark.parametrize("queries", [1, 5, FEW, FEW + 1])
@pytest.mark.parametrize(("scale", "cap"), [(None, None), (0.3, 2.0)])
def test_what_is_not_learned_from_is_attended_to_as_what_is(queries, scale, cap):
    q, k, v = random(B, queries, N, H), random(B, 9, K, H, seed=2), random(B, 9, K, H, seed=3)
    mask = np.random.default_rng(1).random((B, queries, 9)) < 0.5
    mask[0, 0] = False
    given = [jnp.asarray(x) for x in (q, k, v)]
    held = attend_held(*given, mask=jnp.asarray(mask), scale=scale, cap=cap)
    expected = attend(*given, mask=jnp.asarray(mask), scale=scale, cap=cap)
    np.testing.assert_allclose(held, expected, atol=1e-5)
    assert not np.asarray(held)[0, 0].any()


def test_heads_that_cannot_share_are_refused_among_few_queries_too():
    with pytest.raises(ValueError, match="3 query heads cannot share 2 key/value heads"):
        q, k = jnp.zeros((1, 4, 3, H)), jnp.zeros((1, 4, 2, H))
        attend_held(q, k, k, mask=jnp.ones((1, 4, 4), bool))


def test_a_row_sees_its_own_document_up_to_itself_and_all_of_its_own_medium():
    segments = jnp.array([[1, 1, 1, 1, 2, 2, 0]])
    blocks = jnp.array([[0, 1, 1, 0, 2, 2, 0]])
    expected = np.array(
        [
            [1, 0, 0, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0, 0],
            [1, 1, 1, 1, 0, 0, 0],
            [0, 0, 0, 0, 1, 1, 0],
            [0, 0, 0, 0, 1, 1, 0],
            [0, 0, 0, 0, 0, 0, 0],
        ],
        bool,
    )
    np.testing.assert_array_equal(causal(segments, blocks)[0], expected)


def test_a_window_ends_what_is_seen_and_slots_ahead_may_be_hidden():
    segments, blocks = jnp.array([[1, 1, 1, 1, 2]]), jnp.array([[0, 1, 1, 0, 0]])
    short = [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    blind = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 1]]
    both = [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    sights = Sight(2, True), Sight(None, False), Sight(2, False, ahead=True)
    for sight, expected in zip(sights, (short, blind, both), strict=True):
        np.testing.assert_array_equal(causal(segments, blocks, sight=sight)[0], expected)


@pytest.mark.parametrize("cap", [None, 0.7])
def test_long_rows_are_attended_part_by_part_and_give_the_same(monkeypatch, cap):
    q, k, v, mask = (jnp.asarray(x) for x in inputs())

    def value(q, k, v):
        return jnp.sin(attend(q, k, v, mask=mask, cap=cap)).sum()

    whole = jax.value_and_grad(value, argnums=(0, 1, 2))(q, k, v)
    monkeypatch.setattr(attention, "MANY", 4)
    monkeypatch.setattr(attention, "FEW", 1)
    assert [attention._parts(length) for length in (4, 12, 13, 10)] == [1, 3, 13, 5]
    parted = jax.value_and_grad(value, argnums=(0, 1, 2))(q, k, v)
    for one, other in zip(jax.tree.leaves(parted), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
