"""One request on its way through the desk: what it asked, its prompt, and its growing replies."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from castor.core.content import Document
from castor.sample.ask import Ask, Guide, Likely, Token
from castor.sample.decode import Drawn
from castor.sample.engine import Engine, next_role
from castor.sample.grammar import Rules
from castor.sample.reading import Prompt, Reading, prompt_of
from castor.sample.rows import room_for
from castor.sample.session import said_most
from castor.sample.table import Sitter
from castor.sample.ticket import Ticket
from castor.sample.transcript import Transcript
from castor.tokens.render import Piece
from castor.tokens.vocab import Vocab


@dataclass(eq=False)
class Candidate:
    """One reply as it grows."""

    number: int
    sitter: Sitter
    script: Transcript
    guide: Guide | None
    vocab: Vocab
    alternatives: int

    @property
    def over(self) -> bool:
        """Whether it ended, or may say no more."""
        return self.script.ended or len(self.script.ids) == self.sitter.said_most

    def listen(self, heard: Drawn, *, row: int, steps: int) -> tuple[list[Token], list[Piece]]:
        """The ids that a call drew for it, and what they show."""
        tokens: list[Token] = []
        pieces: list[Piece] = []
        ids = np.asarray(heard.ids)[row, :steps].tolist()
        chances = np.asarray(heard.logprobs)[row, :steps].tolist()
        for at, (i, chance) in enumerate(zip(ids, chances, strict=True)):
            if self.over:
                break
            pieces += self.script.feed(i)
            tokens.append(Token(self._likely(i, chance), self._others(heard, row, at)))
            if self.guide is not None and not self.script.ended:
                self.guide.take(i)
                self.sitter.may = self.guide.allowed()
            if self.over:
                pieces += self.script.close()
        return tokens, pieces

    def _others(self, heard: Drawn, row: int, at: int) -> tuple[Likely, ...]:
        if not self.alternatives:
            return ()
        ids = np.asarray(heard.likely)[row, at, : self.alternatives].tolist()
        chances = np.asarray(heard.likely_logprobs)[row, at, : self.alternatives].tolist()
        return tuple(self._likely(i, chance) for i, chance in zip(ids, chances, strict=True))

    def _likely(self, i: int, chance: float) -> Likely:
        return Likely(i, self.vocab.piece_bytes(i), chance)


@dataclass(eq=False)
class Job:
    """One request, from the queue to its last news."""

    prompt: Prompt
    room: int  # positions of its rows
    most: int = 0  # ids of each reply
    ask: Ask | None = None  # None: a document to be embedded
    law: Rules | None = None
    deadline: float = float("inf")
    ticket: Ticket | None = None
    reading: Reading | None = None
    candidates: list[Candidate] = field(default_factory=list)
    embedded: "asyncio.Future[np.ndarray] | None" = None

    @property
    def rows(self) -> int:
        """Rows that it needs in the table."""
        if self.ask is None:
            return 0
        return self.ask.candidates * (2 if self.ask.sampling.guided else 1)

    @property
    def left(self) -> int:
        """Ids of its prompt that are still to be read."""
        return 0 if self.reading is None else self.reading.left

    @property
    def row_room(self) -> int:
        """Positions of its row when it is read on."""
        return self.room if self.reading is None else self.reading.room()

    @property
    def dropped(self) -> bool:
        """Whether nobody waits for it."""
        if self.ticket is not None:
            return self.ticket.cancelled
        return self.embedded is not None and self.embedded.cancelled()

    def late(self, now: float) -> bool:
        """Whether its deadline has passed, or nobody waits for it."""
        return self.dropped or self.deadline < now

    def candidate(self, number: int, *, vocab: Vocab) -> Candidate:
        """One of its replies, about to begin, with its shadow where pictures are guided."""
        assert self.ask is not None and self.law is not None
        sampling, told = self.ask.sampling, self.ask.alternatives
        guide = None if self.ask.constraint is None else self.ask.constraint.start()
        length = len(self.prompt)
        sitter = Sitter(sampling, self.law, length, self.most, alternatives=told > 0)
        sitter.may = None if guide is None else guide.allowed()
        if sampling.guided:
            sitter.shadow = Sitter(sampling, self.law, 0, self.most, leader=sitter)
        script = Transcript(vocab, stop=sampling.stop)
        self.candidates.append(Candidate(number, sitter, script, guide, vocab, told))
        return self.candidates[-1]


@dataclass
class Tally:
    """What a desk has done since it opened."""

    requests: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    drawn_tokens: int = 0
    calls: int = 0


def job_for(ask: Ask, *, engine: Engine) -> Job:
    """The job of a request.

    Raises:
        ValueError: it does not fit into the context, or holds what the model cannot read.
    """
    law, context = engine.law(ask.sampling), engine.config.context
    prompt = _prompt(ask.document, engine)
    most = said_most(ask.sampling, law, len(prompt), context=context)
    late = float("inf") if ask.deadline_s is None else time.monotonic() + ask.deadline_s
    room = room_for(len(prompt) + most, context)
    return Job(prompt, room, most, ask, law, deadline=late)


def job_to_embed(document: Document, *, engine: Engine) -> Job:
    """The job of reading a document for its states.

    Raises:
        ValueError: as `job_for`.
    """
    prompt = _prompt(document, engine)
    return Job(prompt, room_for(len(prompt), engine.config.context))


def resolve(future: "asyncio.Future[Any]", found: Any) -> None:
    """Set a future of another thread's event loop, if anybody still waits for it."""

    def put() -> None:
        if future.done():
            return
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)

    future.get_loop().call_soon_threadsafe(put)


def _prompt(document: Document, engine: Engine) -> Prompt:
    tokens = engine.tokens(document, open_turn=next_role(document))
    most = engine.config.context - 1
    if len(tokens.ids) > most:
        raise ValueError(
            f"The input token count ({len(tokens.ids)}) exceeds the maximum number of tokens "
            f"allowed ({most})."
        )
    return prompt_of(tokens)
