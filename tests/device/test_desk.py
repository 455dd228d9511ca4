"""The desk over onnxruntime keeps to what the server asks of one."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from castor.core.content import Document, Text, Turn
from castor.device.desk import STRIDE, Desk
from castor.device.engine import DeviceEngine
from castor.device.speaking import Reading, Voice
from castor.sample.ask import Ask, Busy, Failed, Late
from castor.sample.choose import Sampling
from castor.serve.service import Desk as Asked
from tests.sample.hearing import DRAWN, GREEDY, HOT, LONG, Heard, hear, together


@pytest.fixture(scope="module")
def desk(device: DeviceEngine) -> Iterator[Desk]:
    desk = Desk(device, name="tiny", rows=4, queue=40)
    yield desk
    desk.close()


def test_it_is_a_desk_as_the_server_means_it(desk: Desk) -> None:
    assert isinstance(desk, Asked)
    assert (desk.name, desk.context, desk.draws, desk.embeds) == ("tiny", 256, True, True)
    assert desk.kinds == {"image", "audio", "video"}
    assert (desk.waiting, desk.answering) == (0, 0)


@pytest.mark.parametrize("sampling", [GREEDY, HOT, DRAWN], ids=["greedy", "hot", "drawn"])
def test_many_at_once_are_answered_as_each_alone(
    desk: Desk, device: DeviceEngine, documents: list[Document], sampling: Sampling
) -> None:
    alone = [device.reply([document], sampling)[0] for document in documents]
    found = together(*(hear(desk, Ask(document, sampling)) for document in documents))
    for (heard,), reply in zip(found, alone, strict=True):
        assert heard.said == reply.turn.parts
        assert heard.finish == reply.finish
        assert heard.ids == list(reply.ids)
        logprobs = [token.drawn.logprob for token in heard.tokens]
        assert logprobs == pytest.approx(reply.logprobs, abs=1e-4)


def test_candidates_are_the_replies_of_seeds_that_follow_one_another(
    desk: Desk, device: DeviceEngine, documents: list[Document]
) -> None:
    [heard] = together(hear(desk, Ask(documents[4], HOT, candidates=3)))
    for number, mine in enumerate(heard):
        alone = device.reply([documents[4]], replace(HOT, seed=HOT.seed + number))[0]
        assert mine.said == alone.turn.parts
    assert len({mine.said for mine in heard}) > 1


def test_a_talk_that_goes_on_is_read_from_where_it_stood(
    desk: Desk, device: DeviceEngine, documents: list[Document]
) -> None:
    async def talk() -> tuple[int, int, Turn, Document]:
        first = await desk.ask(Ask(documents[3], GREEDY))
        parts = [part async for news in first for part in news.parts]
        longer = documents[3].then(*parts).then("and the fox?", role="user")
        second = await desk.ask(Ask(longer, GREEDY))
        answer = [part async for news in second for part in news.parts]
        return second.reused, first.prompt.total, Turn("model", tuple(answer)), longer

    reused, before, answer, longer = asyncio.run(talk())
    assert reused >= before - 1
    assert answer == device.reply([longer], GREEDY)[0].turn


def test_a_constraint_decides_what_is_said(desk: Desk, documents: list[Document]) -> None:
    choice = desk.constraint("enum", ["seven wizards", "twelve jugs"])
    free = Ask(documents[1], HOT)
    (heard,), (other,) = together(
        hear(desk, Ask(documents[0], HOT, constraint=choice)), hear(desk, free)
    )
    assert heard.said in {(Text("seven wizards"),), (Text("twelve jugs"),)}
    assert heard.finish == "stop"
    [[alone]] = together(hear(desk, free))
    assert other.said == alone.said


def test_an_error_of_a_constraint_is_nobody_elses(
    desk: Desk, device: DeviceEngine, documents: list[Document]
) -> None:
    class Broken:
        def start(self) -> "Broken":
            return self

        def allowed(self) -> np.ndarray:
            return np.ones(device.vocab.size, bool)

        def take(self, i: int) -> None:
            raise Failed("the grammar gave up")

    async def both() -> Heard:
        bad = await desk.ask(Ask(documents[0], GREEDY, constraint=Broken()))
        good = asyncio.ensure_future(hear(desk, Ask(documents[1], GREEDY)))
        with pytest.raises(Failed, match="the grammar gave up"):
            async for _ in bad:
                pass
        return (await good)[0]

    assert asyncio.run(both()).said == device.reply([documents[1]], GREEDY)[0].turn.parts


def test_alternatives_are_the_likeliest_ids_best_first(
    desk: Desk, documents: list[Document]
) -> None:
    [[heard]] = together(hear(desk, Ask(documents[1], GREEDY, alternatives=5)))
    for token in heard.tokens:
        chances = [other.logprob for other in token.others]
        assert len(chances) == 5 and chances == sorted(chances, reverse=True)


def read_in_order(device: DeviceEngine, patch: pytest.MonkeyPatch, *asks: Ask) -> list[int]:
    """Of every id that is read the length of its prompt, where the first is being read when the
    others come, and all have come before its second id."""
    begun, come = threading.Event(), threading.Event()
    order, advance = list[int](), Reading.advance

    def by_one(reading: Reading) -> object:
        begun.set()
        assert come.wait(60)
        order.append(reading.row.length + reading.left)
        return advance(reading, 1)

    async def crowd() -> None:
        tickets = [await desk.ask(asks[0])]
        assert await asyncio.to_thread(begun.wait, 60)
        tickets += [await desk.ask(ask) for ask in asks[1:]]
        come.set()
        for ticket in tickets:
            async for _ in ticket:
                pass

    patch.setattr(Reading, "advance", by_one)
    desk = Desk(device, name="tiny", rows=4)
    asyncio.run(crowd())
    desk.close()
    return order


def test_a_short_prompt_is_read_before_the_rest_of_a_long_one(
    device: DeviceEngine, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("castor.device.desk.IN_TURN", 10**6)
    long, short = (Ask(documents[i], GREEDY) for i in (2, 0))
    order = read_in_order(device, monkeypatch, long, short)
    most, least = max(order), min(order)
    assert order == [most] + [least] * least + [most] * (most - 1)


def test_the_oldest_prompt_has_its_turn_beside_shorter_ones(
    device: DeviceEngine, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("castor.device.desk.IN_TURN", 2)
    long, short = (Ask(documents[i], GREEDY) for i in (2, 0))
    order = read_in_order(device, monkeypatch, long, short)
    most, least = max(order), min(order)
    assert order == [most] + [most, least] * least + [most] * (most - 1 - least)


def test_who_cancels_makes_room_within_a_few_ids(desk: Desk, documents: list[Document]) -> None:
    async def leave() -> int:
        ticket = await desk.ask(Ask(documents[2], LONG))
        async for _ in ticket:
            break
        ticket.cancel()
        before = desk.tally.drawn_tokens
        while desk.answering:
            await asyncio.sleep(0.001)
        return desk.tally.drawn_tokens - before

    assert asyncio.run(leave()) <= 2 * STRIDE


def test_who_cancels_in_the_queue_is_never_read(desk: Desk, documents: list[Document]) -> None:
    async def leave() -> int:
        first = await desk.ask(Ask(documents[2], LONG, candidates=4))
        while desk.waiting:
            await asyncio.sleep(0.001)
        second = await desk.ask(Ask(documents[0], GREEDY))
        assert second.position == 1
        second.cancel()
        before = desk.tally.requests
        async for _ in first:
            pass
        while desk.waiting:
            await asyncio.sleep(0.001)
        return desk.tally.requests - before

    assert asyncio.run(leave()) == 0


def test_a_full_queue_says_how_long_it_is(device: DeviceEngine, documents: list[Document]) -> None:
    desk = Desk(device, name="tiny", rows=1, queue=2)

    async def crowd() -> None:
        tickets = [await desk.ask(Ask(documents[2], LONG))]
        while desk.waiting:
            await asyncio.sleep(0.001)
        tickets += [await desk.ask(Ask(documents[0], GREEDY)) for _ in range(2)]
        with pytest.raises(Busy, match="2 requests are waiting already; try again in 3 s"):
            await desk.ask(Ask(documents[0], GREEDY))
        for ticket in tickets:
            async for _ in ticket:
                pass

    asyncio.run(crowd())
    desk.close()


def test_a_deadline_ends_what_waits_and_what_is_answered(
    desk: Desk, documents: list[Document]
) -> None:
    with pytest.raises(Late):
        together(hear(desk, Ask(documents[2], LONG, deadline_s=0.0)))

    async def begun() -> None:
        ticket = await desk.ask(Ask(documents[2], LONG, deadline_s=30.0))
        async for _ in ticket:
            for work in desk._works:
                work.job.deadline = 0.0

    with pytest.raises(Late):
        asyncio.run(begun())


def test_an_error_of_the_runtime_fails_its_requests_and_the_next_one_works(
    desk: Desk,
    device: DeviceEngine,
    documents: list[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken, say = threading.Event(), Voice.say

    def failing(*arguments: object, **options: object) -> object:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("out of luck")
        return say(*arguments, **options)

    monkeypatch.setattr(Voice, "say", failing)
    with pytest.raises(Failed, match="the model failed: out of luck"):
        together(hear(desk, Ask(documents[0], GREEDY)))
    [[heard]] = together(hear(desk, Ask(documents[0], GREEDY)))
    assert heard.said == device.reply([documents[0]], GREEDY)[0].turn.parts


def test_what_is_counted_is_what_is_used(desk: Desk, documents: list[Document]) -> None:
    async def used(document: Document) -> object:
        ticket = await desk.ask(Ask(document, GREEDY))
        async for _ in ticket:
            pass
        return ticket.prompt

    for document in documents:
        assert desk.count(document) == asyncio.run(used(document))


def test_embeddings_are_of_length_one_and_of_their_own_document(
    desk: Desk, documents: list[Document]
) -> None:
    found = asyncio.run(desk.embed(documents[:4]))
    for (vector, tokens), document in zip(found, documents, strict=False):
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
        assert tokens == desk.count(document).total
        [(alone, _)] = asyncio.run(desk.embed([document]))
        np.testing.assert_allclose(vector, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Ask(Document.of("fox " * 300), GREEDY),
            r"The input token count \(\d+\) exceeds the maximum number of tokens allowed \(255\)",
        ),
        (
            lambda: Ask(Document.of("hi"), GREEDY, candidates=8),
            "8 candidates; this server answers 4 at once",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_before_it_waits(
    desk: Desk, make: Callable[[], Ask], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        together(hear(desk, make()))


def test_a_closed_desk_takes_nothing_and_leaves_nobody_waiting(
    device: DeviceEngine, documents: list[Document]
) -> None:
    desk = Desk(device, name="tiny", rows=1)

    async def closing() -> None:
        ticket = await desk.ask(Ask(documents[2], LONG))
        waits = await desk.ask(Ask(documents[0], GREEDY))
        await asyncio.to_thread(desk.close)
        for one in (ticket, waits):
            with pytest.raises(Failed, match="stopping"):
                async for _ in one:
                    pass
        with pytest.raises(Busy):
            await desk.ask(Ask(documents[0], GREEDY))

    asyncio.run(closing())
