"""Pieces cover a whole or they do not, and a wanted part is put together from any of them."""

import itertools
import json
from collections.abc import Sequence

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.fleet.pieces import (
    Piece,
    dtype_of,
    newest_whole,
    parts_of,
    piece_from_wire,
    piece_to_wire,
)
from tests.fleet.pieces import cut, piece

SHAPE = (4, 6)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    edges = [st.tuples(st.integers(0, size), st.integers(0, size)).map(sorted) for size in SHAPE]
    drawn = [draw(edge) for edge in edges]
    return tuple((start, stop) for start, stop in drawn)


def quarters() -> list[Piece]:
    rows, columns = ((0, 2), (2, 4)), ((0, 3), (3, 6))
    return [piece(shape=SHAPE, index=index) for index in itertools.product(rows, columns)]


def seen_by(index: Sequence[tuple[int, int]], pieces: Sequence[Piece]) -> bool:
    """Whether the pieces cover a part: the reference, element by element."""
    ranges = [range(start, stop) for start, stop in index]
    return all(
        any(all(a <= i < b for i, (a, b) in zip(at, one.index, strict=True)) for one in pieces)
        for at in itertools.product(*ranges)
    )


@given(st.lists(boxes(), max_size=5))
def test_a_step_is_whole_exactly_if_every_element_is_held(drawn: list) -> None:
    pieces = [piece(shape=SHAPE, index=box) for box in drawn]
    whole = newest_whole([{0: {7: pieces}}], {"w": SHAPE}) == 7
    assert whole == seen_by([(0, size) for size in SHAPE], pieces)


@given(st.lists(boxes(), max_size=5), boxes())
def test_a_part_is_put_together_exactly_if_every_element_is_held(drawn: list, index: tuple) -> None:
    array = np.arange(24, dtype=np.float32).reshape(SHAPE)
    pieces = [piece(shape=SHAPE, index=box) for box in drawn]
    if not seen_by(index, pieces):
        with pytest.raises(ValueError, match=r"w\[.*\] is not covered by the pieces"):
            parts_of("w", index, pieces)
        return
    wanted = piece(shape=SHAPE, index=index)
    made = np.full(wanted.extent, -1, np.float32)
    for part in parts_of("w", index, pieces):
        made[part.write] = cut(array, part.piece)[part.read]
    np.testing.assert_array_equal(made, cut(array, wanted))


def test_what_one_mesh_held_another_reads_in_other_cuts() -> None:
    parts = parts_of("w", ((1, 3), (0, 6)), quarters())
    assert [part.piece for part in parts] == quarters()
    assert parts[1].read == (slice(1, 2), slice(0, 3))
    assert parts[1].write == (slice(0, 1), slice(3, 6))


def test_a_replica_adds_nothing_and_is_not_read() -> None:
    near, far = quarters(), [piece(shape=SHAPE, index=((0, 4), (0, 6)))]
    assert [part.piece for part in parts_of("w", ((0, 4), (0, 6)), near + far)] == near
    assert [part.piece for part in parts_of("w", ((0, 4), (0, 6)), far + near)] == far


def test_the_newest_step_counts_only_if_all_ranks_together_have_it() -> None:
    one, two, three, four = quarters()
    held = [{0: {5: [one, two], 6: [one, two]}}, {1: {5: [three, four], 6: [three]}}]
    assert newest_whole(held, {"w": SHAPE}) == 5
    assert newest_whole([*held, {7: {6: [four]}}], {"w": SHAPE}) == 6


def test_an_array_that_nobody_holds_makes_no_step_whole() -> None:
    assert newest_whole([{0: {5: quarters()}}], {"w": SHAPE, "bias": (6,)}) is None
    assert newest_whole([], {"w": SHAPE}) is None


def test_pieces_of_a_model_of_another_shape_count_for_nothing() -> None:
    other = [piece(shape=(4, 7), index=((0, 4), (0, 7)))]
    assert newest_whole([{0: {5: other}}], {"w": SHAPE}) is None


def test_a_scalar_is_one_piece() -> None:
    count = piece("count", shape=(), index=())
    assert newest_whole([{0: {3: [count]}}], {"count": ()}) == 3
    assert newest_whole([{0: {3: []}}], {"count": ()}) is None
    assert [part.piece for part in parts_of("count", (), [count])] == [count]


def test_an_array_of_nothing_is_held_by_everyone() -> None:
    assert newest_whole([{0: {3: []}}], {"none": (0, 4)}) == 3


@given(boxes(), st.sampled_from(["float32", "bfloat16", "int8", "float8_e4m3fn", "uint32", "bool"]))
def test_a_piece_survives_its_json(index: tuple, dtype: str) -> None:
    one = Piece("layers/0/w", SHAPE, dtype, index)
    assert piece_from_wire(json.loads(json.dumps(piece_to_wire(one)))) == one


def test_a_dtype_that_numpy_does_not_have_is_found_by_its_name() -> None:
    assert dtype_of("bfloat16") == np.dtype(ml_dtypes.bfloat16)
    assert Piece("w", (3, 5), "bfloat16", ((0, 2), (0, 5))).bytes == 20


@pytest.mark.parametrize("text", ["object", "float99", "i4,i4", "str", "O", "", "f4"])
def test_a_dtype_that_is_not_plain_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"numbers of one dtype, .* got {text!r}"):
        Piece("w", (1,), text, ((0, 1),))


@pytest.mark.parametrize(
    "index", [((0, 5), (0, 6)), ((3, 2), (0, 6)), ((-1, 2), (0, 6)), ((0, 4),)]
)
def test_a_piece_that_is_no_part_of_its_array_is_refused(index: tuple) -> None:
    with pytest.raises(ValueError, match=r"is no part of 'w', which is \(4, 6\)"):
        piece(shape=SHAPE, index=index)


@pytest.mark.parametrize("wire", [None, 7, ["w"], ["w", [1.5], "int8", [[0, 1]]], ["w", 3, "b", 4]])
def test_json_that_is_no_piece_is_refused(wire: object) -> None:
    with pytest.raises(ValueError, match=r"a piece is \[name, shape, dtype, index\]"):
        piece_from_wire(wire)
