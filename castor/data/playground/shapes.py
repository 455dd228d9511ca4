"""Pictures of shapes with questions: colour, shape, count, presence, place, order and size.

Pictures have many sizes and aspects; every question has one right answer that can be seen.
"""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np

from castor.data.playground import ink
from castor.data.playground.languages import TONGUES
from castor.data.playground.lesson import Lesson, Question, ask, yes_no
from castor.data.playground.tongues import Tongue
from castor.data.source import Split


class Thing(NamedTuple):
    """One shape: its middle and its width in pixels."""

    shape: str
    colour: str
    x: int
    y: int
    size: int


class World(NamedTuple):
    things: tuple[Thing, ...]
    width: int
    height: int
    paper: ink.Colour


# (width, height), (cells across, cells down), how often; one slot is 8 x 8 pixels, so that a
# 32 x 32 picture costs 16 slots and a 64 x 64 one 64.
_PAGES = (
    ((32, 32), (1, 1), 10),
    ((32, 32), (2, 2), 30),
    ((48, 32), (3, 2), 12),
    ((32, 48), (2, 3), 8),
    ((48, 48), (2, 2), 8),
    ((64, 32), (3, 1), 8),
    ((64, 64), (3, 3), 8),
    ((64, 64), (2, 2), 5),
    ((96, 48), (4, 2), 5),
    ((48, 96), (2, 4), 3),
    ((96, 96), (3, 3), 3),
)


