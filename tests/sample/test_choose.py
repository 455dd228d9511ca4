"""Drawing ids, beside ten-line NumPy versions of the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.sample.choose import Sampling, dials, draw, likeliest, penalise

V = 50


def keys(*seeds: int) -> jax.Array:
    return jnp.stack([jax.random.key(seed) for seed in seeds])


def kept_by_hand(logits: np.ndarray, sampling: Sampling) -> set[int]:
    """Ids that top-k and then top-p leave."""
    scaled = logits / sampling.temperature
    order = np.argsort(-scaled, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    shares = np.exp(scaled[order] - scaled.max())
    shares /= shares.sum()
    before = np.cumsum(shares) - shares
    return set(order[(before < sampling.top_p) | (np.arange(len(order)) == 0)].tolist())


@pytest.mark.parametrize("top_k", [0, 1, 7, 80])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.9, 1.0])
def test_top_k_then_top_p_keep_what_sorting_keeps(top_k, top_p):
    sampling = Sampling(temperature=0.7, top_k=top_k, top_p=top_p)
    logits = np.random.default_rng(top_k).standard_normal(V).astype(np.float32) * 2
    many = jnp.broadcast_to(jnp.asarray(logits)[None], (2000, V))
    seeds = jax.vmap(jax.random.key)(jnp.arange(2000))
    seen = set(np.asarray(jax.jit(draw)(many, seeds, dials([sampling] * 2000))).tolist())
    allowed = kept_by_hand(logits, sampling)
    assert seen <= allowed
    assert len(seen) >= min(len(allowed), 5)


def test_draws_have_the_frequencies_of_the_softmax():
    logits = np.array([2.0, 1.0, 0.0, -1.0, -np.inf], np.float32)
    many = jnp.broadcast_to(jnp.asarray(logits)[None], (20_000, 5))
    seeds = jax.vmap(jax.random.key)(jnp.arange(20_000))
    drawn = np.asarray(jax.jit(draw)(many, seeds, dials([Sampling(temperature=2.0)] * 20_000)))
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=5) / 20_000, expected, atol=0.015)


def test_a_draw_depends_on_its_own_key_and_logits_alone():
    logits = jax.random.normal(jax.random.key(0), (3, V))
    samplings = [
        Sampling(temperature=1.0, top_k=20, top_p=0.9),
        Sampling(temperature=1.0),
        Sampling(temperature=0.5, top_k=3),
    ]
    together = draw(logits, keys(1, 2, 3), dials(samplings))
    for row, sampling in enumerate(samplings):
        alone = draw(logits[row : row + 1], keys(row + 1), dials([sampling]))
        assert alone[0] == together[row]


def test_the_likeliest_is_the_lowest_id_of_those_that_tie():
    logits = jnp.array([[0.0, 3.0, 3.0], [-jnp.inf, -jnp.inf, -9.0], [5.0, 5.0, 5.0]])
    assert likeliest(logits).tolist() == [1, 2, 0]
    random = jax.random.normal(jax.random.key(0), (4, 300))
    assert (likeliest(random) == random.argmax(axis=1)).all()


@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_temperature_zero_and_near_it_is_greedy(temperature):
    logits = jax.random.normal(jax.random.key(0), (4, V))
    drawn = draw(logits, keys(0, 1, 2, 3), dials([Sampling(temperature=temperature)] * 4))
    assert (drawn == logits.argmax(axis=1)).all()


def test_a_row_beside_one_that_is_cut_keeps_all_its_ids():
    many = jnp.zeros((500, V))
    samplings = [Sampling(temperature=1.0, top_k=1, top_p=0.1)] + [Sampling(temperature=1.0)] * 499
    drawn = draw(many, jax.vmap(jax.random.key)(jnp.arange(500)), dials(samplings))
    assert len(set(drawn[1:].tolist())) == V


def test_penalties_are_the_sums_that_the_papers_give():
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25, repetition_penalty=2.0)
    logits = jnp.array([[1.0, 1.0, -1.0, 4.0]])
    counts = jnp.array([[0, 1, 2, 4]], jnp.int32)
    found = penalise(logits, counts, dials([sampling]))
    np.testing.assert_allclose(found[0], [1.0, 0.5 - 0.75, -2.0 - 1.0, 2.0 - 1.5])
    assert (penalise(logits, counts, dials([Sampling()])) == logits).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 1.1),
        ("top_k", -1),
        ("max_tokens", 0),
        ("presence_penalty", 3.0),
        ("frequency_penalty", -3.0),
        ("repetition_penalty", 0.0),
        ("guidance", -1.0),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name}=.* is outside"):
        Sampling(**{name: value})


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="a stop string may not be empty"):
        Sampling(stop=("a", ""))
