"""The arrays that cross the seams: one signal, the slots of a row, and the batch of a step.

All are NamedTuples of NumPy arrays, so JAX already treats them as trees and `core` needs no JAX.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Shaped


class Signal(NamedTuple):
    """One picture, one frame or one stretch of sound, cut into the windows that fill its slots."""

    kind: str  # which encoder reads it: "image" or "audio"
    values: Shaped[np.ndarray, " M *window"]  # one window of raw values per slot
    places: Int32[np.ndarray, "M 2"]  # (x, y) of an image slot; (0, time) of an audio slot


class Slots(NamedTuple):
    """All windows of one kind in a batch, packed row by row; `columns` says where each one goes."""

    values: Shaped[np.ndarray, "B M *window"]
    places: Int32[np.ndarray, "B M 2"]
    columns: Int32[np.ndarray, "B M"]  # column of the row that the slot fills; T = unused
    blocks: Int32[np.ndarray, "B M"]  # the slot's block number, as in Batch.blocks; 0 = unused


class Batch(NamedTuple):
    """Rows of packed documents. No document sees another: `segments` and `positions` part them."""

    tokens: Int32[np.ndarray, "B T"]
    targets: Int32[np.ndarray, "B T"]  # the id that follows each token
    weights: Float32[np.ndarray, "B T"]  # how much each target counts in the loss; 0 = not at all
    segments: Int32[np.ndarray, "B T"]  # document number in the row, from 1; 0 = padding
    positions: Int32[np.ndarray, "B T"]  # from 0 within each document
    blocks: Int32[np.ndarray, "B T"]  # media block number in the row, from 1; 0 = text or code
    sources: Int32[np.ndarray, "B T"]  # which source of the mixture the document came from
    media: dict[str, Slots]  # by kind; a kind that the model cannot read is absent


def joined(batches: Sequence[Batch]) -> Batch:
    """The rows of all batches, in order; one batch alone is not copied."""
    if len(batches) == 1:
        return batches[0]
    arrays = [np.concatenate(values) for values in zip(*(b[:-1] for b in batches), strict=True)]
    media = {
        kind: Slots(*map(np.concatenate, zip(*(b.media[kind] for b in batches), strict=True)))
        for kind in batches[0].media
    }
    return Batch._make((*arrays, media))
