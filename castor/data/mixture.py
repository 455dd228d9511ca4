"""What a run learns from: parts with shares of the tokens, which may change over stages.

Invariant: how many documents of a part each step takes is a closed form of the step number, so a
run can begin at any step and see what it would have seen.
"""

from dataclasses import dataclass, field
from typing import Literal

from castor.data.augment import STILL, Augment
from castor.data.sources import SourceSpec


@dataclass(frozen=True)
class Part:
    """One source, its share of the tokens, and how it is treated.

    `emphasis` multiplies the loss of its targets. `slots` is the most slots that one of its
    pictures or frames may take, instead of the model's own.

    Raises:
        ValueError: the share or the emphasis is negative.
    """

    source: SourceSpec
    share: float
    emphasis: float = 1.0
    augment: Augment = STILL
    slots: int | None = None

    def __post_init__(self) -> None:
        if self.share < 0 or self.emphasis < 0:
            raise ValueError(
                f"{self.source.name}: share={self.share} and emphasis={self.emphasis} "
                "cannot be negative"
            )


@dataclass(frozen=True)
class Stage:
    """Shares that hold until a fraction of the run; parts it does not name keep their own."""

    until: float
    shares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Mixture:
    """Parts, and stages in the order of time; after the last stage the parts' own shares hold.

    `balance` says what emphasis 1 means. "tokens": every target counts the same. "parts": every
    part counts the same, however few of its tokens are targets (a one-word answer to a picture
    then weighs as much as a page of text).

    Raises:
        ValueError: there is no part, two have one name, or a stage is out of order or names
            an unknown part.
    """

    parts: tuple[Part, ...]
    stages: tuple[Stage, ...] = ()
    balance: Literal["tokens", "parts"] = "tokens"

    def __post_init__(self) -> None:
        names = [part.source.name for part in self.parts]
        if not names:
            raise ValueError("a mixture needs at least one part")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"a mixture names {twice} twice; add up their shares in one part")
        ends = [0.0, *(stage.until for stage in self.stages)]
        if any(a >= b for a, b in zip(ends, ends[1:], strict=False)) or ends[-1] > 1:
            raise ValueError(f"stages end at growing fractions of the run, up to 1; got {ends[1:]}")
        for stage in self.stages:
            unknown = sorted(set(stage.shares) - set(names))
            if unknown:
                raise ValueError(f"a stage names {unknown}; the parts are {names}")
            if sum(self._shares(stage)) <= 0:
                raise ValueError(f"the shares of the stage until {stage.until} are all 0")
        if sum(self._shares(None)) <= 0:
            raise ValueError(f"the shares of {names} are all 0")

    @property
    def names(self) -> tuple[str, ...]:
        """The parts by name; a batch's `sources` count into this."""
        return tuple(part.source.name for part in self.parts)

    def spans(self, steps: int) -> tuple[tuple[int, tuple[float, ...]], ...]:
        """(last step + 1, share of each part, adding up to 1) of each stretch of the run."""
        found = [(round(s.until * steps), self._normal(self._shares(s))) for s in self.stages]
        if not self.stages or self.stages[-1].until < 1:
            found.append((steps, self._normal(self._shares(None))))
        return tuple(found)

    def _shares(self, stage: Stage | None) -> list[float]:
        changed = stage.shares if stage else {}
        return [changed.get(part.source.name, part.share) for part in self.parts]

    def _normal(self, shares: list[float]) -> tuple[float, ...]:
        return tuple(share / sum(shares) for share in shares)
