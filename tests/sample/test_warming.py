"""What is compiled before the first request, so that none waits for it."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from castor.sample.ask import Ask
from castor.sample.choose import Sampling
from castor.sample.engine import Engine
from castor.sample.serving import Desk
from castor.sample.warming import Warming, warming

SAMPLINGS = (
    Sampling(max_tokens=8),
    Sampling(max_tokens=8, temperature=1.0, top_k=5, top_p=0.9, frequency_penalty=1.0),
    Sampling(max_tokens=30, temperature=1.0, pictures="allowed", guidance=2.0),
    Sampling(pictures="only", guidance=2.0),
)


def test_the_share_is_of_the_steps_that_are_over():
    done: list[str] = []
    steps = Warming([(what, partial(done.append, what)) for what in "abcd"])
    told = [(steps.share, what, list(done)) for what in steps]
    assert told == [
        (0.25, "a", ["a"]),
        (0.5, "b", ["a", "b"]),
        (0.75, "c", ["a", "b", "c"]),
        (1.0, "d", ["a", "b", "c", "d"]),
    ]


def test_nothing_is_done_before_it_is_asked_for():
    done: list[str] = []
    assert Warming([("a", partial(done.append, "a"))]).share == 0
    assert done == []
    assert Warming([]).share == 1


def test_a_step_that_fails_ends_the_warming():
    steps = Warming([("a", list), ("b", partial(int, "no number")), ("c", list)])
    with pytest.raises(ValueError, match="no number"):
        list(steps)
    assert steps.share == 1


@pytest.mark.slow
def test_after_warming_no_request_compiles_anything(engine, documents, compiled):
    wide = replace(engine.shape, context=300)
    wide = Engine(engine.weights, config=wide, vocab=engine.vocab, codec=engine.codec)
    steps = warming(wide, rows=5)
    assert list(steps) and steps.share == 1
    assert compiled
    compiled.clear()
    desk = Desk(wide, name="tiny", rows=5)

    async def hear(ask: Ask) -> None:
        async for _ in await desk.ask(ask):
            pass

    async def crowd() -> None:
        asks = [Ask(d, s) for d in documents for s in SAMPLINGS]
        asks += [Ask(documents[0], SAMPLINGS[1], candidates=2, alternatives=3)]
        asks += [Ask(documents[2], replace(s, max_tokens=290)) for s in SAMPLINGS[:2]]
        asks += [Ask(documents[1], SAMPLINGS[0], constraint=desk.constraint("json", None))]
        await asyncio.gather(*map(hear, asks))
        await desk.embed(documents)

    asyncio.run(crowd())
    desk.close()
    assert not compiled, "; ".join(compiled)
