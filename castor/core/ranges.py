"""Ranges of numbers, for frozen dataclasses to check their fields against when they are made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """The numbers that a field may hold, and what a sentence calls them."""

    words: str
    holds: Callable[[float], bool]

    def check(self, settings: Any, *names: str) -> None:
        """The fields of these names are in the range; every member of one that has several is.

        Raises:
            ValueError: one is not.
        """
        for name in names:
            value = getattr(settings, name)
            if not all(map(self.holds, _members(value))):
                must = "must each be" if isinstance(value, tuple | dict) else "must be"
                raise ValueError(f"{type(settings).__name__}.{name}={value} {must} {self.words}")


COUNT = Range("1 or more", lambda x: x >= 1)
AMOUNT = Range("0 or more", lambda x: x >= 0)
POSITIVE = Range("above 0", lambda x: x > 0)
SHARE = Range("from 0 to 1", lambda x: 0 <= x <= 1)
MEMORY = Range("0 or more, and below 1", lambda x: 0 <= x < 1)  # the share of a past that is kept


def _members(value: float | tuple[float, ...] | dict[str, float]) -> Iterable[float]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, tuple) else (value,)