def imagine(dice: random.Random) -> World:
    """Shapes on a loose grid: they never touch, and they differ in size where there is room."""
    (width, height), (across, down), _ = dice.choices(_PAGES, [page[2] for page in _PAGES])[0]
    cells = [(column, row) for column in range(across) for row in range(down)]
    count = min(len(cells), dice.choice((1, 2, 2, 3, 3, 4, 5)))
    cell_width, cell_height = width // across, height // down
    room = min(cell_width, cell_height) - 2
    colours, shapes = _few(dice, tuple(ink.PALETTE)), _few(dice, ink.SHAPES)
    things = []
    for column, row in dice.sample(cells, count):
        size = dice.randint(max(room * 6 // 10, 10), room)
        spare_x, spare_y = (cell_width - 2 - size) // 2, (cell_height - 2 - size) // 2
        x = column * cell_width + cell_width // 2 + dice.randint(-spare_x, spare_x)
        y = row * cell_height + cell_height // 2 + dice.randint(-spare_y, spare_y)
        things.append(Thing(dice.choice(shapes), dice.choice(colours), x, y, size))
    return World(tuple(things), width, height, dice.choice(ink.PAPERS))


def _few(dice: random.Random, names: tuple[str, ...]) -> list[str]:
    """Sometimes one or two kinds only, so that equal things are common enough to count."""
    return dice.sample(names, dice.choice((1, 2, 2, 3, 3, len(names))))


def draw(world: World, dice: random.Random) -> ink.Canvas:
    """The picture; one in four has a little noise on it."""
    canvas = ink.blank(world.width, world.height, paper=world.paper)
    for thing in world.things:
        colour = ink.PALETTE[thing.colour]
        ink.paint(canvas, thing.shape, colour=colour, x=thing.x, y=thing.y, size=thing.size)
    if dice.random() < 0.25:
        noise = np.random.default_rng(dice.getrandbits(32))
        canvas += noise.standard_normal(canvas.shape, np.float32) * 4
    return canvas


def place(thing: Thing, world: World) -> str | None:
    """Which ninth of the picture the thing is in; None where people would not agree."""
    names = []
    for at, low, high in (
        (thing.y / world.height, "top", "bottom"),
        (thing.x / world.width, "left", "right"),
    ):
        if 0.38 < at < 0.44 or 0.56 < at < 0.62:
            return None
        names.append(low if at <= 0.38 else high if at >= 0.62 else "")
    return " ".join(filter(None, names)) or "middle"


def _single(world: World, key: Callable[[Thing], object]) -> list[Thing]:
    """The things that no other thing equals in `key`."""
    counts = Counter(map(key, world.things))
    return [thing for thing in world.things if counts[key(thing)] == 1]


def _colour(world: World, dice: random.Random, tongue: Tongue) -> Question | None:
    only = _single(world, lambda thing: thing.shape)
    if not only:
        return None
    thing = dice.choice(only)
    asks = tongue.asks("colour", shape=thing.shape)
    return ask("colour", *asks, answer=tongue.colour(thing.colour))


def _shape(world: World, dice: random.Random, tongue: Tongue) -> Question | None:
    only = _single(world, lambda thing: thing.colour)
    if not only:
        return None
    thing = dice.choice(only)
    asks = tongue.asks("shape", colour=thing.colour)
    return ask("shape", *asks, answer=tongue.shape(thing.shape))


def _count(world: World, dice: random.Random, tongue: Tongue) -> Question | None:
    """Things of one shape, or of one colour and shape; now and then there are none."""
    thing = dice.choice(world.things)
    shape = thing.shape if dice.random() < 0.85 else dice.choice(ink.SHAPES)
    colour = thing.colour if dice.random() < 0.4 else ""
    count = sum(t.shape == shape and colour in ("", t.colour) for t in world.things)
    return ask("count", *tongue.asks("count", shape=shape, colour=colour), answer=count)


def _exists(world: World, dice: random.Random, tongue: Tongue) -> Question | None:
    """Half are there. Those that are not often share their colour or their shape with one."""
    thing = dice.choice(world.things)
    shape, colour = thing.shape, thing.colour if dice.random() < 0.6 else ""
    if dice.random() < 0.5:
        if colour and dice.random() < 0.5:
            colour = dice.choice(tuple(ink.PALETTE))
        else:
            shape = dice.choice(ink.SHAPES)
    there = any(t.shape == shape and colour in ("", t.colour) for t in world.things)
    asks = tongue.asks("exists", shape=shape, colour=colour)
    return ask("exists", *asks, answer=tongue.yes if there else tongue.no)


def _where(world: World, dice: random.Random, tongue: Tongue) -> Question | None:
    only = _single(world, lambda thing: (thing.shape, thing.colour))
    only = [thing for thing in only if place(thing, world)]
    if not only:
        return None
    thing = dice.choice(only)
    alone = thing in _single(world, lambda thing: thing.shape)
    colour = "" if alone and dice.random() < 0.5 else thing.colour
    asks = tongue.asks("where", shape=thing.shape, colour=colour)
    return ask("where", *asks, answer=tongue.places[str(place(thing, world))])


def _total(world: World, dice: random.Random) -> Question | None:
    asks = ("How many shapes are there?", "Count the shapes.", "How many shapes do you see?")
    return ask("total", *asks, answer=len(world.things))


def _beside(world: World, dice: random.Random) -> Question | None:
    """Left of, right of, above, below: between two things that are clearly so."""
    only = _single(world, lambda thing: (thing.shape, thing.colour))
    if len(only) < 2:
        return None
    first, second = dice.sample(only, 2)
    across = dice.random() < 0.5
    gap = first.x - second.x if across else first.y - second.y
    if abs(gap) < (first.size + second.size) // 2:
        return None
    before = dice.random() < 0.5
    words = ("to the left of", "to the right of") if across else ("above", "below")
    word = words[0 if before else 1]
    one, other = (f"the {thing.colour} {thing.shape}" for thing in (first, second))
    asks = (f"Is {one} {word} {other}?", f"Is it true that {one} is {word} {other}?")
    return ask("beside", *asks, answer=yes_no((gap < 0) == before))


def _size(world: World, dice: random.Random) -> Question | None:
    only = _single(world, lambda thing: (thing.shape, thing.colour))
    if len(only) < 2:
        return None
    first, second = dice.sample(only, 2)
    if max(first.size, second.size) < 1.3 * min(first.size, second.size):
        return None
    word = dice.choice(("bigger", "smaller"))
    one, other = (f"the {thing.colour} {thing.shape}" for thing in (first, second))
    wins = (first.size > second.size) == (word == "bigger")
    asks = (f"Which is {word}, {one} or {other}?", f"What is {word}: {one} or {other}?")
    return ask("size", *asks, answer=one if wins else other)


def _same(world: World, dice: random.Random) -> Question | None:
    if len(world.things) < 2:
        return None
    what = dice.choice(("color", "shape"))
    values = {thing.colour if what == "color" else thing.shape for thing in world.things}
    asks = (
        f"Do all the shapes have the same {what}?"
        if what == "color"
        else "Are all the shapes of the same kind?",
    )
    return ask("same", *asks, answer=yes_no(len(values) == 1))


_IN_ALL_LANGUAGES = (_colour, _shape, _count, _exists, _where)
_IN_ENGLISH = (_total, _beside, _size, _same)


def lesson(dice: random.Random, split: Split, *, language: str) -> Lesson:
    """A picture with up to three questions of different kinds."""
    world = imagine(dice)
    tongue = TONGUES[language]
    askers: list[Callable[[World, random.Random], Question | None]] = [
        *(partial(asker, tongue=tongue) for asker in _IN_ALL_LANGUAGES),
        *(_IN_ENGLISH if language == "en" else ()),
    ]
    dice.shuffle(askers)
    asked = filter(None, (asker(world, dice) for asker in askers))
    questions = tuple(islice(asked, 3))
    return Lesson((ink.picture(draw(world, dice)),), questions)
