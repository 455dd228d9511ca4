"""What a benchmark is: problems, the protocol that marks the answers, and the paper it is from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from castor.core.content import Document, Text, Turn
from castor.sample.engine import Engine


@dataclass(frozen=True)
class Problem:
    """A prompt that ends where the model is to speak, and what a right answer would be."""

    prompt: Document
    answer: str
    choices: tuple[str, ...] = ()  # the allowed answers, where the protocol picks one
    truth: Any = None  # what a program needs to check the answer, e.g. the scene to be drawn


class Mark(NamedTuple):
    """How one answer did: `part` of `whole` (points, tokens, words, bits over bytes)."""

    part: float
    whole: float
    turn: Turn | None = None  # what the model said, where it said something


Protocol = Callable[[Engine, Sequence[Problem]], list[Mark]]


@dataclass(frozen=True)
class Benchmark:
    """A named set of problems and how they are marked.

    `better` says which direction is good; `unit` is "share" (0 to 1, printed in percent) or the
    name of the quantity. `controls` asks for the same score with shuffled and blank inputs.
    """

    name: str
    problems: Callable[[Path], list[Problem]]
    protocol: Protocol
    what: str  # one line for people
    paper: str = ""
    unit: str = "share"
    better: Literal["higher", "lower"] = "higher"
    controls: bool = False


def answered(document: Document) -> Problem:
    """A document whose last turn is the right answer, as a problem.

    Raises:
        ValueError: the last turn holds no text.
    """
    *asked, last = document.turns
    texts = [part.text for part in last.parts if isinstance(part, Text)]
    if not texts:
        raise ValueError(f"{document.origin or 'a document'} ends with no text to compare with")
    return Problem(Document(tuple(asked), document.origin, document.tags), "".join(texts))
