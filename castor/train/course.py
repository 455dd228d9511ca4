"""The steps of a run in their order, which can go back."""

from collections.abc import Callable, Iterator
from typing import Any


class Course:
    """Numbers of steps, from `first` + 1 on, with their batches."""

    def __init__(self, batches: Callable[[int], Iterator[Any]], *, first: int) -> None:
        self._batches, self._number = batches, first
        self._ahead = batches(first)

    def __iter__(self) -> "Course":
        return self

    def __next__(self) -> tuple[int, Any]:
        batch = next(self._ahead)
        self._number += 1
        return self._number, batch

    def back(self, number: int) -> None:
        """Give that step, which was given before, next."""
        close = getattr(self._ahead, "close", lambda: None)
        close()
        self._number, self._ahead = number - 1, self._batches(number - 1)
