"""Answers against NumPy's, and that no turned bit stays unseen."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castor.fleet.known import (
    MOST,
    PRIME,
    WIDEST,
    circulant,
    differing,
    elementwise_chain,
    filled,
    inverted,
    misheld,
    outvoted,
    product_answer,
    product_chain,
    tallied,
)

KINDS = (np.uint8, np.int8, ml_dtypes.bfloat16, np.float16, np.float32, np.int32, np.float64)
WORDS = 64
word = st.integers(0, 2**32 - 1)


def turned(x: Any, place: int, bit: int) -> np.ndarray:
    """The same with one bit turned."""
    found = np.array(x)
    bits = found.reshape(-1).view(f"u{found.itemsize}")
    bits[place] ^= bits.dtype.type(1 << bit)
    return found


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-MOST, MOST + 1, shape)


@given(st.sampled_from(KINDS), st.binary(min_size=8 * WORDS, max_size=8 * WORDS), st.data())
def test_any_turned_bit_is_found_and_named(kind: type, data: bytes, draw: st.DataObject) -> None:
    answer = np.frombuffer(data, kind)[:WORDS].reshape(8, -1)
    place = draw.draw(st.integers(0, WORDS - 1))
    bit = draw.draw(st.integers(0, 8 * answer.itemsize - 1))
    wrong = differing(turned(answer, place, bit), answer)
    assert wrong is not None
    assert (wrong.words, wrong.first, wrong.bits) == (1, place, (bit,))
    assert wrong.address == place * answer.itemsize
    assert wrong.wanted ^ wrong.got == 1 << bit
    assert differing(answer, answer) is None


def test_the_first_of_several_wrong_words_is_told() -> None:
    answer = np.arange(10, dtype=np.uint32)
    wrong = differing(turned(turned(answer, 7, 31), 4, 0), answer)
    assert wrong is not None
    assert (wrong.words, wrong.first, wrong.got, wrong.wanted) == (2, 4, 5, 4)


@pytest.mark.parametrize(
    ("dtype", "sums"),
    [
        (jnp.int8, jnp.int32),
        (jnp.bfloat16, jnp.float32),
        (jnp.float16, jnp.float32),
        (jnp.float32, jnp.float32),
    ],
)
def test_a_chain_of_products_is_what_whole_numbers_give(dtype: Any, sums: Any) -> None:
    a, x = drawn(2, 48)
    matrix, state, tally = circulant(a, np.int64), circulant(x, np.int64), 0
    for _ in range(5):
        total = matrix @ state
        tally = tally * 0x9E3779B1 + total.astype(sums).view(np.uint32).astype(object)
        state = (total + MOST) % PRIME - MOST
    wanted = (tally % 2**32).astype(np.uint32)
    given = (jnp.asarray(circulant(v, dtype)) for v in (a, x))
    np.testing.assert_array_equal(product_chain(*given, jnp.int32(5), sums=sums), wanted)
    answer = product_answer(a, x, steps=5, sums=sums)
    np.testing.assert_array_equal(circulant(answer, np.uint32), wanted)


def test_the_widest_product_of_the_largest_numbers_is_exact_in_any_order() -> None:
    assert MOST * MOST * WIDEST < 2**24
    a = np.full(WIDEST, MOST)
    x = np.where(np.arange(WIDEST) % 2, -MOST, MOST)
    for column in (a, x):
        total = product_answer(a, column, steps=1, sums=np.float32).view(np.float32)
        products = a.astype(np.float32) * column.astype(np.float32)
        for order in (products, products[::-1], np.sort(products)):
            assert np.cumsum(order, dtype=np.float32)[-1] == total[0]


def test_a_circulant_matrix_is_its_column_turned() -> None:
    wanted = [[1, 3, 2], [2, 1, 3], [3, 2, 1]]
    np.testing.assert_array_equal(circulant(np.array([1, 2, 3]), np.int8), wanted)


@given(word, st.integers(-(2**24), 2**24), st.integers(0, 31), st.sampled_from(("f4", "i4")))
@settings(max_examples=200)
def test_a_turned_bit_of_a_value_changes_its_tally(
    tally: int, value: int, bit: int, kind: str
) -> None:
    right = np.array([value], kind)
    wrong = turned(right, 0, bit)
    if kind == "f4" and value == 0 and bit == 31:
        return  # a zero has no sign
    before = jnp.array([tally], jnp.uint32)
    first, other = (tallied(before, jnp.asarray(x)) for x in (right, wrong))
    assert int(first[0]) != int(other[0])


@given(word, word, st.integers(-(2**24), 2**24))
def test_tallies_that_differ_stay_different(one: int, other: int, value: int) -> None:
    tallies = jnp.array([one, other], jnp.uint32)
    after = tallied(tallies, jnp.full(2, value, jnp.float32))
    assert (one == other) == (int(after[0]) == int(after[1]))


def test_zeros_of_both_signs_count_alike() -> None:
    zeros = tallied(jnp.zeros(2, jnp.uint32), jnp.array([0.0, -0.0]))
    assert int(zeros[0]) == int(zeros[1])


def test_the_elementwise_chain_repeats_and_follows_from_all_it_is_given() -> None:
    places = jnp.arange(256, dtype=jnp.uint32)

    def run(steps: int, salt: int) -> np.ndarray:
        return np.asarray(elementwise_chain(places, jnp.int32(steps), jnp.uint32(salt)))

    np.testing.assert_array_equal(run(6, 1), run(6, 1))
    assert (run(6, 1) != run(6, 2)).mean() > 0.99
    assert (run(6, 1) != run(7, 1)).mean() > 0.99
    assert len(np.unique(run(6, 1))) > 250


@given(st.integers(3, 6), st.data())
def test_the_device_that_most_do_not_agree_with_is_named(devices: int, draw: st.DataObject) -> None:
    right = np.random.default_rng(0).integers(0, 2**32, 9, dtype=np.uint32)
    odd, place = draw.draw(st.integers(0, devices - 1)), draw.draw(st.integers(0, 8))
    bit = draw.draw(st.integers(0, 31))
    results = [turned(right, place, bit) if i == odd else right for i in range(devices)]
    found = outvoted(results)
    assert [i for i, wrong in enumerate(found) if wrong] == [odd]
    wrong = found[odd]
    assert wrong is not None
    assert (wrong.words, wrong.first, wrong.bits) == (1, place, (bit,))
    assert wrong.wanted == right[place]


def test_of_two_devices_that_disagree_both_are_doubted() -> None:
    right = np.arange(4, dtype=np.uint32)
    found = outvoted([right, turned(right, 2, 8)])
    assert [(wrong.first, wrong.got, wrong.wanted) for wrong in found if wrong] == [
        (2, 2, 258),
        (2, 258, 2),
    ]


def test_one_device_and_devices_that_agree_are_not_doubted() -> None:
    right = np.arange(4, dtype=np.float32)
    assert outvoted([right]) == [None]
    assert outvoted([right, right]) == [None, None]


def held_block(block: int, salt: int) -> jax.Array:
    return filled(jnp.uint32(block), jnp.uint32(salt), words=WORDS)


@given(st.booleans(), st.integers(0, WORDS - 1), st.integers(0, 31))
def test_any_bit_that_memory_turns_is_found(ones: bool, place: int, bit: int) -> None:
    held = inverted(held_block(3, 9)) if ones else held_block(3, 9)
    given_as = (jnp.uint32(3), jnp.uint32(9), jnp.asarray(ones))
    wrong = misheld(jnp.asarray(turned(held, place, bit)), *given_as)
    assert wrong is not None
    assert (wrong.words, wrong.first, wrong.bits) == (1, place, (bit,))
    assert misheld(held, *given_as) is None


def test_words_that_moved_elsewhere_are_found() -> None:
    one, other = np.asarray(held_block(0, 1)), np.asarray(held_block(1, 1))
    assert len(np.unique(one)) == WORDS
    for held in (np.roll(one, 1), other, np.asarray(held_block(0, 2))):
        wrong = misheld(jnp.asarray(held), jnp.uint32(0), jnp.uint32(1), jnp.asarray(False))
        assert wrong is not None
        assert wrong.words == WORDS
