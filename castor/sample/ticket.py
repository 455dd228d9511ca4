"""What whoever asked holds: news as they come, from the desk's thread to an event loop.

`tell` and `end` are called by the desk's thread, everything else by the event loop that asked.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import NamedTuple

import numpy as np

from castor.sample.ask import News
from castor.tokens.render import Tokens


class Counted(NamedTuple):
    """Tokens of a prompt, in all and by what they stand for."""

    total: int
    by_kind: dict[str, int]  # "text", "image", "audio", "video"


def counted(tokens: Tokens) -> Counted:
    """The tokens of a prompt by what they stand for; a clip's frames, sound and times are video."""
    ids = tokens.ids
    kinds = np.full(len(ids), "text", "<U5")
    for at, signal in tokens.signals:
        kinds[at : at + len(signal.values)] = signal.kind
    for start, stop in tokens.clips:
        kinds[start:stop] = "video"
    names, numbers = np.unique(kinds, return_counts=True)
    return Counted(len(ids), dict(zip(names.tolist(), numbers.tolist(), strict=True)))


class Ticket:
    """One request under way. Iterating gives news until every candidate has finished.

    Raises, while iterating:
        Late: the deadline passed.
        Failed: the engine met an error of its own.
    """

    def __init__(
        self, prompt: Counted, candidates: int, *, position: Callable[["Ticket"], int]
    ) -> None:
        self.prompt = prompt
        self.reused = 0  # tokens of the prompt that had been read before
        self.cancelled = False
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[News | Exception] = asyncio.Queue()
        self._open = candidates
        self._position = position

    @property
    def position(self) -> int:
        """Place in the queue, from 1; 0 = being worked on, or over."""
        return self._position(self)

    def cancel(self) -> None:
        """Nobody waits any more; the desk stops at its next look."""
        self.cancelled = True

    async def __aiter__(self) -> AsyncIterator[News]:
        while self._open:
            news = await self._news.get()
            if isinstance(news, Exception):
                self._open = 0
                raise news
            self._open -= news.finish is not None
            yield news

    @staticmethod
    def deliver(told: Iterable[tuple["Ticket", News | Exception]]) -> None:
        """Hand out what many tickets are told, one call for each event loop."""
        loops: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, News | Exception]]] = {}
        for ticket, news in told:
            loops.setdefault(ticket._loop, []).append((ticket, news))
        for loop, mine in loops.items():
            try:
                loop.call_soon_threadsafe(_put, mine)
            except RuntimeError:  # the loop is closed: nobody listens
                for ticket, _ in mine:
                    ticket.cancelled = True


def _put(told: list[tuple[Ticket, News | Exception]]) -> None:
    for ticket, news in told:
        ticket._news.put_nowait(news)
