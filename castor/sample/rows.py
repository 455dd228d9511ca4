"""Rendered documents as padded arrays, in a few fixed shapes so that little is ever compiled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from castor.core.batch import Batch, Slots
from castor.tokens.render import Tokens

NARROW = 256  # positions of the narrowest row that replies grow in
LEAST_LENGTH = 32  # shortest row that is compiled for; lengths then grow by powers of two


class Rows(NamedTuple):
    """Documents one to a row, padded on the right; rows beyond the documents are empty."""

    tokens: Int32[np.ndarray, "B T"]
    valid: Bool[np.ndarray, "B T"]
    weights: Float32[np.ndarray, "B T"]  # of each id as a target
    blocks: Int32[np.ndarray, "B T"]
    media: dict[str, Slots]

    def batch(self) -> Batch:
        """As a training batch: position t has id t + 1 as its target."""
        B, T = self.tokens.shape
        targets, weights = np.zeros_like(self.tokens), np.zeros_like(self.weights)
        targets[:, :-1], weights[:, :-1] = self.tokens[:, 1:], self.weights[:, 1:]
        positions = np.tile(np.arange(T, dtype=np.int32), (B, 1))
        segments, sources = self.valid.astype(np.int32), np.zeros((B, T), np.int32)
        return Batch(
            self.tokens, targets, weights, segments, positions, self.blocks, sources, self.media
        )


def bucket(count: int, *, least: int = 1) -> int:
    """The smallest power of two times `least` that holds `count`."""
    size = least
    while size < count:
        size *= 2
    return size


def widths(context: int) -> tuple[int, ...]:
    """How many positions rows that grow may have, for a model of this context."""
    found = [min(NARROW, context)]
    while found[-1] < context:
        found.append(min(found[-1] * 4, context))
    return tuple(found)


def room_for(positions: int, context: int) -> int:
    """The fewest of these that hold so many."""
    return next(width for width in widths(context) if width >= positions)


def rows_of(documents: Sequence[Tokens], *, length: int) -> Rows:
    """The documents in rows of `length`, as many rows as the next power of two."""
    B = bucket(len(documents))
    tokens, blocks = np.zeros((2, B, length), np.int32)
    valid, weights = np.zeros((B, length), bool), np.zeros((B, length), np.float32)
    for b, document in enumerate(documents):
        n = len(document.ids)
        tokens[b, :n], weights[b, :n], valid[b, :n] = document.ids, document.weights, True
        for number, (start, signal) in enumerate(document.signals, start=1):
            blocks[b, start : start + len(signal.values)] = number
    kinds = sorted({signal.kind for d in documents for _, signal in d.signals})
    media = {kind: _slots(documents, kind, rows=B, length=length) for kind in kinds}
    return Rows(tokens, valid, weights, blocks, media)


def _slots(documents: Sequence[Tokens], kind: str, *, rows: int, length: int) -> Slots:
    found = [
        [
            (number, start, s)
            for number, (start, s) in enumerate(d.signals, start=1)
            if s.kind == kind
        ]
        for d in documents
    ]
    window = next(signal.values for row in found for _, _, signal in row)
    M = bucket(max(sum(len(s.values) for _, _, s in row) for row in found), least=16)
    values = np.zeros((rows, M, *window.shape[1:]), window.dtype)
    places = np.zeros((rows, M, 2), np.int32)
    index, blocks = np.full((rows, M), length, np.int32), np.zeros((rows, M), np.int32)
    for b, row in enumerate(found):
        at = 0
        for number, start, signal in row:
            n = len(signal.values)
            here = slice(at, at + n)
            values[b, here], places[b, here] = signal.values, signal.places
            index[b, here], blocks[b, here] = np.arange(start, start + n), number
            at += n
    return Slots(values, places, index, blocks)
