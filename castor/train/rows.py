"""A model's run as batches: packed rows of its mixture's documents, to learn and to measure on."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from castor.data.loader import Loader
from castor.data.pictures import PictureBook
from castor.models.modality import perceive
from castor.models.sizes import ModelConfig
from castor.tokens.vocab import Vocab
from castor.train.objectives import SOURCES
from castor.train.prepare import has_eval
from castor.train.recipe import FineTune, Recipe


class Rows(NamedTuple):
    """The batches of a model's run, as a Job has them: those rows of each that a host asks for.

    Nothing is read for groups in which it asks for none.
    """

    training: Callable[[int, range], Iterator[Any]]  # from a step on
    held_out: Callable[[range], Iterator[Any]]


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

    def held_out(rows: range) -> Iterator[Any]:
        parts = tuple(part for part in mixture.parts if has_eval(part, data))
        if parts:
            numbers = np.array([mixture.parts.index(part) for part in parts], np.int32)
            few = replace(mixture, parts=parts, stages=())
            measured = loader(few, steps=recipe.eval_batches, split="eval")
            for batch in measured.iterate(0, groups_of(recipe, rows)):
                yield batch._replace(sources=numbers[batch.sources])

    training = loader(mixture, steps=recipe.steps, workers=recipe.workers)
    return Rows(lambda start, rows: training.iterate(start, groups_of(recipe, rows)), held_out)


def groups_of(recipe: Recipe | FineTune, rows: range) -> range:
    """The groups that a batch is packed in which are those rows of it.

    Raises:
        ValueError: the rows are not whole groups.
    """
    size = recipe.rows // recipe.groups
    if rows.start % size or rows.stop % size:
        raise ValueError(
            f"each host trains on {len(rows)} of rows={recipe.rows}, which are packed in "
            f"groups={recipe.groups}: set groups={recipe.rows // gcd(rows.start, rows.stop)}, so "
            "that each reads whole groups"
        )
    return range(rows.start // size, rows.stop // size)
