"""Ranges of numbers: what they hold, and the sentence about a field that is out of one."""

from dataclasses import dataclass, field

import pytest

from castor.core.ranges import AMOUNT, COUNT, MEMORY, POSITIVE, SHARE, Range


@dataclass(frozen=True)
class Box:
    width: float = 3
    sides: tuple[int, ...] = (2, 1)
    room: dict[str, int] = field(default_factory=lambda: {"image": 4})


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (COUNT, (1, 7), (0, -1)),
        (AMOUNT, (0, 0.5), (-0.1, -1)),
        (POSITIVE, (0.1, 9), (0, -1)),
        (SHARE, (0, 0.5, 1), (-0.1, 1.1)),
        (MEMORY, (0, 0.99), (-0.1, 1)),
    ],
)
def test_a_range_holds_its_ends_and_nothing_beyond(
    kind: Range, inside: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    for number in inside:
        kind.check(Box(width=number), "width")
    for number in (*outside, float("nan")):
        with pytest.raises(ValueError, match=f"Box.width={number} must be {kind.words}"):
            kind.check(Box(width=number), "width")


def test_every_member_of_a_field_is_checked() -> None:
    COUNT.check(Box(), "width", "sides", "room")
    COUNT.check(Box(sides=(), room={}), "sides", "room")
    with pytest.raises(ValueError, match=r"Box.sides=\(2, 0\) must each be 1 or more"):
        COUNT.check(Box(sides=(2, 0)), "sides")
    with pytest.raises(ValueError, match="Box.room={'image': 0} must each be 1 or more"):
        COUNT.check(Box(room={"image": 0}), "width", "room")
