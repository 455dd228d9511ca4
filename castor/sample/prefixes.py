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
        self._most, self._kept = bytes_most, list[Kept]()

    @property
    def bytes(self) -> int:
        """What all rows take."""
        return sum(kept.bytes for kept in self._kept)

    def longest(self, prompt: Prompt) -> tuple[Cache | None, int]:
        """The row that shares most with the prompt, and how many ids that is."""
        start = prompt.marks[:LEAST]
        alike = [np.array_equal(start, kept.marks[:LEAST]) for kept in self._kept]
        pairs = zip(self._kept, alike, strict=True)
        shares = [common(prompt, kept.marks) if same else 0 for kept, same in pairs]
        if not shares or max(shares) < LEAST:
            return None, 0
        best = shares.index(max(shares))
        found = self._kept.pop(best)
        self._kept.append(found)
        return found.cache, shares[best]

    def keep(self, marks: Int64[np.ndarray, " n"], cache: Cache) -> None:
        """Remember a row of one prompt, in place of those that it goes on from."""
        if len(marks) < LEAST:
            return
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(cache))
        self._kept = [kept for kept in self._kept if not _begins(marks, kept.marks)]
        self._kept.append(Kept(marks, cache, size))
        while self.bytes > self._most:
            self._kept.pop(0)


def _begins(marks: Int64[np.ndarray, " n"], start: Int64[np.ndarray, " m"]) -> bool:
    n = len(start)
    return n <= len(marks) and np.array_equal(marks[:n], start)
