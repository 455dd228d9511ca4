"""The talk of a session: turns that it remembers, calls that wait for results, its questions.

A reply that is cut short is remembered as far as it was told. Calls that are taken back are
forgotten, so that each call which stays is followed by its result.

Invariant: what is kept is at most `settings.body_bytes` large.
"""

import bisect
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from castor.core.content import Call, Document, Media, Part, Result, Text, Turn
from castor.sample.ask import Ask
from castor.sample.choose import Sampling
from castor.serve import refusal
from castor.serve.fields import as_mapping, listed, mapping, text
from castor.serve.generate import Prompt, asked
from castor.serve.live_wire import TOO_BIG, Closed, Setup, Window, check_request
from castor.serve.options import options_of
from castor.serve.prompt import arranged, conversation
from castor.serve.reply import calls_of
from castor.serve.service import Desk, Settings
from castor.serve.tools import tools_of

LOG = logging.getLogger("castor.serve.requests")
TRANSCRIBE = "Transcribe the speech."  # as models were taught to be asked
OBJECT_BYTES = 200
MOST_WRITTEN = 512  # tokens of a transcription


class Question(NamedTuple):
    ask: Ask
    turns: tuple[Turn, ...]  # those that the window has left of the talk


class Talk:
    """What was said, and what may be asked next. Its methods may block.

    Only `question` may run beside another method: it looks at what was there when it began.
    """

    def __init__(self, setup: Setup, *, desk: Desk, settings: Settings) -> None:
        self._desk, self._settings = desk, settings
        self._window: Window | None = setup.window
        self._fields = dict(setup.fields)
        self._turns: tuple[Turn, ...] = ()
        self._bytes = 0
        self._calls: list[Call] = []  # without results
        self._results: dict[str, Result] = {}
        self._taken_back: set[str] = set()
        self._system = self._instructed()

    @property
    def waits(self) -> bool:
        """Whether calls have no results yet."""
        return bool(self._calls)

    def update(self, fields: Mapping[str, Any]) -> None:
        """Change the instruction or the tools.

        Raises:
            ValueError, Refusal: they are not in the form of the API, or not for this server.
        """
        changed = dict(self._fields)
        if "systemInstruction" in fields:
            changed["systemInstruction"] = fields["systemInstruction"]
        if "tools" in fields:
            changed["tools"] = listed(mapping(fields, "tools", at="contextUpdate"), "tools")
        check_request(changed, desk=self._desk, settings=self._settings)
        self._fields = changed
        self._system = self._instructed()

    def add_contents(self, contents: list[Any]) -> None:
        """Turns as a request has them.

        Raises:
            ValueError: something is not in the form of the API, or the model does not perceive it.
            Refusal: a file is not there.
            Closed: the session holds too much.
        """
        resolve = self._settings.resolve_file
        found = conversation({"contents": contents}, desk=self._desk, resolve=resolve)
        for turn in found.turns:
            self._add(turn)

    def add(self, parts: Iterable[Part]) -> None:
        """What the user says.

        Raises:
            Closed: the session holds too much.
        """
        self._add(Turn("user", tuple(parts)))

    def reply(self, parts: Iterable[Part]) -> None:
        """What the model says, calls and all.

        Raises:
            Closed: the session holds too much.
        """
        turn = Turn("model", tuple(parts))
        self._calls = calls_of(turn.parts)
        self._results.clear()
        if turn.parts:
            self._add(turn)

    def answer_calls(self, fields: Mapping[str, Any]) -> bool:
        """Results of calls, by id or by name; true if now all have theirs.

        Raises:
            ValueError: they are not in the form of the API, or no such call was made.
        """
        for i, each in enumerate(listed(fields, "functionResponses")):
            place = f"functionResponses[{i}]"
            told = as_mapping(each, at=place)
            for name in ("parts", "willContinue"):
                if told.get(name):
                    raise refusal.unsupported(f"toolResponse.{place}.{name}")
            response = mapping(told, "response", at=place)
            id, name = text(told, "id", at=place), text(told, "name", at=place)
            if id in self._taken_back:
                LOG.info("ignored the result of a call that was taken back")
                continue
            call = self._call(id, name)
            self._results[call.id] = Result(call.name, response, call.id)
        if not self._calls or len(self._results) < len(self._calls):
            return False
        results = [self._results[call.id] for call in self._calls]
        self._calls = []
        self.add(results)
        return True

    def take_back(self) -> list[str]:
        """Forget the calls that have no results; their ids."""
        ids = [call.id for call in self._calls]
        if ids:
            last = self._turns[-1]
            kept = tuple(part for part in last.parts if part not in self._calls)
            self._turns = self._turns[:-1] + ((replace(last, parts=kept),) if kept else ())
        self._calls = []
        self._taken_back.update(ids)
        return ids

    def question(self) -> Question:
        """What the talk has come to.

        Raises:
            ValueError: there is nothing to answer, or it cannot be asked.
        """
        turns = self._turns
        if not turns:
            raise ValueError("There is nothing to answer: the session has no turn yet")
        tools = tools_of(self._fields)
        if self._window is not None:
            turns = self._left(turns, self._window, tools.declared)
        options = options_of(self._fields, desk=self._desk, settings=self._settings)
        prompt = Prompt(self._document(turns, tools.declared), tools)
        return Question(asked(prompt, options, desk=self._desk, deadline_s=None).ask, turns)

    def forget(self, turns: tuple[Turn, ...]) -> None:
        """Go on with the turns that a question has left."""
        if len(turns) < len(self._turns):
            self._turns = turns
            self._bytes = sum(size_of(part) for turn in turns for part in turn.parts)

    def _instructed(self) -> Document:
        told = {name: value for name, value in self._fields.items() if name == "systemInstruction"}
        resolve = self._settings.resolve_file
        return conversation(told | {"contents": []}, desk=self._desk, resolve=resolve)

    def _document(self, turns: Sequence[Turn], declared: str) -> Document:
        return arranged([*self._system.turns, *turns], declared=declared)

    def _call(self, id: str, name: str) -> Call:
        for call in self._calls:
            if call.id not in self._results and (call.id == id if id else call.name == name):
                return call
        raise ValueError(f"toolResponse: no call waits with the id {id!r} and the name {name!r}")

    def _add(self, turn: Turn) -> None:
        self._turns += (turn,)
        self._bytes += sum(map(size_of, turn.parts))
        if self._bytes > self._settings.body_bytes:
            most = self._settings.body_bytes
            raise Closed(TOO_BIG, f"The session holds more than {most} bytes: begin a new one")

    def _left(self, turns: tuple[Turn, ...], window: Window, declared: str) -> tuple[Turn, ...]:
        """The turns without the oldest, up to one of the user's, where they are too long."""

        def since(begin: int) -> tuple[Turn, ...]:
            return tuple(t for i, t in enumerate(turns) if i >= begin or t.role == "system")

        def tokens(begin: int) -> int:
            return self._desk.count(self._document(since(begin), declared)).total

        begins = [i for i, turn in enumerate(turns) if _begins(turn)]
        if not begins or tokens(0) <= window.trigger:
            return turns
        fits = bisect.bisect_left(begins, True, key=lambda begin: tokens(begin) <= window.target)
        return since(begins[min(fits, len(begins) - 1)])


def transcription(recording: Media) -> Ask:
    """The question what was said in a recording."""
    document = Document.of(recording, TRANSCRIBE, role="user")
    return Ask(document, Sampling(temperature=0.0, max_tokens=MOST_WRITTEN))


def size_of(part: Part) -> int:
    """About the bytes that a part takes."""
    if isinstance(part, Media):
        return len(part.data) + OBJECT_BYTES
    return OBJECT_BYTES + len(part.text if isinstance(part, Text) else repr(part))


def _begins(turn: Turn) -> bool:
    """Whether a talk may begin with it."""
    return turn.role == "user" and not any(isinstance(part, Result) for part in turn.parts)
