"""Padded rows keep every id, slot and number of the documents in them."""

import numpy as np
import pytest

from castor.sample.rows import bucket, room_for, rows_of, widths


@pytest.mark.parametrize(("count", "size"), [(1, 64), (64, 64), (65, 128), (129, 256), (900, 1024)])
def test_a_bucket_is_the_next_power_of_two_times_the_least(count, size):
    assert bucket(count, least=64) == size


def test_rows_that_grow_have_few_widths_and_the_last_is_the_context():
    assert widths(2128) == (256, 1024, 2128)
    assert widths(256) == (256,) and widths(100) == (100,)
    assert [room_for(n, 2128) for n in (1, 256, 257, 1025, 2128)] == [256, 256, 1024, 2128, 2128]


def test_rows_hold_each_document_from_the_left(engine, documents):
    tokens = [engine.rendered(document) for document in documents]
    rows = rows_of(tokens, length=128)
    assert rows.tokens.shape == (8, 128)
    assert rows.valid.sum(1).tolist() == [len(t.ids) for t in tokens] + [0, 0]
    for row, document in enumerate(tokens):
        np.testing.assert_array_equal(rows.tokens[row, : len(document.ids)], document.ids)


def test_slots_point_at_their_columns_and_unused_ones_outside_the_row(engine, documents):
    tokens = [engine.rendered(document) for document in documents]
    rows = rows_of(tokens, length=128)
    assert set(rows.media) == {"image", "audio"}
    for kind, slots in rows.media.items():
        for row, document in enumerate(tokens):
            columns = [
                start + n
                for start, signal in document.signals
                if signal.kind == kind
                for n in range(len(signal.values))
            ]
            used = slots.columns[row] < 128
            assert slots.columns[row][used].tolist() == columns
            np.testing.assert_array_equal(slots.blocks[row] > 0, used)
            np.testing.assert_array_equal(rows.blocks[row, columns], slots.blocks[row][used])


def test_as_a_batch_every_id_is_the_target_of_the_one_before(engine, documents):
    tokens = [engine.rendered(document) for document in documents]
    batch = rows_of(tokens, length=128).batch()
    for row, document in enumerate(tokens):
        n = len(document.ids) - 1
        np.testing.assert_array_equal(batch.targets[row, :n], document.ids[1:])
        np.testing.assert_array_equal(batch.weights[row, :n], document.weights[1:])
        assert not batch.weights[row, n:].any()
