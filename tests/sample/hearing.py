"""What the tests of desks ask, and all that they hear."""

import asyncio
from collections.abc import Awaitable

from castor.core.content import Part, Turn
from castor.sample.ask import Ask, Token
from castor.sample.choose import Sampling
from castor.sample.intake import Intake

GREEDY = Sampling(max_tokens=12)
HOT = Sampling(max_tokens=12, temperature=1.0, top_k=40, seed=3, frequency_penalty=0.5)
DRAWN = Sampling(max_tokens=40, temperature=1.0, pictures="allowed", seed=5, guidance=2.0)
LONG = Sampling(max_tokens=200)


class Heard:
    """All that one candidate said."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.tokens: list[Token] = []
        self.finish: str | None = None

    @property
    def said(self) -> tuple[Part, ...]:
        return Turn("model", tuple(self.parts)).parts

    @property
    def ids(self) -> list[int]:
        return [token.drawn.id for token in self.tokens]


async def hear(desk: Intake, ask: Ask) -> list[Heard]:
    ticket = await desk.ask(ask)
    heard = [Heard() for _ in range(ask.candidates)]
    async for news in ticket:
        mine = heard[news.candidate]
        assert mine.finish is None
        mine.parts += news.parts
        mine.tokens += news.tokens
        mine.finish = news.finish
    return heard


def together[T](*coroutines: Awaitable[T]) -> list[T]:
    async def all_of_them() -> list[T]:
        return list(await asyncio.gather(*coroutines))

    return asyncio.run(all_of_them())
