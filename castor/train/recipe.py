"""What a run is: every number that decides what comes out, in one frozen tree.

Invariant: two runs of equal recipes on the same machine and data end with the same weights, bit for
bit. Only the fields in `FREE` may differ between a run and the recipe that resumes it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import castor
from castor.checkpoint import Keep
from castor.core.ranges import AMOUNT, COUNT, MEMORY, Range
from castor.core.recipe import digest, flat, from_json
from castor.data.mixture import Mixture
from castor.data.pack import LEAST
from castor.models.image_codec import CodecConfig
from castor.models.lora import Lora
from castor.models.remat import Remat
from castor.models.sizes import ModelConfig
from castor.tokens.learn import FEWEST
from castor.train.optim import AdamW, Cosine, Muon, Optimizer

# What is learned does not depend on these, but for rounding.
FREE = ("log_every", "eval_every", "eval_batches", "save_every", "keep", "workers", "remat", "ring")

MOST_ROWS = 2**16  # pictures of 64 x 64 pixels, at most: 0.8 GB of them
MOST_TOKENS = 2**24  # of one batch, whose arrays take 28 bytes a token: 0.5 GB
MOST_IDS = 2**20  # four times the largest vocabularies that are in use

ROWS = Range(f"from 1 to {MOST_ROWS:,}", lambda x: 1 <= x <= MOST_ROWS)
SEED = Range("from 0 to 4,294,967,295", lambda x: 0 <= x < 2**32)  # what a key of JAX holds
LENGTH = Range(f"{LEAST} or more, for text to find room", lambda x: x >= LEAST)
WORKERS = Range("from 0 to 256", lambda x: 0 <= x <= 256)
IDS = Range(f"from {FEWEST} to {MOST_IDS:,}", lambda x: FEWEST <= x <= MOST_IDS)


@dataclass(frozen=True)
class LearnVocab:
    """A vocabulary of `size` text ids, learned from the mixture's own texts, by their shares.

    Raises:
        ValueError: a number is out of its range.
    """

    size: int = 2048
    characters: int = 3_000_000  # of text to learn from, at most

    def __post_init__(self) -> None:
        IDS.check(self, "size")
        COUNT.check(self, "characters")


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
        COUNT.check(self, "steps", "accumulate", "log_every", "eval_batches", "save_every")
        ROWS.check(self, "rows")
        SEED.check(self, "seed")
        MEMORY.check(self, "ema")
        if self.eval_every < 0:
            raise ValueError(f"eval_every={self.eval_every} must be 0 (never) or more")
        if self.rows % self.accumulate:
            raise ValueError(f"rows={self.rows} cannot be cut into accumulate={self.accumulate}")


@dataclass(frozen=True, kw_only=True)
class CodecRecipe(Run):
    """A picture codec, learned from every picture that the mixture's model turns may draw."""

    model: CodecConfig = CodecConfig()
    absolute: float = 0.1  # weight of the absolute error beside the squared one

    def __post_init__(self) -> None:
        super().__post_init__()
        AMOUNT.check(self, "absolute")


@dataclass(frozen=True, kw_only=True)
class Recipe(Run):
    """A model with its vocabulary and codec, from files to weights.

    `model.vocab` is set from the vocabulary. `capacity` is how many slots of each kind of signal
    a row of `length` tokens has; documents that need more are left out. A batch is packed in
    `groups`, each by itself, so that a host reads only those that it trains on: the number of hosts
    must divide them.

    Raises:
        ValueError: a number is out of its range, a row or a batch is too long, or the rows cannot
            be cut into groups.
    """

    model: ModelConfig
    length: int
    vocab: LearnVocab | StoredVocab = LearnVocab()
    codec: CodecRecipe | StoredCodec | None = None
    capacity: dict[str, int] = field(default_factory=dict)
    z_loss: float = 0.0
    start: str | None = None  # a checkpoint or run whose weights are the first ones
    groups: int = 1  # parts that a batch is packed in, each by itself [ours]
    workers: int = 1  # processes that make batches; 0 = the training process itself
    remat: Remat = "none"  # what layers keep for the backward pass; "dots" and "full" save memory
    ring: bool = False  # devices that share a row out have a part of its keys at a time

    def __post_init__(self) -> None:
        super().__post_init__()
        LENGTH.check(self, "length")
        AMOUNT.check(self, "capacity", "z_loss")
        ROWS.check(self, "groups")
        WORKERS.check(self, "workers")
        if self.length > self.model.context:
            raise ValueError(
                f"length={self.length} is more than model.context={self.model.context}; lower it, "
                "or raise model.context first"
            )
        _check_batch(self)


