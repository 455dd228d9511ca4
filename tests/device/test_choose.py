"""Choices in NumPy are those that the compiled loop makes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.device.choose import Pen, drawn, likeliest, logprob, penalised
from castor.sample.choose import Sampling, dials, draw, penalise
from castor.sample.grammar import OVER, allowed, begin, follow, for_rows, rules
from castor.tokens.vocab import Vocab

HOT = Sampling(temperature=1.0)


def logits_of(seed: int, size: int = 50) -> np.ndarray:
    return (2 * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


@pytest.mark.parametrize("pictures", ["never", "allowed", "only"])
@pytest.mark.parametrize("grid", [None, (2, 3)])
def test_the_pen_allows_and_follows_what_the_grammar_does(
    vocab: Vocab, pictures: str, grid: tuple[int, int] | None
) -> None:
    law, random, most = rules(vocab, pictures=pictures, grid=grid), np.random.default_rng(0), 40
    for _ in range(6):
        pen, state = Pen(law, vocab.size), begin(1)
        for said in range(most):
            room, first = most - said, said == 0
            may = pen.allowed(room=room, first=first)
            wanted = allowed(
                state,
                for_rows([law]),
                size=vocab.size,
                room=jnp.array([room], jnp.int32),
                first=jnp.array([first]),
            )
            np.testing.assert_array_equal(may, np.asarray(wanted)[0])
            few = np.flatnonzero(may)
            i = int(few[-1] if random.random() < 0.3 else random.choice(few))
            pen.follow(i)
            state = follow(state, for_rows([law]), jnp.array([i], jnp.int32))
            assert pen.mode == int(state.mode[0])
            if pen.mode == OVER:
                break


@pytest.mark.parametrize("seed", range(4))
def test_penalties_are_those_of_the_loop(seed: int) -> None:
    logits, counts = logits_of(seed), np.random.default_rng(seed).integers(0, 4, 50)
    sampling = Sampling(presence_penalty=0.7, frequency_penalty=-0.4, repetition_penalty=1.7)
    wanted = penalise(
        jnp.asarray(logits[None]), jnp.asarray(counts[None], jnp.int32), dials([sampling])
    )
    got = penalised(logits, counts, sampling=sampling)
    np.testing.assert_allclose(got, np.asarray(wanted)[0], atol=1e-6)


def test_greedy_takes_the_lowest_of_those_that_tie() -> None:
    logits = np.array([0, 3, 1, 3], np.float32)
    assert drawn(logits, sampling=Sampling(), random=np.random.default_rng(0)) == 1
    assert likeliest(logits, 3).tolist() == [1, 3, 2]
    assert likeliest(logits, 0).tolist() == []


@pytest.mark.parametrize(
    "sampling",
    [
        HOT,
        replace(HOT, temperature=0.5),
        replace(HOT, top_k=4),
        replace(HOT, top_p=0.6),
        replace(HOT, top_k=6, top_p=0.7, temperature=1.5),
        replace(HOT, top_p=0.0),
    ],
    ids=["plain", "cool", "top k", "top p", "all", "top p of nothing"],
)
def test_draws_follow_the_distribution_of_the_loop(sampling: Sampling) -> None:
    logits, count, random = logits_of(3, 12), 4000, np.random.default_rng(0)
    logits[5] = -np.inf
    mine = [drawn(logits, sampling=sampling, random=random) for _ in range(count)]
    keys = jax.random.split(jax.random.key(0), count)
    theirs = draw(jnp.tile(jnp.asarray(logits), (count, 1)), keys, dials([sampling] * count))
    shares = [np.bincount(x, minlength=12) / count for x in (mine, np.asarray(theirs))]
    np.testing.assert_allclose(*shares, atol=0.04)
    often = np.maximum(*shares) > 0.01
    assert not often[5]
    assert (np.minimum(*shares)[often] > 0).all()


def test_ids_that_tie_with_the_last_of_the_likeliest_stay() -> None:
    logits, random = np.array([2, 1, 1, 0], np.float32), np.random.default_rng(0)
    sampling = replace(HOT, top_k=2, temperature=2.0)
    assert {drawn(logits, sampling=sampling, random=random) for _ in range(200)} == {0, 1, 2}


def test_logprobs_are_of_softmax() -> None:
    logits = logits_of(1)
    shares = np.exp(logits - logprob(logits))
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares, np.asarray(jax.nn.softmax(jnp.asarray(logits))), rtol=1e-5)
