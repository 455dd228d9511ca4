"""Scenes that a sentence describes completely, and the one picture that each of them has.

A scene is one to four objects in one to four groups; its picture has no freedom left, so that
"draw it" has one right answer. Combinations of colour, shape, count and place that `for_eval`
names are never seen in training.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from castor.data.playground import ink
from castor.data.source import Split

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
SIDE = 64  # pixels along each side of a drawing
PAPER = (255, 255, 255)

# Middles are multiples of 8 where they can be: a codec with 8 pixel patches then sees each
# shape cut in the same way wherever it stands.
_SINGLE = {
    "left": (16, 32),
    "right": (48, 32),
    "top": (32, 16),
    "bottom": (32, 48),
    "middle": (32, 32),
    "top left": (16, 16),
    "top right": (48, 16),
    "bottom left": (16, 48),
    "bottom right": (48, 48),
}
_CORNERS = ("top left", "top right", "bottom left", "bottom right")
_LINES = ("left", "right", "top", "bottom", "middle")
PLACES = (*_SINGLE, "corners")
SIZES = {1: 24, 2: 24, 3: 16, 4: 24}  # pixels across, by the number of objects in the group


@dataclass(frozen=True)
class Group:
    """`count` equal objects in one place, e.g. two red circles on the left.

    Raises:
        ValueError: that many objects have no such place.
    """

    place: str
    count: int
    colour: str
    shape: str

    def __post_init__(self) -> None:
        if self.place not in places(self.count):
            raise ValueError(
                f"{self.count} objects cannot stand at {self.place!r}; "
                f"they have {list(places(self.count))}"
            )

    @property
    def spots(self) -> tuple[tuple[int, int], ...]:
        """The middle of each object, (x, y) in pixels."""
        if self.count == 1:
            return (_SINGLE[self.place],)
        if self.count == 4:
            return tuple(_SINGLE[corner] for corner in _CORNERS)
        low, high = (16, 48) if self.count == 2 else (11, 53)
        along = (low, high) if self.count == 2 else (low, SIDE // 2, high)
        if self.place in ("left", "right"):
            return tuple((low if self.place == "left" else high, y) for y in along)
        y = {"top": low, "middle": SIDE // 2, "bottom": high}[self.place]
        return tuple((x, y) for x in along)

    @property
    def size(self) -> int:
        return SIZES[self.count]


Scene = tuple[Group, ...]  # in the order of PLACES, no two of the same colour and shape


def in_order(groups: Iterable[Group]) -> Scene:
    return tuple(sorted(groups, key=lambda group: PLACES.index(group.place)))


def places(count: int) -> tuple[str, ...]:
    """Where so many equal objects can stand: one anywhere, two or three in line, four around."""
    return {1: tuple(_SINGLE), 2: _LINES, 3: _LINES, 4: ("corners",)}.get(count, ())


def for_eval(group: Group) -> bool:
    """The constant rule: one combination in eight of (colour, shape, count, place) is held out.

    Every pair of properties, and nearly every three, still occur together in training.
    """
    number = COLOURS.index(group.colour) + 3 * SHAPES.index(group.shape)
    return (number + 2 * group.count + 5 * PLACES.index(group.place)) % 8 == 3


def allowed(group: Group, split: Split) -> bool:
    return for_eval(group) == (split == "eval")


def draw(scene: Scene) -> ink.Canvas:
    """The picture of a scene."""
    canvas = ink.blank(SIDE, SIDE, paper=PAPER)
    for group in scene:
        for x, y in group.spots:
            colour = ink.PALETTE[group.colour]
            ink.paint(canvas, group.shape, colour=colour, x=x, y=y, size=group.size)
    return canvas


@cache
def one_group(split: Split) -> tuple[Scene, ...]:
    """Every scene of one group in that split, in a fixed mixed order."""
    groups = [
        Group(place, count, colour, shape)
        for count in SIZES
        for place in places(count)
        for colour in COLOURS
        for shape in SHAPES
    ]
    scenes = [(group,) for group in groups if allowed(group, split)]
    random.Random(f"scenes of one group {split}").shuffle(scenes)
    return tuple(scenes)


def imagine(dice: random.Random, split: Split) -> Scene:
    """A scene of two to four groups, all of whose combinations belong to the split."""
    layout = dice.choices(("sides", 2, 3, 4), (45, 25, 18, 12))[0]
    if layout == "sides":
        pair = dice.choice((("left", "right"), ("top", "bottom")))
        counts = dice.choice(((1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1)))
        wanted = list(zip(pair, counts, strict=True))
    else:
        wanted = [(place, 1) for place in dice.sample(_CORNERS, int(layout))]
    groups: list[Group] = []
    while len(groups) < len(wanted):
        place, count = wanted[len(groups)]
        group = Group(place, count, dice.choice(COLOURS), dice.choice(SHAPES))
        new = all((group.colour, group.shape) != (other.colour, other.shape) for other in groups)
        if new and allowed(group, split):
            groups.append(group)
    return in_order(groups)


@cache
def gallery(split: Split, size: int) -> tuple[Scene, ...]:
    """The first `size` scenes of a split: every fourth has one group (they repeat when all have
    been shown), all others differ. A longer gallery starts with the shorter one.
    """
    dice = random.Random(f"gallery {split}")
    single = one_group(split)
    seen: set[Scene] = set()
    scenes: list[Scene] = []
    while len(scenes) < size:
        if len(scenes) % 4 == 0:
            scenes.append(single[len(scenes) // 4 % len(single)])
            continue
        scene = imagine(dice, split)
        if scene not in seen:
            seen.add(scene)
            scenes.append(scene)
    return tuple(scenes)
