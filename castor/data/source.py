"""What a source is: documents by number, the same ones every time.

Invariant: `document(i, rng)` depends on `i` and the state of `rng` alone, so a batch is a function
of (seed, step). In an evaluation split it depends on `i` alone: first wording, nothing at random.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from castor.core.content import Document, Media, Part

Split = Literal["train", "eval"]


@runtime_checkable
class Source(Protocol):
    """Documents by number. Generated sources are long rather than endless."""

    @property
    def name(self) -> str:
        """What a mixture and the metrics call it, e.g. "emoji/draw"."""
        ...

    @property
    def fills(self) -> bool:
        """Whether its documents are text that may be cut anywhere, to fill what a row has left."""
        ...

    def __len__(self) -> int: ...

    def document(self, i: int, rng: np.random.Generator) -> Document:
        """Document number `i`; `rng` chooses the wording and whatever else may vary."""
        ...

    def pictures(self) -> Iterator[Media]:
        """Every picture that a model turn of this source may hold, to be coded before training."""
        ...


class Choice:
    """How a document may vary: by chance in training, always the first option without `rng`."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self.rng = rng

    def one(self, options: Sequence[Any]) -> Any:
        return options[0] if self.rng is None else options[int(self.rng.integers(len(options)))]

    def happens(self, share: float) -> bool:
        """Whether something that is so in this share of training documents is so in this one."""
        return self.rng is not None and bool(self.rng.random() < share)


Make = Callable[[Any, Choice], Document]


@dataclass(frozen=True)
class Listed:
    """A source over a list of items, each of which `make` turns into a document."""

    name: str
    split: Split
    items: Sequence[Any]
    make: Make
    fills: bool = False
    picture: Callable[[Any], Media] | None = None  # what a model turn draws for an item

    def __len__(self) -> int:
        return len(self.items)

    def document(self, i: int, rng: np.random.Generator) -> Document:
        return self.make(self.items[i], Choice(rng if self.split == "train" else None))

    def pictures(self) -> Iterator[Media]:
        if self.picture is not None:
            yield from map(self.picture, self.items)


def answered(question: Sequence[Part | str], answer: str | Media, *, origin: str) -> Document:
    """A user turn and the model turn that answers it."""
    return Document.of(*question, origin=origin).then(answer)
