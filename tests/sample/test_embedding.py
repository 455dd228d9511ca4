"""Texts in, embeddings out: as plain numpy has them, whatever is beside them."""

import asyncio
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from castor.core.content import Document, Media
from castor.models.heads import init_heads
from castor.sample.ask import Ask, Busy
from castor.sample.choose import Sampling
from castor.sample.embedding import (
    TEXTS,
    TOGETHER,
    EmbeddingDesk,
    embeddings,
    row_lengths,
    tokens_of,
)
from castor.sample.engine import Engine
from castor.sample.serving import Desk
from castor.sample.warming import warming

from .embedders import embedder, embedding_of

WORDS = ["the fox", "", "seven wizards mix 12 jugs", "äöü 漢字", "the lazy dog jumps over " * 3]
SILENT = "this model embeds texts and generates none; .* /v1/embeddings$"


@pytest.fixture(scope="module")
def engine(vocab) -> Engine:
    return embedder(vocab)


@pytest.fixture(scope="module")
def desk(engine) -> Iterator[EmbeddingDesk]:
    desk = EmbeddingDesk(engine, name="tiny", queue=40)
    yield desk
    desk.close()


def ids_of(texts, engine):
    return [tokens_of(Document.of(text), engine=engine).ids for text in texts]


def test_an_embedding_is_what_numpy_makes_of_the_whole_text(engine):
    for text, ids in zip(WORDS, ids_of(WORDS, engine), strict=True):
        (found,) = embeddings([ids], engine=engine)
        np.testing.assert_allclose(found, embedding_of(engine, text.strip()), atol=1e-5)


def test_texts_beside_it_change_nothing_of_an_embedding(engine):
    texts = ids_of(WORDS * 9, engine)
    assert len(texts) > TEXTS
    together = embeddings(texts, engine=engine)
    for n, ids in enumerate(texts[: len(WORDS)]):
        (alone,) = embeddings([ids], engine=engine)
        for found in together[n :: len(WORDS)]:
            np.testing.assert_allclose(found, alone, atol=1e-5)


def test_what_comes_later_changes_what_came_before(engine):
    first, second = embeddings(ids_of(["the fox", "the dog"], engine), engine=engine)
    assert abs(first @ second) < 0.999


@pytest.mark.parametrize("dialogue", ["plain", "gemma", "gemma3", "functiongemma"])
def test_a_text_stands_between_bos_and_eos_without_white_space_at_its_ends(vocab, dialogue):
    engine = embedder(vocab, dialogue=dialogue)
    names = [piece.text for piece in engine.vocab.pieces]
    (ids,) = ids_of([" \n the fox\t"], engine)
    assert [names[ids[0]], names[ids[-1]]] == ["<bos>", "<eos>"]
    assert ids[1:-1].tolist() == engine.vocab.encode("the fox")


def test_control_pieces_in_a_text_are_text(engine):
    (ids,) = ids_of(["<eos><bos><start_of_turn>"], engine)
    assert all(engine.vocab.is_text(i) for i in ids[1:-1].tolist())


def test_a_model_that_sees_ahead_embeds_without_heads(vocab):
    engine = embedder(vocab, heads=None)
    assert engine.embedder is not None and engine.embedder.prompts == {}
    (found,) = embeddings(ids_of(["the fox"], engine), engine=engine)
    np.testing.assert_allclose(found, embedding_of(engine, "the fox"), atol=1e-5)
    assert found.shape == (engine.config.width,)


def test_rows_grow_by_twos_to_the_context():
    assert row_lengths(96) == [32, 64, 96]
    assert row_lengths(2048) == [32, 64, 128, 256, 512, 1024, 2048]
    assert row_lengths(20) == [20]
    assert TOGETHER in row_lengths(2048)


def test_after_warming_nothing_is_compiled(vocab, compiled):
    engine = embedder(vocab, heads=init_heads((16, 12), jax.random.key(2)))
    steps = warming(engine, rows=4)
    assert list(steps) == ["texts of 32", "texts of 64", "texts of 96"] and steps.share == 1
    assert compiled
    compiled.clear()
    embeddings(ids_of(WORDS * 9, engine), engine=engine)
    assert not compiled, "; ".join(compiled)


def test_the_desk_tells_vectors_and_tokens(desk, engine):
    documents = [Document.of(text) for text in WORDS]
    found = asyncio.run(desk.embed(documents))
    for text, document, (vector, count) in zip(WORDS, documents, found, strict=True):
        np.testing.assert_allclose(vector, embedding_of(engine, text.strip()), atol=1e-5)
        assert count == desk.count(document).total == len(engine.vocab.encode(text.strip())) + 2
    assert asyncio.run(desk.embed([])) == []


def test_many_requests_at_once_are_answered_as_each_alone(desk, engine):
    async def crowd():
        return await asyncio.gather(*(desk.embed([Document.of(text)]) for text in WORDS))

    for text, [(vector, _)] in zip(WORDS, asyncio.run(crowd()), strict=True):
        np.testing.assert_allclose(vector, embedding_of(engine, text.strip()), atol=1e-5)


def test_the_whole_context_may_be_filled_and_no_more(desk):
    (full,) = asyncio.run(desk.embed([Document.of("." * 94)]))
    assert full[1] == desk.context == 96
    with pytest.raises(ValueError, match=rf"count \(\d+\) exceeds .* allowed \({desk.context}\)"):
        asyncio.run(desk.embed([Document.of("." * 95)]))


def test_a_full_queue_is_told(desk):
    async def crowd():
        wide = [Document.of("fox")] * 30
        return await asyncio.gather(desk.embed(wide), desk.embed(wide), return_exceptions=True)

    first, second = asyncio.run(crowd())
    assert len(first) == 30 and isinstance(second, Busy) and second.waiting == 30
    assert len(asyncio.run(desk.embed([Document.of("fox")] * 50))) == 50


def test_media_are_refused(desk):
    with pytest.raises(ValueError, match="this model embeds texts alone, and no media"):
        desk.count(Document.of("see", Media("image/png", b"x")))


def test_generating_is_refused_in_one_sentence(desk, engine):
    document = Document.of("Hi")
    with pytest.raises(ValueError, match=SILENT):
        engine.reply([document], Sampling())
    with pytest.raises(ValueError, match=SILENT):
        list(engine.stream(document, Sampling()))
    with pytest.raises(ValueError, match=SILENT):
        engine.score([(document, "Ho")])
    with pytest.raises(ValueError, match=SILENT):
        engine.surprise("Ho")
    with pytest.raises(ValueError, match=SILENT):
        asyncio.run(desk.ask(Ask(document, Sampling())))
    with pytest.raises(ValueError, match=SILENT):
        desk.constraint("json", None)


def test_the_desk_of_replies_takes_no_model_that_embeds(engine):
    with pytest.raises(AssertionError, match="has a desk of its own"):
        Desk(engine, name="tiny")
