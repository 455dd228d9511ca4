"""The desk: many requests in one running batch, each answered as if it were alone."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.content import Document, Text, Turn
from castor.models.sizes import TINY
from castor.sample import table
from castor.sample.ask import Ask, Busy, Failed, Late
from castor.sample.choose import Sampling
from castor.sample.serving import Desk
from castor.sample.table import ALONE, Call
from castor.sample.ticket import Counted
from castor.tokens.vocab import Control
from tests.sample.hearing import DRAWN, GREEDY, HOT, LONG, hear, together


@pytest.fixture(scope="module")
def desk(engine) -> Iterator[Desk]:
    desk = Desk(engine, name="tiny", rows=8, queue=40)
    yield desk
    desk.close()


@pytest.mark.parametrize(
    "sampling",
    [GREEDY, *(pytest.param(way, marks=pytest.mark.slow) for way in (HOT, DRAWN))],
    ids=["greedy", "hot", "drawn"],
)
def test_many_at_once_are_answered_as_each_alone(desk, engine, documents, sampling):
    alone = [engine.reply([document], sampling)[0] for document in documents]
    found = together(*(hear(desk, Ask(document, sampling)) for document in documents))
    for (heard,), reply in zip(found, alone, strict=True):
        assert heard.said == reply.turn.parts
        assert heard.finish == reply.finish
        assert heard.ids == list(reply.ids)[: len(heard.ids)]
        np.testing.assert_allclose(
            [token.drawn.logprob for token in heard.tokens], reply.logprobs, atol=1e-3
        )


@pytest.mark.slow
def test_all_kinds_of_requests_share_a_batch(desk, engine, documents):
    samplings = [GREEDY, HOT, DRAWN, LONG, GREEDY, HOT]
    asks = [Ask(d, s) for d, s in zip(documents, samplings, strict=True)]
    found = together(*(hear(desk, ask) for ask in asks + asks))
    for ask, (heard,) in zip(asks + asks, found, strict=True):
        assert heard.said == engine.reply([ask.document], ask.sampling)[0].turn.parts


def test_candidates_are_the_replies_of_seeds_that_follow_one_another(desk, engine, documents):
    [heard] = together(hear(desk, Ask(documents[4], HOT, candidates=3)))
    for number, mine in enumerate(heard):
        sampling = Sampling(**{**HOT.__dict__, "seed": HOT.seed + number})
        assert mine.said == engine.reply([documents[4]], sampling)[0].turn.parts
    assert len({mine.said for mine in heard}) > 1


def test_a_talk_that_goes_on_is_read_from_where_it_stood(desk, engine, documents):
    async def talk() -> tuple[int, int, Turn, Document]:
        first = await desk.ask(Ask(documents[3], GREEDY))
        parts = [part async for news in first for part in news.parts]
        longer = documents[3].then(*parts).then("and the fox?", role="user")
        second = await desk.ask(Ask(longer, GREEDY))
        answer = [part async for news in second for part in news.parts]
        return second.reused, first.prompt.total, Turn("model", tuple(answer)), longer

    reused, before, answer, longer = asyncio.run(talk())
    assert reused >= before - 1
    assert answer == engine.reply([longer], GREEDY)[0].turn


def test_another_picture_in_the_same_place_is_not_taken_for_the_first(desk, engine, documents):
    from castor.core.content import Media
    from castor.core.media import ppm

    def about(seed: int) -> Document:
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)
        return Document.of("see the dog jump over ", Media("image/x-portable-pixmap", ppm(pixels)))

    for seed in (7, 8):
        [[heard]] = together(hear(desk, Ask(about(seed), GREEDY)))
        assert heard.said == engine.reply([about(seed)], GREEDY)[0].turn.parts


def test_a_prompt_is_read_in_chunks_beside_the_others(desk, engine):
    long = Document.of("jumps over the lazy dog " * 8)
    found = together(
        hear(desk, Ask(Document.of("hi"), LONG)),
        *(hear(desk, Ask(long, GREEDY)) for _ in range(3)),
    )
    assert found[1][0].said == engine.reply([long], GREEDY)[0].turn.parts


def test_rows_grow_with_their_replies_and_say_the_same(engine, documents, monkeypatch):
    monkeypatch.setattr("castor.sample.rows.NARROW", 32)
    desk = Desk(engine, name="tiny", rows=4)
    seen, call = list[int](), desk._table.call

    def noted(*, hurry: bool) -> Call:
        made = call(hurry=hurry)
        seen.append(desk._table.room)
        return made

    monkeypatch.setattr(desk._table, "call", noted)
    [[heard]] = together(hear(desk, Ask(documents[5], LONG)))
    desk.close()
    reply = engine.reply([documents[5]], LONG)[0]
    assert heard.said == reply.turn.parts and len(reply.ids) == LONG.max_tokens
    assert seen == sorted(seen) and set(seen) == {32, 128, 256}


def test_the_first_id_comes_alone_and_no_call_is_made_for_nothing(desk, documents):
    async def sizes() -> list[int]:
        ticket = await desk.ask(Ask(documents[5], replace(GREEDY, max_tokens=1 + 2 * ALONE)))
        return [len(news.tokens) async for news in ticket]

    before = desk.tally.calls
    assert asyncio.run(sizes()) == [1, ALONE, ALONE]
    assert desk.tally.calls - before == 3


class Letters:
    """A language of one word, over and over."""

    def __init__(self, desk: Desk, word: str) -> None:
        self._size = desk._engine.vocab.size
        self._ids = desk._engine.vocab.encode(word)

    def start(self) -> "Letters.Word":
        return Letters.Word(self._size, [*self._ids, Control.END])

    class Word:
        def __init__(self, size: int, ids: list[int]) -> None:
            self._size, self._ids = size, ids

        def allowed(self) -> np.ndarray:
            may = np.zeros(self._size, bool)
            may[self._ids[0]] = True
            return may

        def take(self, i: int) -> None:
            assert i == self._ids[0]
            self._ids = self._ids[1:] or [Control.END]


def test_a_constraint_decides_what_is_said_and_disturbs_nobody(desk, engine, documents):
    bound = Ask(documents[0], HOT, constraint=Letters(desk, "seven wizards"))
    free = Ask(documents[1], HOT)
    (heard,), (other,) = together(hear(desk, bound), hear(desk, free))
    assert heard.said == (Text("seven wizards"),)
    assert heard.finish == "stop"
    assert other.said == engine.reply([documents[1]], HOT)[0].turn.parts


def test_alternatives_are_the_likeliest_ids_best_first(desk, documents):
    [[heard]] = together(hear(desk, Ask(documents[1], GREEDY, alternatives=5)))
    for token in heard.tokens:
        chances = [other.logprob for other in token.others]
        assert len(chances) == 5 and chances == sorted(chances, reverse=True)
        if token.drawn.id >= 64:
            assert token.drawn.logprob <= chances[0] + 1e-5


def test_who_cancels_makes_room_within_a_few_ids(desk, documents):
    async def leave() -> int:
        ticket = await desk.ask(Ask(documents[2], LONG))
        async for _ in ticket:
            break
        before = desk.tally.drawn_tokens
        ticket.cancel()
        while desk.answering:
            await asyncio.sleep(0.005)
        return desk.tally.drawn_tokens - before

    assert asyncio.run(leave()) <= 12


def test_a_full_queue_says_how_long_it_is(engine, documents):
    desk = Desk(engine, name="tiny", rows=1, queue=2)
    try:

        async def crowd() -> list[int]:
            tickets = [await desk.ask(Ask(documents[2], LONG))]
            while desk.waiting:
                await asyncio.sleep(0.001)
            tickets += [await desk.ask(Ask(documents[0], GREEDY)) for _ in range(2)]
            places = [ticket.position for ticket in tickets]
            with pytest.raises(Busy, match="2 requests are waiting already; try again in 3 s"):
                await desk.ask(Ask(documents[0], GREEDY))
            for ticket in tickets:
                async for _ in ticket:
                    pass
            return places

        assert asyncio.run(crowd()) == [0, 1, 2]
    finally:
        desk.close()


def test_a_deadline_ends_what_waits_and_what_is_answered(desk, documents):
    late = Ask(documents[2], LONG, deadline_s=0.0)
    for _ in range(2):
        with pytest.raises(Late):
            together(hear(desk, late))


def test_an_error_of_the_engine_fails_its_requests_and_the_next_one_works(
    desk, engine, documents, monkeypatch
):
    broken = threading.Event()
    hear_calls = desk._hear

    def failing() -> None:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("out of luck")
        hear_calls()

    monkeypatch.setattr(desk, "_hear", failing)
    with pytest.raises(Failed, match="the model failed: out of luck"):
        together(hear(desk, Ask(documents[0], GREEDY)))
    [[heard]] = together(hear(desk, Ask(documents[0], GREEDY)))
    assert heard.said == engine.reply([documents[0]], GREEDY)[0].turn.parts


def test_what_is_counted_is_what_is_used(desk, documents):
    async def both(document: Document) -> tuple[Counted, Counted]:
        ticket = await desk.ask(Ask(document, GREEDY))
        async for _ in ticket:
            pass
        return desk.count(document), ticket.prompt

    for document in documents:
        counted, used = asyncio.run(both(document))
        assert counted == used
        assert counted.total == sum(counted.by_kind.values())
    assert desk.count(documents[3]).by_kind.keys() == {"text", "audio", "image"}


def test_embeddings_are_of_length_one_and_of_their_own_document(desk, documents):
    async def embedded() -> list[tuple[np.ndarray, int]]:
        return await desk.embed(documents[:4])

    found = asyncio.run(embedded())
    for (vector, tokens), document in zip(found, documents, strict=False):
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
        assert tokens == desk.count(document).total
        [(alone, _)] = asyncio.run(desk.embed([document]))
        np.testing.assert_allclose(vector, alone, atol=1e-5)
    assert found[0][0] @ found[1][0] < 0.999


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Ask(Document.of("fox " * 300), GREEDY),
            r"The input token count \(\d+\) exceeds the maximum number of tokens allowed \(255\)",
        ),
        (
            lambda: Ask(Document.of("hi"), DRAWN, candidates=8),
            "8 candidates take 16 rows; this server has 8",
        ),
        (lambda: Ask(Document.of("hi"), GREEDY, candidates=9), "candidates=9 is outside 1 to 8"),
        (lambda: Ask(Document.of("hi"), GREEDY, alternatives=21), "outside 0 to 20"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_it_waits(desk, make: Callable[[], Ask], message):
    with pytest.raises(ValueError, match=message):
        together(hear(desk, make()))


def test_a_closed_desk_takes_nothing_and_leaves_nobody_waiting(engine, documents):
    desk = Desk(engine, name="tiny", rows=1)

    async def closing() -> None:
        ticket = await desk.ask(Ask(documents[2], LONG))
        await asyncio.to_thread(desk.close)
        with pytest.raises(Failed, match="stopping"):
            async for _ in ticket:
                pass
        with pytest.raises(Busy):
            await desk.ask(Ask(documents[0], GREEDY))

    asyncio.run(closing())


@pytest.mark.parametrize("kernels", [False, True])
def test_a_table_in_half_precision_begins_with_two_rows_where_one_has_no_kernels(
    monkeypatch: pytest.MonkeyPatch, kernels: bool
) -> None:
    monkeypatch.setattr(table, "runs_here", lambda dtype: kernels)
    embedding = jnp.zeros((4, 4), jnp.bfloat16)
    model = SimpleNamespace(decoder=SimpleNamespace(embedding=embedding))
    made = table.Table(model, config=TINY, rows_most=8, draws=False)
    assert made.lengths == ((1, 4, 8) if kernels else (2, 8))
