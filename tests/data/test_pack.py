"""Packing, as laws: every id once and in order, documents kept apart, media in their place."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from castor.core.batch import Batch, Signal
from castor.data.pack import LEAST, Packed, Piece, Room, pack
from castor.tokens.render import Tokens

ROOMS = {
    "image": Room(12, (2,), np.dtype(np.uint8)),
    "audio": Room(9, (3,), np.dtype(np.float16)),
}
LENGTH = 24


def signal(kind: str, slots: int, value: int) -> Signal:
    window = ROOMS[kind].window
    values = np.full((slots, *window), value, ROOMS[kind].dtype)
    places = np.arange(2 * slots, dtype=np.int32).reshape(slots, 2)
    return Signal(kind, values, places)


def piece(number: int, size: int, media: list[tuple[str, int]]) -> Piece:
    """A document of `size` ids, every one of them unique; its media follow one another in it."""
    signals, column = [], 1
    for kind, slots in media:
        signals.append((column, signal(kind, slots, number % 200 + 1)))
        column += slots + 1
    ids = 1000 * number + np.arange(max(size, column + 1), dtype=np.int32)
    weights = (1 + np.arange(len(ids)) % 5).astype(np.float32)
    return Piece(Tokens(ids, weights, tuple(signals), ()), source=number % 7, emphasis=2.0)


media_lists = st.lists(
    st.tuples(st.sampled_from(["image", "audio"]), st.integers(1, 6)), max_size=2
)
shapes = st.lists(st.tuples(st.integers(2, 20), media_lists), max_size=14)
sizes = st.lists(st.integers(2, 70), max_size=8)


def packed(documents: list, texts: list[int], rows: int) -> tuple[list[Piece], list[Piece], Packed]:
    whole = [piece(i + 1, size, media) for i, (size, media) in enumerate(documents)]
    fill = [piece(len(whole) + 1 + i, size, []) for i, size in enumerate(texts)]
    return whole, fill, pack(whole, rows=rows, length=LENGTH, rooms=ROOMS, fillers=iter(fill))


def segments_of(batch: Batch) -> list[tuple[int, np.ndarray]]:
    """(row, columns) of every segment, row by row."""
    found = []
    for row, segments in enumerate(batch.segments):
        for number in range(1, int(segments.max(initial=0)) + 1):
            found.append((row, np.flatnonzero(segments == number)))
    return found


@given(shapes, sizes, st.integers(1, 3))
def test_every_id_stands_once_and_in_order(documents: list, texts: list[int], rows: int) -> None:
    whole, fill, (batch, dropped) = packed(documents, texts, rows)
    stretches: dict[int, list[np.ndarray]] = {}
    for row, columns in segments_of(batch):
        ids = batch.tokens[row, columns]
        assert (np.diff(columns) == 1).all() and (np.diff(ids) == 1).all()
        stretches.setdefault(int(ids[0]) // 1000, []).append(ids)
    placed = [p for p in whole if int(p.tokens.ids[0]) // 1000 in stretches]
    assert len(placed) + sum(dropped.values()) == len(whole)
    for one in placed:
        (ids,) = stretches[int(one.tokens.ids[0]) // 1000]
        assert (ids == one.tokens.ids).all()
    for one in fill:  # text may be cut, but what is there is its beginning, without a gap
        parts = sorted(stretches.get(int(one.tokens.ids[0]) // 1000, []), key=lambda ids: ids[0])
        joined = np.concatenate([*parts, np.zeros(0, np.int32)])
        assert (joined == one.tokens.ids[: len(joined)]).all()


@given(shapes, sizes, st.integers(1, 3))
def test_targets_are_the_next_ids_of_the_same_document(
    documents: list, texts: list[int], rows: int
) -> None:
    whole, fill, (batch, _) = packed(documents, texts, rows)
    weights = {int(i): 2 * w for p in whole + fill for i, w in zip(*p.tokens[:2], strict=True)}
    for row, columns in segments_of(batch):
        inner, last = columns[:-1], columns[-1]
        assert (batch.targets[row, inner] == batch.tokens[row, inner + 1]).all()
        wanted = [weights[int(i)] for i in batch.targets[row, inner]]
        assert batch.weights[row, inner].tolist() == wanted
        assert batch.weights[row, last] == 0
        assert (batch.positions[row, columns] == np.arange(len(columns))).all()
        assert len(set(batch.sources[row, columns].tolist())) == 1


@given(shapes, sizes, st.integers(1, 3))
def test_padding_is_nothing_at_all(documents: list, texts: list[int], rows: int) -> None:
    _, _, (batch, _) = packed(documents, texts, rows)
    empty = batch.segments == 0
    for values in (batch.tokens, batch.targets, batch.weights, batch.positions, batch.blocks):
        assert not values[empty].any()


@given(shapes, sizes, st.integers(1, 3))
def test_media_stand_where_their_slots_are(documents: list, texts: list[int], rows: int) -> None:
    whole, _, (batch, _) = packed(documents, texts, rows)
    by_number = {int(p.tokens.ids[0]) // 1000: p for p in whole}
    for row, columns in segments_of(batch):
        number = int(batch.tokens[row, columns[0]]) // 1000
        signals = by_number[number].tokens.signals if number in by_number else ()
        expected = np.zeros(len(columns), bool)
        for column, one in signals:
            count = len(one.places)
            expected[column : column + count] = True
            slots = batch.media[one.kind]
            here = np.isin(slots.columns[row], columns[column] + np.arange(count))
            assert (slots.values[row, here] == one.values).all()
            assert (slots.places[row, here] == one.places).all()
            blocks = batch.blocks[row, columns[column : column + count]]
            assert len(set(blocks.tolist())) == 1 and blocks[0] > 0
            assert (slots.blocks[row, here] == blocks).all()
        assert ((batch.blocks[row, columns] > 0) == expected).all()


@given(shapes, st.integers(1, 3))
def test_blocks_and_unused_slots_are_numbered_as_the_model_expects(
    documents: list, rows: int
) -> None:
    _, _, (batch, _) = packed(documents, [], rows)
    for row in range(rows):
        used = sorted(set(batch.blocks[row].tolist()) - {0})
        assert used == list(range(1, len(used) + 1))
    for kind, slots in batch.media.items():
        assert slots.values.shape[1:] == (ROOMS[kind].slots, *ROOMS[kind].window)
        unused = slots.columns == LENGTH
        assert not slots.blocks[unused].any() and not slots.values[unused].any()
        assert (slots.blocks[~unused] > 0).all()


def test_text_fills_every_hole_that_is_worth_it() -> None:
    pieces = [piece(1, 20, []), piece(2, 10, []), piece(3, 12, [])]
    batch, dropped = pack(pieces, rows=2, length=LENGTH, rooms=ROOMS, fillers=[piece(9, 400, [])])
    holes = (batch.segments == 0).sum(1)
    assert not dropped
    assert (holes < LEAST).all()


def test_fillers_are_only_taken_while_there_is_room() -> None:
    taken = []

    def fillers():
        for number in range(100):
            taken.append(number)
            yield piece(number, 20, [])

    pack([], rows=2, length=LENGTH, rooms=ROOMS, fillers=fillers())
    assert len(taken) == 2


def test_what_finds_no_room_is_counted_by_source() -> None:
    pictures = [piece(3, 10, [("image", 8)]) for _ in range(3)]
    batch, dropped = pack(pictures, rows=2, length=LENGTH, rooms=ROOMS)
    assert dropped == {3: 1}
    assert pack([piece(1, 30, [("image", 2)])], rows=2, length=LENGTH, rooms=ROOMS).dropped == {
        1: 1
    }
    assert pack([piece(1, 9, [("audio", 2)])], rows=1, length=LENGTH, rooms={}).dropped == {1: 1}


def test_text_longer_than_a_row_is_spread_over_rows() -> None:
    one = piece(1, 60, [])
    batch, dropped = pack([one], rows=3, length=LENGTH, rooms=ROOMS)
    assert not dropped
    assert sorted(batch.tokens[batch.segments > 0].tolist()) == one.tokens.ids.tolist()


def test_a_kind_without_room_is_absent() -> None:
    assert pack([piece(1, 9, [])], rows=1, length=LENGTH, rooms={}).batch.media == {}
