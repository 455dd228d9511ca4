"""What a run is: every number that decides what comes out, in one frozen tree.

Invariant: two runs of equal recipes on the same machine and data end with the same weights, bit for
bit. Only the fields in `FREE` may differ between a run and the recipe that resumes it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import castor
from castor.checkpoint import Keep
from castor.core.recipe import flat
from castor.data.mixture import Mixture
from castor.models.image_codec import CodecConfig
from castor.models.sizes import ModelConfig
from castor.train.optim import Muon, Optimizer

FREE = ("log_every", "save_every", "keep", "workers")  # what is learned does not depend on these


@dataclass(frozen=True)
class LearnVocab:
    """A vocabulary of `size` text ids, learned from the mixture's own texts, by their shares."""

    size: int = 2048
    characters: int = 3_000_000  # of text to learn from, at most


@dataclass(frozen=True)
class StoredVocab:
    """A vocabulary that is there already: its file, or a checkpoint or run that has one."""

    path: str


@dataclass(frozen=True)
class StoredCodec:
    """A picture codec that is there already, in a checkpoint or run."""

    path: str


def stored(path: str) -> Path:
    """Where a recipe's path leads: from here or, if there is nothing, from beside the package, so
    that castor/weights/demo are the shipped weights wherever one is."""
    here = Path(path)
    return here if here.exists() else Path(castor.__file__).parents[1] / here


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every run has, whatever it learns.

    Raises:
        ValueError: a number is out of its range.
    """

    name: str
    steps: int
    rows: int  # of a batch: packed rows of a model's, pictures of a codec's
    mixture: Mixture
    optimizer: Optimizer = Muon()
    accumulate: int = 1  # parts that a batch is cut into, one after another, to save memory
    precision: Literal["bfloat16", "float32"] = "bfloat16"  # of both passes; weights are float32
    ema: float = 0.995  # decay of the averaged weights, which are what is saved for use; 0 = none
    seed: int = 0
    log_every: int = 10  # steps, as are the next two
    eval_every: int = 500  # 0 = never
    eval_batches: int = 4
    save_every: int = 500
    keep: Keep = Keep()

    def __post_init__(self) -> None:
        for name in ("steps", "rows", "accumulate", "log_every", "eval_batches", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be 1 or more")
        if self.eval_every < 0:
            raise ValueError(f"eval_every={self.eval_every} must be 0 (never) or more")
        if self.rows % self.accumulate:
            raise ValueError(f"rows={self.rows} cannot be cut into accumulate={self.accumulate}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema={self.ema} must be 0 (none) or more, and below 1")


@dataclass(frozen=True, kw_only=True)
class CodecRecipe(Run):
    """A picture codec, learned from every picture that the mixture's model turns may draw."""

    model: CodecConfig = CodecConfig()
    absolute: float = 0.1  # weight of the absolute error beside the squared one


@dataclass(frozen=True, kw_only=True)
class Recipe(Run):
    """A model with its vocabulary and codec, from files to weights.

    `model.vocab` is set from the vocabulary. `capacity` is how many slots of each kind of signal
    a row of `length` tokens has; documents that need more are left out.
    """

    model: ModelConfig
    length: int
    vocab: LearnVocab | StoredVocab = LearnVocab()
    codec: CodecRecipe | StoredCodec | None = None
    capacity: dict[str, int] = field(default_factory=dict)
    z_loss: float = 0.0
    start: str | None = None  # a checkpoint or run whose weights are the first ones
    workers: int = 1  # processes that make batches; 0 = the training process itself


def differences(one: Run, other: Run) -> list[str]:
    """In words, what two recipes would learn differently."""
    left, right = flat(one), flat(other)
    paths = [p for p in {**left, **right} if not set(FREE) & set(p.split("."))]
    return [
        f"{p} is {left.get(p, 'absent')} and not {right.get(p, 'absent')}"
        for p in paths
        if left.get(p, "absent") != right.get(p, "absent")
    ]
