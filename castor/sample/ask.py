"""What a server's request says to the engine, and what comes back of it, piece by piece."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from castor.core.content import Document, Part
from castor.sample.choose import Sampling

MOST_CANDIDATES = 8
MOST_ALTERNATIVES = 20


@runtime_checkable
class Guide(Protocol):
    """Where one reply stands in the language that it must be written in."""

    def allowed(self) -> Bool[np.ndarray, " V"]:
        """Which ids may come next; `Control.END` where the reply may be over. Never none."""
        ...

    def take(self, i: int) -> None:
        """The id that came, one of those allowed."""
        ...


@runtime_checkable
class Constraint(Protocol):
    """A language of replies, shared by all replies that are written in it."""

    def start(self) -> Guide:
        """A reply that has said nothing."""
        ...


@dataclass(frozen=True)
class Ask:
    """One request. The n-th candidate draws with seed `sampling.seed + n`.

    `constraint` decides alone which ids may come: pictures and calls only where it allows them.

    Raises:
        ValueError: a number is outside its range.
    """

    document: Document
    sampling: Sampling
    candidates: int = 1
    alternatives: int = 0  # likeliest ids that are told beside each drawn one
    constraint: Constraint | None = None
    deadline_s: float | None = None  # from when it is asked; None = none

    def __post_init__(self) -> None:
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise ValueError(f"candidates={self.candidates} is outside 1 to {MOST_CANDIDATES}")
        if not 0 <= self.alternatives <= MOST_ALTERNATIVES:
            raise ValueError(
                f"alternatives={self.alternatives} is outside 0 to {MOST_ALTERNATIVES}"
            )


class Likely(NamedTuple):
    """An id, its bytes of UTF-8 (perhaps half a character), and its log-probability in nats."""

    id: int
    text: bytes
    logprob: float


class Token(NamedTuple):
    """A drawn id and the likeliest in its place, best first. The model's own probabilities, before
    grammar and temperature."""

    drawn: Likely
    others: tuple[Likely, ...]


Finish = Literal["stop", "length"]  # the model ended or said a stop string; no room was left


class News(NamedTuple):
    """What one candidate has said since the last news of it. `finish` comes once, with the last."""

    candidate: int
    parts: tuple[Part, ...]  # texts in pieces, pictures and calls whole
    tokens: tuple[Token, ...]
    finish: Finish | None


class Busy(Exception):
    """The queue is full; `wait_s` is a guess of when it is not."""

    def __init__(self, waiting: int, wait_s: float) -> None:
        super().__init__(f"{waiting} requests are waiting already; try again in {wait_s:.0f} s")
        self.waiting, self.wait_s = waiting, wait_s


class Late(Exception):
    """The deadline passed before the reply was whole."""


class Failed(Exception):
    """The engine met an error of its own and dropped the request."""