@dataclass(frozen=True)
class Full:
    """Every weight of the model is learned: at 16 bytes of memory each, and 4 more with `ema`."""


@dataclass(frozen=True, kw_only=True)
class FineTune(Run):
    """What a model that is there already learns from somebody's documents, prompts left out.

    `start` is a checkpoint or run of Castor's or a folder of Hugging Face's; its shape, vocabulary
    and picture codec are kept. With Lora its weights are held in `precision` and nothing changes
    them. Without a `capacity` a row has the slots that the documents need.

    Raises:
        ValueError: a number is out of its range, a batch is too long, or its rows cannot be cut
            into groups.
    """

    start: str
    length: int = 512  # tokens of a row
    tuning: Lora | Full = Lora()
    optimizer: Optimizer = AdamW(peak_lr=2e-4, decay=0.0, schedule=Cosine())
    ema: float = 0.0
    eval_every: int = 100
    eval_batches: int = 8
    save_every: int = 100
    capacity: dict[str, int] = field(default_factory=dict)
    z_loss: float = 0.0
    groups: int = 1
    workers: int = 1
    remat: Remat = "none"
    ring: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        LENGTH.check(self, "length")
        AMOUNT.check(self, "capacity", "z_loss")
        ROWS.check(self, "groups")
        WORKERS.check(self, "workers")
        _check_batch(self)


AnyRecipe = Recipe | CodecRecipe | FineTune


def recipe_from(data: dict[str, Any]) -> AnyRecipe:
    """The recipe that JSON holds, of whichever kind.

    Raises:
        ValueError: it holds none.
    """
    kind = FineTune if "tuning" in data else Recipe if "length" in data else CodecRecipe
    return from_json(kind, data)


def _check_batch(recipe: Recipe | FineTune) -> None:
    rows, length = recipe.rows, recipe.length
    if rows * length > MOST_TOKENS:
        raise ValueError(
            f"rows={rows} of length={length} are {rows * length:,} tokens "
            f"in one batch, and {MOST_TOKENS:,} are the most; lower rows or length"
        )
    least = recipe.groups * recipe.accumulate  # so that each host has rows in each part
    if rows % least:
        raise ValueError(
            f"rows={rows} cannot be cut into groups={recipe.groups} and each of them into "
            f"accumulate={recipe.accumulate}; the nearest rows that can are "
            f"{least * max(1, round(rows / least))}"
        )


def variants(recipe: Recipe | FineTune) -> dict[str, Any]:
    """How a recipe has `castor.train.objectives.next_token` computed."""
    return {"z_loss": recipe.z_loss, "remat": recipe.remat, "ring": recipe.ring}


def name_of(run: Run) -> str:
    """Twelve hexadecimal digits that two recipes share if the same comes out of them."""
    return digest(run, leave_out=FREE)


def differences(one: Run, other: Run) -> list[str]:
    """In words, what two recipes would learn differently."""
    left, right = flat(one, leave_out=FREE), flat(other, leave_out=FREE)
    return [
        f"{p} is {left.get(p, 'absent')} and not {right.get(p, 'absent')}"
        for p in {**left, **right}
        if left.get(p, "absent") != right.get(p, "absent")
    ]
