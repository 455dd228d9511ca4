"""An engine that says what a test tells it to, at the pace that the test sets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from castor.core.content import Call, Document, Media, Part, Result, Text
from castor.sample.ask import Ask, Busy, Finish, Likely, News, Token
from castor.sample.ticket import Counted

PICTURE = Media("image/png", b"\x89PNG\r\n\x1a\n")  # the begin of one
Script = Sequence[News | Exception | float]  # a number is a pause in seconds


@dataclass(frozen=True)
class Language:
    """A constraint that only remembers what it is for."""

    kind: str
    spec: Any

    def start(self) -> Any:
        raise AssertionError("nothing is drawn here")


class FakeTicket:
    """Says the script, until it is cancelled."""

    def __init__(self, prompt: Counted, script: Script, *, reused: int, position: int) -> None:
        self.prompt, self.reused, self.position = prompt, reused, position
        self._script = script
        self.cancels = 0
        self.told = 0

    async def __aiter__(self) -> AsyncIterator[News]:
        for item in self._script:
            if self.cancels:
                return
            if isinstance(item, Exception):
                raise item
            if isinstance(item, float):
                await asyncio.sleep(item)
                continue
            self.told += 1
            yield item
            await asyncio.sleep(0)

    def cancel(self) -> None:
        self.cancels += 1


@dataclass
class FakeDesk:
    """Counts a token for each character of text and 7 for each medium."""

    script: Script = ()
    reply: Callable[[Ask], Script] = field(default_factory=lambda: echo)  # without a script
    name: str = "castor-fake"
    answering: int = 0
    context: int = 1000
    draws: bool = True
    embeds: bool = True
    kinds: frozenset[str] = frozenset({"image", "audio", "video"})
    busy: Busy | None = None
    reused: int = 0
    position: int = 0
    refused: str = ""  # what is wrong with every schema
    asks: list[Ask] = field(default_factory=list[Ask])
    tickets: list[FakeTicket] = field(default_factory=list[FakeTicket])
    documents: list[Document] = field(default_factory=list[Document])  # counted or embedded
    batches: list[int] = field(default_factory=list[int])  # documents of each call of embed

    def count(self, document: Document) -> Counted:
        self.documents.append(document)
        by_kind = {"text": 0, "image": 0, "audio": 0, "video": 0}
        for turn in document.turns:
            for part in turn.parts:
                by_kind[kind_of(part)] += length_of(part)
        return Counted(sum(by_kind.values()), by_kind)

    async def ask(self, ask: Ask) -> FakeTicket:
        if self.busy is not None:
            raise self.busy
        prompt = self.count(ask.document)
        if prompt.total > self.context:
            raise ValueError(
                f"The input token count ({prompt.total}) exceeds the maximum number of tokens "
                f"allowed ({self.context})."
            )
        script = self.script or self.reply(ask)
        ticket = FakeTicket(prompt, script, reused=self.reused, position=self.position)
        self.asks.append(ask)
        self.tickets.append(ticket)
        return ticket

    async def embed(self, documents: Sequence[Document]) -> list[tuple[np.ndarray, int]]:
        self.batches.append(len(documents))
        return [(vector_of(document), self.count(document).total) for document in documents]

    def constraint(self, kind: str, spec: Any) -> Language:
        if self.refused:
            raise ValueError(self.refused)
        return Language(kind, spec)

    @property
    def asked(self) -> Ask:
        """The only request so far."""
        (ask,) = self.asks
        return ask


def says(
    *parts: Part | str,
    finish: Finish | None = None,
    candidate: int = 0,
    tokens: Sequence[Token] | None = None,
) -> News:
    """News of one candidate: parts, and as many tokens unless they are given."""
    told = tuple(Text(p) if isinstance(p, str) else p for p in parts)
    drawn = [token(p.text if isinstance(p, Text) else "") for p in told]
    return News(candidate, told, tuple(drawn if tokens is None else tokens), finish)


def token(text: str, logprob: float = -0.5, *others: tuple[str, float]) -> Token:
    """A drawn token and others in its place; an id is its text's length."""
    rest = tuple(Likely(len(word), word.encode(), chance) for word, chance in others)
    return Token(Likely(len(text), text.encode(), logprob), rest)


def spelled(text: str, finish: Finish = "stop") -> list[News]:
    """A text, one character at a time."""
    return [*(says(character) for character in text), says(finish=finish, tokens=[])]


def echo(ask: Ask) -> list[News]:
    """What is said without a script: "hello" for each candidate; where they are asked for, a
    picture alone or after "here: ", JSON, or a call."""
    told: list[News] = []
    for n in range(ask.candidates):
        told += [says("hel", candidate=n), says("lo", finish="stop", candidate=n)]
    if isinstance(ask.constraint, Language):
        return [says(_written(ask.constraint, ask.document), finish="stop")]
    if ask.sampling.pictures != "never":
        told = [] if ask.sampling.pictures == "only" else [says("here: ")]
        return [*told, says(PICTURE, finish="stop")]
    return told


def _written(language: Language, document: Document) -> Part | str:
    if language.kind == "enum":
        return language.spec[0]
    if language.kind != "calls":
        return json.dumps(_example(language.spec or {}))
    functions, mode = language.spec
    answered = any(isinstance(part, Result) for turn in document.turns for part in turn.parts)
    if not functions or (answered and mode != "any"):
        return "done"
    name, schema = next(iter(functions.items()))
    return Call(name, _example(schema))


def _example(schema: dict[str, Any]) -> Any:
    """Some value of a simple schema."""
    if "$ref" in schema:
        return {}
    match str(schema.get("type", "object")).lower():
        case "string":
            return schema.get("enum", ["word"])[0]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "array":
            return [_example(schema.get("items", {}))]
        case _:
            fields = schema.get("properties", {})
            return {name: _example(inner) for name, inner in fields.items()}


def kind_of(part: Part) -> str:
    return part.mime.split("/")[0] if isinstance(part, Media) else "text"


def length_of(part: Part) -> int:
    if isinstance(part, Media):
        return 7
    return len(part.text) if isinstance(part, Text) else 3


def vector_of(document: Document) -> np.ndarray:
    """A unit vector that depends on the text."""
    texts = [p.text for turn in document.turns for p in turn.parts if isinstance(p, Text)]
    vector = np.array([len("".join(texts)) + 1, 2, 3, 4], np.float32)
    return vector / np.linalg.norm(vector)
