"""What a run learns from: parts with shares of the tokens, which may change over stages.

Invariant: how many documents of a part each step takes is a closed form of the step number, so a
run can begin at any step and see what it would have seen.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

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
    """Shares and emphases that hold until a fraction of the run; parts that it does not name keep
    their own."""

    until: float
    shares: dict[str, float] = field(default_factory=dict)
    emphases: dict[str, float] = field(default_factory=dict)


class Span(NamedTuple):
    """A stretch of a run: the step it ends before, and each part's share (of 1) and emphasis."""

    end: int
    shares: tuple[float, ...]
    emphases: tuple[float, ...]


@dataclass(frozen=True)
class Mixture:
    """Parts, and stages in the order of time; after the last stage the parts' own shares hold.

    `balance` says what emphasis 1 means. "tokens": every target counts the same. "parts": every
    part counts the same, however few of its tokens are targets (a one-word answer to a picture
    then weighs as much as a page of text).

    Raises:
        ValueError: there is no part, two have one name, or a stage is out of order, names an
            unknown part or gives one a negative share or emphasis.
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
            unknown = sorted({*stage.shares, *stage.emphases} - set(names))
            if unknown:
                raise ValueError(f"a stage names {unknown}; the parts are {names}")
            if min([0.0, *stage.shares.values(), *stage.emphases.values()]) < 0:
                raise ValueError(f"shares and emphases cannot be negative, as in {stage}")
            if sum(self._shares(stage)) <= 0:
                raise ValueError(f"the shares of the stage until {stage.until} are all 0")
        if sum(self._shares(Stage(1.0))) <= 0:
            raise ValueError(f"the shares of {names} are all 0")

    @property
    def names(self) -> tuple[str, ...]:
        """The parts by name; a batch's `sources` count into this."""
        return tuple(part.source.name for part in self.parts)

    def spans(self, steps: int) -> tuple[Span, ...]:
        """The stretches of the run, in order."""
        last = not self.stages or self.stages[-1].until < 1
        stages = (*self.stages, Stage(1.0)) if last else self.stages
        return tuple(
            Span(round(stage.until * steps), self._shares(stage), self._emphases(stage))
            for stage in stages
        )

    def _shares(self, stage: Stage) -> tuple[float, ...]:
        shares = [stage.shares.get(part.source.name, part.share) for part in self.parts]
        return tuple(share / (sum(shares) or 1.0) for share in shares)

    def _emphases(self, stage: Stage) -> tuple[float, ...]:
        return tuple(stage.emphases.get(part.source.name, part.emphasis) for part in self.parts)
