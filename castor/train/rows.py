"""A model's run as batches: packed rows of its mixture's documents, to learn and to measure on."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from castor.data.loader import Loader
from castor.data.pictures import PictureBook
from castor.models.modality import perceive
from castor.models.sizes import ModelConfig
from castor.tokens.vocab import Vocab
from castor.train.objectives import SOURCES
from castor.train.prepare import has_eval
from castor.train.recipe import FineTune, Recipe


class Training(Protocol):
    """Batches from a step on; of each one only those `groups` that a host trains on, or all."""

    def __call__(self, start: int, *, groups: range | None = None) -> Iterator[Any]: ...


class HeldOut(Protocol):
    """Batches to measure on; of each one only those `groups` that a host measures, or all."""

    def __call__(self, *, groups: range | None = None) -> Iterator[Any]: ...


class Rows(NamedTuple):
    """The batches of a model's run, as a Job has them."""

    training: Training
    held_out: HeldOut


def rows_of(
    recipe: Recipe | FineTune,
    *,
    config: ModelConfig,
    vocab: Vocab,
    book: PictureBook | None,
    data: Path,
) -> Rows:
    """Packed rows of a mixture's documents.

    Raises:
        ValueError: a source cannot be opened, or does not fit into the rows.
    """
    mixture = recipe.mixture
    if len(mixture.parts) > SOURCES:
        raise ValueError(f"a mixture has at most {SOURCES} parts, not {len(mixture.parts)}")
    loader = partial(
        Loader,
        data=data,
        vocab=vocab,
        see=partial(perceive, config=config),
        draw=book,
        rows=recipe.rows,
        groups=recipe.groups,
        length=recipe.length,
        capacity=recipe.capacity,
        seed=recipe.seed,
    )

    def held_out(*, groups: range | None = None) -> Iterator[Any]:
        parts = tuple(part for part in mixture.parts if has_eval(part, data))
        if parts:
            numbers = np.array([mixture.parts.index(part) for part in parts], np.int32)
            few = replace(mixture, parts=parts, stages=())
            measured = loader(few, steps=recipe.eval_batches, split="eval")
            for batch in measured.iterate(0, groups):
                yield batch._replace(sources=numbers[batch.sources])

    training = loader(mixture, steps=recipe.steps, workers=recipe.workers)
    return Rows(training.iterate, held_out)
