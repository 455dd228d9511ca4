"""Pieces of arrays: which of them make up a whole, and which a wanted part.

Invariant: nothing here touches an array. A piece says where its bytes belong, not where they are.
"""

import functools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

Index = tuple[tuple[int, int], ...]  # (start, stop) in each dimension


@dataclass(frozen=True)
class Piece:
    """A part of the array `name`, whose whole has `shape`; `dtype` is text, as in "bfloat16".

    Raises:
        ValueError: `index` is no part of `shape`, or the dtype is none that bytes can be read as.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    index: Index

    def __post_init__(self) -> None:
        inside = len(self.index) == len(self.shape) and all(
            0 <= start <= stop <= size
            for (start, stop), size in zip(self.index, self.shape, strict=True)
        )
        if not inside:
            raise ValueError(f"{self.index} is no part of {self.name!r}, which is {self.shape}")
        dtype_of(self.dtype)

    @property
    def extent(self) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in self.index)

    @property
    def bytes(self) -> int:
        return math.prod(self.extent) * dtype_of(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(f'{start}:{stop}' for start, stop in self.index)}]"


Held = dict[int, dict[int, list[Piece]]]  # by owner, the rank that trained it, and by step


@functools.cache
def dtype_of(text: str) -> np.dtype:
    """The dtype of this name, those that NumPy alone does not have ("bfloat16") with them.

    Raises:
        ValueError: there is none, or it is not plain numbers.
    """
    try:
        found = np.dtype(getattr(ml_dtypes, text) if hasattr(ml_dtypes, text) else text)
    except (TypeError, ValueError, SyntaxError):
        found = None
    if found is None or str(found) != text or found.hasobject or not found.itemsize:
        raise ValueError(f"an array holds numbers of one dtype, such as 'float32'; got {text!r}")
    return found


def piece_to_wire(piece: Piece) -> list[Any]:
    """The piece as plain JSON data."""
    return [piece.name, piece.shape, piece.dtype, piece.index]


def piece_from_wire(wire: Any) -> Piece:
    """The piece that JSON data stands for.

    Raises:
        ValueError: it stands for none.
    """
    try:
        name, shape, dtype, index = wire
        sizes = tuple(map(operator.index, shape))
        edges = tuple((operator.index(start), operator.index(stop)) for start, stop in index)
    except (TypeError, ValueError):
        raise ValueError(f"a piece is [name, shape, dtype, index]; got {wire!r:.100}") from None
    return Piece(str(name), sizes, str(dtype), edges)


def newest_whole(held: Iterable[Held], wanted: Mapping[str, tuple[int, ...]]) -> int | None:
    """The newest step whose pieces, wherever they are held, cover every wanted array completely.

    Pieces may overlap, as they do where replicas hold the same. Those of another shape than the
    wanted one count for nothing. None: no step is whole.
    """
    steps: dict[int, dict[str, set[Index]]] = {}
    for shelf in held:
        for owned in shelf.values():
            for step, pieces in owned.items():
                boxes = steps.setdefault(step, {})
                for piece in pieces:
                    if wanted.get(piece.name) == piece.shape:
                        boxes.setdefault(piece.name, set()).add(piece.index)
    for step in sorted(steps, reverse=True):
        if all(_covered(shape, steps[step].get(name, set())) for name, shape in wanted.items()):
            return step
    return None


class Part(NamedTuple):
    """`wanted[write] = array_of(piece)[read]`."""

    piece: Piece
    read: tuple[slice, ...]
    write: tuple[slice, ...]


def parts_of(name: str, index: Index, pieces: Iterable[Piece]) -> list[Part]:
    """The pieces, and what of each, that make up `index` of the array `name`.

    Earlier pieces are preferred; one that adds nothing is left out. Two parts may overlap: what
    they have in common is the same in both.

    Raises:
        ValueError: the pieces do not cover it.
    """
    near = [piece for piece in pieces if piece.name == name and len(piece.index) == len(index)]
    clipped = {piece: box for piece in near if (box := _meet(piece.index, index)) is not None}
    grid = _Grid(index, clipped.values())
    parts: list[Part] = []
    for piece, box in clipped.items():
        if grid.add(box):
            parts.append(Part(piece, _within(box, piece.index), _within(box, index)))
    if not grid.full:
        raise ValueError(
            f"{name}[{', '.join(f'{start}:{stop}' for start, stop in index)}] is not covered by "
            f"the pieces that are held: {[str(piece) for piece in near] or 'none'}"
        )
    return parts


def _covered(shape: tuple[int, ...], boxes: Iterable[Index]) -> bool:
    boxes = list(boxes)
    grid = _Grid(tuple((0, size) for size in shape), boxes)
    for box in boxes:
        grid.add(box)
    return grid.full


class _Grid:
    """The cells into which the edges of boxes cut what they shall cover, and which are covered."""

    def __init__(self, index: Index, boxes: Iterable[Index]) -> None:
        boxes = list(boxes)
        self.cells: list[dict[int, int]] = []
        for i, whole in enumerate(index):
            cuts = sorted({*whole, *(edge for box in boxes for edge in box[i])})
            self.cells.append({edge: number for number, edge in enumerate(cuts)})
        self.seen = np.zeros([len(cuts) - 1 for cuts in self.cells], bool)

    def add(self, box: Index) -> bool:
        """Whether the box covered a cell that none before it had."""
        edges = zip(self.cells, box, strict=True)
        at = tuple(slice(cuts[start], cuts[stop]) for cuts, (start, stop) in edges)
        news = not self.seen[at].all()
        self.seen[at] = True
        return news

    @property
    def full(self) -> bool:
        return bool(self.seen.all())


def _meet(one: Index, other: Index) -> Index | None:
    """What both cover; None if that is nothing."""
    both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return both if all(start < stop for start, stop in both) else None


def _within(box: Index, whole: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    pairs = zip(box, whole, strict=True)
    return tuple(slice(start - origin, stop - origin) for (start, stop), (origin, _) in pairs)
