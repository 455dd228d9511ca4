"""What was read before, so that it need not be read again: rows of a cache, by what they hold."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int64

from castor.models.cache import Cache
from castor.sample.reading import Prompt, common

LEAST = 16  # fewer ids in common are as quickly read as found


class Kept(NamedTuple):
    """One row; its first positions hold what the marks say, what lies beyond is of no use."""

    marks: Int64[np.ndarray, " n"]
    cache: Cache
    bytes: int


class Prefixes:
    """Rows up to so many bytes, the longest unused ones dropped first. Not for several threads."""

    def __init__(self, *, bytes_most: int) -> None:
        self._most, self._bytes, self._count = bytes_most, 0, 0
        self._kept: dict[int, Kept] = {}  # by number, the longest unused ones first
        self._alike: dict[bytes, list[int]] = {}  # numbers, by the first LEAST marks

    @property
    def bytes(self) -> int:
        """What all rows take."""
        return self._bytes

    def longest(self, prompt: Prompt) -> tuple[Cache | None, int]:
        """The row that shares most with the prompt, and how many ids that is."""
        numbers = self._alike.get(_start(prompt.marks), [])
        shares = [common(prompt, self._kept[number].marks) for number in numbers]
        if not shares or max(shares) < LEAST:
            return None, 0
        best = numbers[shares.index(max(shares))]
        self._kept[best] = self._kept.pop(best)
        return self._kept[best].cache, max(shares)

    def keep(self, marks: Int64[np.ndarray, " n"], cache: Cache) -> None:
        """Remember a row of one prompt, in place of those that it goes on from."""
        if len(marks) < LEAST:
            return
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(cache))
        for number in list(self._alike.get(_start(marks), [])):
            if _begins(marks, self._kept[number].marks):
                self._drop(number)
        self._count += 1
        self._kept[self._count] = Kept(marks, cache, size)
        self._alike.setdefault(_start(marks), []).append(self._count)
        self._bytes += size
        while self._bytes > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, number: int) -> None:
        dropped = self._kept.pop(number)
        self._bytes -= dropped.bytes
        start = _start(dropped.marks)
        self._alike[start].remove(number)
        if not self._alike[start]:
            del self._alike[start]


def _start(marks: Int64[np.ndarray, " n"]) -> bytes:
    return marks[:LEAST].tobytes()


def _begins(marks: Int64[np.ndarray, " n"], start: Int64[np.ndarray, " m"]) -> bool:
    n = len(start)
    return n <= len(marks) and np.array_equal(marks[:n], start)
