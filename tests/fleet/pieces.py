"""Pieces to keep, and the arrays that they are parts of."""

import numpy as np

from castor.fleet.pieces import Piece


def piece(name: str = "w", *, shape: tuple[int, ...], index: tuple[tuple[int, int], ...]) -> Piece:
    return Piece(name, shape, "float32", index)


def vector(step: int, *, size: int = 1000, name: str = "w") -> dict[Piece, np.ndarray]:
    """One piece, the whole of an array that is full of its step."""
    return {piece(name, shape=(size,), index=((0, size),)): np.full(size, step, np.float32)}


def cut(array: np.ndarray, one: Piece) -> np.ndarray:
    return array[tuple(slice(start, stop) for start, stop in one.index)]
