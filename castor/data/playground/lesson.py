"""What every generated task makes: something shown, and questions whose answers are known.

Worlds come from a `random.Random` seeded by task, split and index, called `dice` throughout, so a
world never depends on who asks for it or when.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from castor.core.content import Document, Part, Text, Turn
from castor.data.source import Split


class Question(NamedTuple):
    """One thing to ask; `asks` are wordings of which the first is the one that evaluations use."""

    kind: str
    asks: tuple[str, ...]
    answer: tuple[Part, ...]


class Lesson(NamedTuple):
    """What is shown (media and text, in order) and what can be asked about it, in order."""

    shown: tuple[Part, ...]
    questions: tuple[Question, ...]


def ask(kind: str, *asks: str, answer: str | int) -> Question:
    """A question that is answered in words."""
    return Question(kind, asks, (Text(str(answer)),))


def roll(task: str, split: Split, index: int) -> random.Random:
    """The dice of one world. The split is in the seed: train and eval worlds are disjoint."""
    return random.Random(f"castor playground {task} {split} {index}")


def said(question: Question) -> str:
    """The words of an answer."""
    return " ".join(part.text for part in question.answer if isinstance(part, Text))


def to_document(
    lesson: Lesson,
    *,
    questions: int,
    wording: Callable[[int], int],
    origin: str,
    tags: frozenset[str] = frozenset(),
) -> Document:
    """The lesson as a dialogue of at most `questions` questions; `wording(n)` picks one of n."""
    turns: list[Turn] = []
    shown = lesson.shown
    for question in lesson.questions[:questions]:
        words = question.asks[wording(len(question.asks))]
        turns.append(Turn("user", (*shown, Text(words))))
        turns.append(Turn("model", question.answer))
        shown = ()
    kinds = frozenset(question.kind for question in lesson.questions[:questions])
    return Document(tuple(turns), origin=origin, tags=tags | kinds)


def yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


def belongs(number: int, split: Split) -> bool:
    """Whether the thing numbered `number` belongs to the split.

    The constant rule for tasks that have few distinct things (sums, words): those for which bits
    16 to 31 of number x 2654435761 are a multiple of 8 are for evaluation alone.
    """
    for_eval = (number * 2654435761 >> 16 & 0xFFFF) % 8 == 0
    return for_eval == (split == "eval")
