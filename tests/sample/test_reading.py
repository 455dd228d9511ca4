"""Prompts read in chunks and from what was kept, beside the same prompts read at once."""

import numpy as np
import pytest

from castor.core.content import Document
from castor.sample.engine import Engine, next_role
from castor.sample.prefixes import LEAST, Prefixes
from castor.sample.reading import (
    CHUNK,
    Prompt,
    Read,
    Reading,
    advance_together,
    common,
    empty_row,
    prompt_of,
)

ROOM = 256


def prompt(engine: Engine, document: Document) -> Prompt:
    return prompt_of(engine.tokens(document, open_turn=next_role(document)))


def read(engine: Engine, asked: Prompt, *, most: int = ROOM, known=None, shared: int = 0) -> Read:
    reading = Reading(
        engine.weights, asked, config=engine.shape, room=ROOM, known=known, shared=shared
    )
    while reading.left:
        reading.advance(most)
    return reading.done


@pytest.mark.parametrize("most", [1, 7, 32, 100])
def test_however_a_prompt_is_cut_it_is_read_the_same(engine, documents, most):
    for document in documents[1:4]:
        asked = prompt(engine, document)
        whole, cut = read(engine, asked), read(engine, asked, most=most)
        np.testing.assert_allclose(cut.logits, whole.logits, atol=1e-4)
        np.testing.assert_allclose(cut.pooled, whole.pooled, atol=1e-3)


@pytest.mark.parametrize("rows", [2, 3, 4])
def test_prompts_that_are_read_together_are_read_as_each_alone(engine, documents, rows):
    asked = [prompt(engine, document) for document in documents[1 : 1 + rows]]
    readings = [Reading(engine.weights, p, config=engine.shape, room=ROOM) for p in asked]
    while any(reading.left for reading in readings):
        advance_together([reading for reading in readings if reading.left], CHUNK)
    for reading, alone in zip(readings, asked, strict=True):
        expected = read(engine, alone)
        np.testing.assert_allclose(reading.done.logits, expected.logits, atol=1e-4)
        np.testing.assert_allclose(reading.done.pooled, expected.pooled, atol=1e-3)


def test_a_row_is_no_wider_than_what_was_read_of_it(engine, documents, monkeypatch):
    monkeypatch.setattr("castor.sample.rows.NARROW", 16)
    asked = prompt(engine, documents[2])
    assert 16 < len(asked) < 64
    reading = Reading(engine.weights, asked, config=engine.shape, room=ROOM)
    seen = [reading.room(8)]
    while reading.left:
        reading.advance(8)
        seen.append(reading.read.cache.room)
    assert seen == [16, 16, 16, *[64] * (len(seen) - 3)] and len(seen) > 5
    np.testing.assert_allclose(reading.done.logits, read(engine, asked).logits, atol=1e-4)


def test_prompts_that_are_read_together_have_rows_as_wide_as_the_widest(engine, documents):
    short, long = (prompt(engine, document) for document in documents[1:3])
    wide = empty_row(engine.shape, 2 * ROOM, str(engine.weights.decoder.embedding.dtype))
    readings = [
        Reading(engine.weights, short, config=engine.shape, room=ROOM),
        Reading(engine.weights, long, config=engine.shape, room=2 * ROOM, known=wide),
    ]
    while readings[1].left:
        advance_together([reading for reading in readings if reading.left], CHUNK)
    for reading, alone in zip(readings, (short, long), strict=True):
        assert reading.done.cache.room == 2 * ROOM
        np.testing.assert_allclose(reading.done.logits, read(engine, alone).logits, atol=1e-4)


def test_a_medium_is_never_parted(engine, documents):
    asked = prompt(engine, documents[3])
    (first, end), *_ = asked.media
    assert end - first > 1
    for cut in range(len(asked)):
        other = asked.marks.copy()
        other[cut:] = 10**6
        shared = common(asked, other)
        assert shared <= cut
        assert not any(start < shared < stop for start, stop in asked.media)


def test_the_last_id_is_read_even_if_all_are_known(engine, documents):
    asked = prompt(engine, documents[0])
    assert common(asked, asked.marks) == len(asked) - 1


def test_what_is_kept_is_found_and_read_on_from_unchanged(engine, documents):
    kept = Prefixes(bytes_most=2**30)
    short = documents[2]
    longer = short.then("the fox").then("and the dog?", role="user")
    before = read(engine, prompt(engine, short))
    kept.keep(prompt(engine, short).marks, before.cache)
    asked = prompt(engine, longer)
    known, shared = kept.longest(asked)
    assert shared == len(prompt(engine, short))
    np.testing.assert_allclose(
        read(engine, asked, known=known, shared=shared).logits,
        read(engine, asked).logits,
        atol=1e-4,
    )
    again = read(engine, prompt(engine, short), known=known, shared=shared - 1)
    np.testing.assert_allclose(again.logits, before.logits, atol=1e-4)


def test_what_is_left_at_the_end_of_a_row_is_read_as_elsewhere(engine):
    asked = prompt(engine, Document.of("~" * 236))
    assert 240 <= len(asked) < ROOM
    before = read(engine, asked)
    for shared in (231, len(asked) - 2):
        again = read(engine, asked, known=before.cache, shared=shared)
        np.testing.assert_allclose(again.logits, before.logits, atol=1e-4)


def test_little_in_common_is_not_worth_finding(engine, documents):
    kept = Prefixes(bytes_most=2**30)
    first, other = prompt(engine, documents[2]), prompt(engine, documents[4])
    kept.keep(first.marks, read(engine, first).cache)
    assert common(other, first.marks) < LEAST
    assert kept.longest(other) == (None, 0)


def test_what_goes_on_takes_the_place_of_what_it_went_on_from(engine, documents):
    kept = Prefixes(bytes_most=2**30)
    asked = prompt(engine, documents[2])
    row = read(engine, asked).cache
    kept.keep(asked.marks, row)
    once = kept.bytes
    kept.keep(np.append(asked.marks, 70), row)
    assert kept.bytes == once


def test_the_longest_unused_is_dropped_where_there_is_no_room(engine, documents):
    first, second = prompt(engine, documents[2]), prompt(engine, documents[3])
    row = read(engine, first).cache
    kept = Prefixes(bytes_most=10**9)
    kept.keep(first.marks, row)
    kept = Prefixes(bytes_most=kept.bytes)
    kept.keep(first.marks, row)
    kept.keep(second.marks, row)
    assert kept.longest(first) == (None, 0)
    assert kept.longest(second)[1] == len(second) - 1
