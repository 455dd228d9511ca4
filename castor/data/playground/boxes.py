"""Three grey boxes with loose items or with towers of blocks: the worlds of `claims`, and pictures.

The pictures look like those of NLVR.

Paper: Suhr et al. 2017, "A Corpus of Natural Language for Visual Reasoning", ACL.
"""

import random
from collections.abc import Callable
from functools import cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
from jaxtyping import Bool, UInt8

from castor.core.content import Media
from castor.core.media import ppm
from castor.data.playground.lesson import belongs
from castor.data.source import Split

COLOURS = {"yellow": (255, 255, 0), "black": (0, 0, 0), "blue": (0, 153, 255)}
SHAPES = ("square", "circle", "triangle")
SIZES = {10: "small", 20: "", 30: "big"}  # pixels across, and the word where people use one
SIDES = ("left", "middle", "right")  # what the boxes are called
SIDE = 100  # pixels along each side of a box; half of it parts two boxes
_BLOCK, _PITCH = 20, 21  # pixels of a tower's block, and from one block to the next


class Item(NamedTuple):
    """A loose item or a block: its top left pixel in its box, and its width."""

    colour: str
    shape: str
    x: int
    y: int
    size: int

    @property
    def walls(self) -> frozenset[str]:
        """The walls of the box that it touches."""
        far = SIDE - self.size
        touched = {"left": self.x == 0, "right": self.x == far}
        touched |= {"top": self.y == 0, "bottom": self.y == far}
        return frozenset(wall for wall, touches in touched.items() if touches)


Box = tuple[Item, ...]  # a tower's blocks go from the base up
World = tuple[Box, ...]


def draw(world: World) -> UInt8[np.ndarray, "100 400 3"]:
    """Three light boxes on a darker ground."""
    picture = np.full((SIDE, 4 * SIDE, 3), 128, np.uint8)
    for number, box in enumerate(world):
        left = number * 3 * SIDE // 2
        picture[:, left : left + SIDE] = 211
        for item in box:
            part = picture[item.y : item.y + item.size, left + item.x : left + item.x + item.size]
            part[_inside(item.shape, item.size)] = COLOURS[item.colour]
    return picture


def picture(world: World) -> Media:
    return Media("image/x-portable-pixmap", ppm(draw(world)))


@cache
def _inside(shape: str, size: int) -> Bool[np.ndarray, "size size"]:
    x, y = np.meshgrid(np.arange(size) + 0.5 - size / 2, np.arange(size) + 0.5)
    if shape == "circle":
        return np.hypot(x, y - size / 2) <= size / 2
    return abs(x) <= (y / 2 if shape == "triangle" else size)


def towers(dice: random.Random, split: Split) -> World:
    """Three towers of one to four blocks; the constant rule of `belongs` parts the splits."""
    while True:
        world = tuple(dice.choices(_pool(_tower, split), k=3))
        colours = repr([[item.colour for item in box] for box in world])
        if belongs(crc32(colours.encode()), split):
            return world


def loose(dice: random.Random, split: Split) -> World:
    """Three boxes of one to seven items that do not overlap; a third of the items touch a wall."""
    return tuple(dice.choices(_pool(_loose, split), k=3))


@cache
def _pool(make: Callable[[random.Random], Box], split: Split) -> list[Box]:
    """Boxes to choose from: 8 billion worlds, some of which have to be tried for every claim."""
    dice = random.Random(f"boxes {make.__name__} {split}")
    return [make(dice) for _ in range(2000)]


def _tower(dice: random.Random) -> Box:
    colours = dice.choices(tuple(COLOURS), k=dice.randint(1, 4))
    return tuple(
        Item(colour, "square", (SIDE - _BLOCK) // 2, SIDE - _BLOCK - level * _PITCH, _BLOCK)
        for level, colour in enumerate(colours)
    )


def _loose(dice: random.Random) -> Box:
    items: list[Item] = []
    colours = dice.sample(tuple(COLOURS), dice.choice((1, 2, 2, 3, 3)))
    shapes = dice.sample(SHAPES, dice.choice((1, 2, 3, 3)))
    for _ in range(dice.choice((1, 2, 3, 3, 4, 5, 6, 7))):
        size = dice.choice((10, 20, 20, 30))
        x, y = dice.randint(3, SIDE - size - 3), dice.randint(3, SIDE - size - 3)
        if dice.random() < 0.35:
            walls = dice.choices((0, SIDE - size), k=2)  # both of them meet in a corner
            x, y = dice.choices(((walls[0], y), (x, walls[1]), tuple(walls)), (2, 2, 1))[0]
        item = Item(dice.choice(colours), dice.choice(shapes), x, y, size)
        if all(_apart(item, other) for other in items):
            items.append(item)
    return tuple(items)


def _apart(one: Item, other: Item) -> bool:
    gaps = (
        one.x - other.x - other.size,
        other.x - one.x - one.size,
        one.y - other.y - other.size,
        other.y - one.y - one.size,
    )
    return max(gaps) >= 1
