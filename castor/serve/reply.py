"""What the engine says, as the Gemini API's responses: whole, or chunk by chunk.

Invariant: the chunks of a stream say, put together, what the whole response would have said.
"""

import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from castor.core.content import Call, Part, Turn
from castor.core.wire import part_to_wire
from castor.sample.ask import Finish, Likely, News, Token
from castor.sample.ticket import Counted
from castor.serve.service import Ticket

FINISH = {"stop": "STOP", "length": "MAX_TOKENS"}


@dataclass
class Candidate:
    """One reply as far as it has come."""

    parts: list[Part] = field(default_factory=list[Part])
    tokens: list[Token] = field(default_factory=list[Token])
    told: int = 0  # tokens
    nats: float = 0.0  # their log-probability
    finish: Finish | None = None


class Reply:
    """Collects the news of one request. With `logprobs`, tokens are told with their chances."""

    def __init__(self, ticket: Ticket, *, candidates: int, model: str, logprobs: bool) -> None:
        self._ticket, self._model, self._logprobs = ticket, model, logprobs
        self.id = new_id()
        self.created = int(time.time())
        self.candidates = [Candidate() for _ in range(candidates)]

    def chunk(self, news: News) -> dict[str, Any]:
        """One piece of a stream, and noted."""
        news = self.take(news)
        candidate = self.candidates[news.candidate]
        turn = Turn("model", news.parts)
        told = _candidate(news.candidate, turn, finish=news.finish)
        if self._logprobs and news.tokens:
            told["logprobsResult"] = logprobs_result(news.tokens)
        if news.finish:
            told |= _average(candidate)
        return {"candidates": [told], **self.beside()}

    def take(self, news: News) -> News:
        """Note a piece; it comes back with an id for each call."""
        candidate = self.candidates[news.candidate]
        parts = tuple(_with_id(part) for part in news.parts)
        candidate.parts += parts
        candidate.told += len(news.tokens)
        candidate.nats += sum(token.drawn.logprob for token in news.tokens)
        if self._logprobs:
            candidate.tokens += news.tokens
        candidate.finish = news.finish or candidate.finish
        return news._replace(parts=parts)

    def whole(self) -> dict[str, Any]:
        """The response when all has been noted."""
        told: list[dict[str, Any]] = []
        for i, candidate in enumerate(self.candidates):
            turn = Turn("model", tuple(candidate.parts))
            one = _candidate(i, turn, finish=candidate.finish) | _average(candidate)
            if self._logprobs:
                one["logprobsResult"] = logprobs_result(candidate.tokens)
            told.append(one)
        return {"candidates": told, **self.beside()}

    def beside(self) -> dict[str, Any]:
        """What stands beside the candidates."""
        return {"usageMetadata": self.usage(), "modelVersion": self._model, "responseId": self.id}

    def sign_of_life(self) -> dict[str, Any]:
        """A chunk that says nothing, and the place in the queue for a page that shows it.

        Its text is empty, not absent: programs that add up `chunk.text` would stumble over None.
        """
        position = self._ticket.position
        open_ = (i for i, candidate in enumerate(self.candidates) if not candidate.finish)
        nothing = _candidate(next(open_, 0), Turn("model", ()), finish=None)
        place = {"queue": {"position": position}} if position else {}
        return {"candidates": [nothing], **self.beside(), **place}

    def usage(self) -> dict[str, Any]:
        """Tokens so far."""
        prompt, said = self._ticket.prompt, self.said
        told: dict[str, Any] = {
            "promptTokenCount": prompt.total,
            "candidatesTokenCount": said,
            "totalTokenCount": prompt.total + said,
            "promptTokensDetails": by_modality(prompt),
        }
        if self.reused:
            told["cachedContentTokenCount"] = self.reused
        return told

    @property
    def prompt(self) -> Counted:
        return self._ticket.prompt

    @property
    def reused(self) -> int:
        """Prompt tokens that were worked out before."""
        return self._ticket.reused

    @property
    def said(self) -> int:
        """Tokens of all candidates."""
        return sum(candidate.told for candidate in self.candidates)


def by_modality(counted: Counted) -> list[dict[str, Any]]:
    """Tokens by kind, in the API's form."""
    return [
        {"modality": kind.upper(), "tokenCount": count}
        for kind, count in counted.by_kind.items()
        if count
    ]


def logprobs_result(tokens: Sequence[Token]) -> dict[str, Any]:
    """The chosen tokens, and the likeliest in the place of each."""
    tops = [{"candidates": [_likely(other) for other in token.others]} for token in tokens]
    told: dict[str, Any] = {
        "chosenCandidates": [_likely(token.drawn) for token in tokens],
        "logProbabilitySum": sum(token.drawn.logprob for token in tokens),
    }
    return told | ({"topCandidates": tops} if any(token.others for token in tokens) else {})


def new_id() -> str:
    """An id for a response or a call."""
    return secrets.token_urlsafe(12)


def calls_of(parts: Iterable[Part]) -> list[Call]:
    """The calls among parts."""
    return [part for part in parts if isinstance(part, Call)]


def _candidate(index: int, turn: Turn, *, finish: Finish | None) -> dict[str, Any]:
    parts = [part_to_wire(part) for part in turn.parts] or [{"text": ""}]
    told: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    return told | ({"finishReason": FINISH[finish]} if finish else {}) | {"index": index}


def _average(candidate: Candidate) -> dict[str, float]:
    return {"avgLogprobs": candidate.nats / candidate.told} if candidate.told else {}


def _likely(likely: Likely) -> dict[str, Any]:
    text = likely.text.decode("utf-8", errors="replace")
    return {"token": text, "tokenId": likely.id, "logProbability": likely.logprob}


def _with_id(part: Part) -> Part:
    return replace(part, id=part.id or new_id()) if isinstance(part, Call) else part
