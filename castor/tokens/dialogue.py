"""How a family of models writes documents in ids, as data that `render` and its readers follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from castor.core.content import Call, Result, Role
from castor.tokens.control import Control
from castor.tokens.notation import from_brackets, from_json, to_brackets, to_json

Mark = int | str  # a control id, or text that is encoded together with the text beside it
Marks = tuple[Mark, ...]


class Slots(NamedTuple):
    """A medium's place: what comes before its slots, the id of each of them, what comes after."""

    before: Marks
    slot: int
    after: Marks


class Clip(NamedTuple):
    """A video: frames, each after its time as text, and sound."""

    before: Marks
    frame: Slots
    sound: Slots
    after: Marks
    between: str = ""  # two pieces
    stamp: Callable[[str], str] = str  # a time such as "1:02:03.5" as it is written


@dataclass(frozen=True)
class Functions:
    """Calls and results between control ids, in a notation of text and quotation marks."""

    call: tuple[int, int]  # begin, end
    result: tuple[int, int]
    quote: int | None = None  # the control id around strings; None: the notation is JSON
    within: bool = False  # results stand in the model's turn, which goes on after them

    def written(self, part: Call | Result) -> list[Mark]:
        """All of a call or result, its begin and end included."""
        begin, end = self.call if isinstance(part, Call) else self.result
        if self.quote is None:
            return [begin, to_json(part), end]
        return [begin, *(self.quote if mark is None else mark for mark in to_brackets(part)), end]

    def read(self, held: Sequence[int], decode: Callable[[list[int]], str]) -> Call | Result | None:
        """What stands between a begin, which is the first id, and its end; None if it is none."""
        begin, *inner = held
        kind = Call if begin == self.call[0] else Result
        if self.quote is None:
            return from_json(kind, decode(inner))
        texts: list[list[int]] = [[]]
        for i in inner:
            if i == self.quote:
                texts.append([])
            else:
                texts[-1].append(i)
        return from_brackets(kind, [decode(ids) for ids in texts])


@dataclass(frozen=True)
class Dialogue:
    """The frame around what is said, and which ids end a reply."""

    name: str
    begin: Marks  # before the first turn
    opens: Mapping[Role, Marks]
    closes: Mapping[Role, Marks]
    ends: tuple[int, ...]  # ids that end a reply; the first is what turns are closed with
    finish: Marks = ()  # after the last turn
    slots: Mapping[str, Slots] = field(default_factory=dict[str, Slots])  # by kind of signal
    clip: Clip | None = None
    draws: bool = False  # pictures in model turns are codes between DRAW_BEGIN and DRAW_END
    functions: Functions | None = None
    hidden: tuple[int, int] | None = None  # what is said between these ids is not for the reader
    gap: str | None = None  # the system has no turn: its words, and this, begin the first user's
    trims: bool = False  # texts of whole turns lose the white space at their ends

    @property
    def end(self) -> int:
        """The id that ends a reply."""
        return self.ends[0]

    @property
    def held(self) -> dict[int, int]:
        """Begin and end ids of what a reader holds back until it is complete."""
        pairs = [] if self.functions is None else [self.functions.call, self.functions.result]
        drawn = [(int(Control.DRAW_BEGIN), int(Control.DRAW_END))] if self.draws else []
        return dict([*drawn, *pairs, *([] if self.hidden is None else [self.hidden])])
