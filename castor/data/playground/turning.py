"""Clips of things that turn: a hand alone, an arrow, then ever less plain ones.

Which way a thing turns is the hardest of what clips are asked: its parts move every way at once.
A hand is one part that moves, and where it points can be asked as well.
"""

import random
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from castor.core.media import frames_media
from castor.data.pixels import Sprite, put, turned
from castor.data.playground import ink
from castor.data.playground.lesson import Lesson, ask
from castor.data.playground.motion import sprite
from castor.data.source import Split

SIDE, WIDE = 32, 24  # pixels of a frame, and of what turns in it
FRAMES = 4
WAYS = ("up", "right", "down", "left")  # clockwise, a quarter apart
CLEAR = 30  # degrees from one of them within which a hand points that way
_COLOURS = ("red", "orange", "green", "blue", "purple", "pink", "black")


def lesson(dice: random.Random, split: Split) -> Lesson:
    """A clip; which way its thing turns, and where it points if it points."""
    make = dice.choice(_MAKES)
    clockwise = dice.random() < 0.5
    start = dice.uniform(-30, 30) if dice.random() < 0.6 else dice.uniform(0, 360)
    step = dice.uniform(25, 45) * (1 if clockwise else -1)
    angles = [start + step * number for number in range(FRAMES)]
    frames = _film(make(dice), angles, paper=dice.choice(ink.PAPERS), dice=dice)
    questions = [
        ask("turn", "Which way does it turn?", "In which sense does it rotate?",
            answer="clockwise" if clockwise else "counterclockwise"),
    ]  # fmt: skip
    if make in _POINTING:
        questions += [
            ask("point", f"Where does it point {when}?", answer=way)
            for when, angle in (("first", angles[0]), ("last", angles[-1]))
            if (way := _way(angle))
        ]
    times = np.arange(FRAMES, dtype=np.float32) / 2
    return Lesson((frames_media(frames, times),), tuple(dice.sample(questions, len(questions))))


def _film(
    thing: Sprite, angles: list[float], *, paper: ink.Colour, dice: random.Random
) -> UInt8[np.ndarray, "F side side 3"]:
    frames = np.full((len(angles), SIDE, SIDE, 3), paper, np.uint8)
    x, y = (dice.randint(0, SIDE - WIDE) for _ in range(2))
    for frame, angle in zip(frames, angles, strict=True):
        put(frame, turned(thing, angle), x=x, y=y)
    return frames


def _way(angle: float) -> str:
    """Where a hand points that stands so many degrees clockwise of up; "" between two ways."""
    quarter = round(angle / 90)
    return WAYS[quarter % 4] if abs(angle - 90 * quarter) <= CLEAR else ""


def _empty() -> Sprite:
    return np.zeros((WIDE, WIDE, 4), np.uint8)


def _ink(dice: random.Random) -> tuple[int, ...]:
    return (*ink.PALETTE[dice.choice(_COLOURS)], 255)


def _hand(dice: random.Random) -> Sprite:
    """A bar from the middle to the top."""
    thing, half = _empty(), dice.choice((1, 2, 3))
    thing[: WIDE // 2 + half, WIDE // 2 - half : WIDE // 2 + half] = _ink(dice)
    return thing


def _arrow(dice: random.Random) -> Sprite:
    """A bar with a head."""
    thing = _empty()
    cover = ink.mask("triangle", 12)
    thing[4:23, 10:14] = _ink(dice)
    thing[:12, 6:18][cover > 0.5] = _ink(dice)
    return thing


def _disc(dice: random.Random) -> Sprite:
    """Two halves of different colours."""
    thing = _empty()
    upper, lower = (ink.PALETTE[name] for name in dice.sample(_COLOURS, 2))
    thing[: WIDE // 2, :, :3], thing[WIDE // 2 :, :, :3] = upper, lower
    thing[..., 3] = (ink.mask(dice.choice(("circle", "diamond")), WIDE) * 255).astype(np.uint8)
    return thing


def _patches(dice: random.Random) -> Sprite:
    """Four by four patches of few colours, some of them empty."""
    colours = [_ink(dice) for _ in range(3)] + [(0, 0, 0, 0)]
    cells = np.array(dice.choices(colours, k=16), np.uint8).reshape(4, 4, 4)
    thing = _empty()
    thing[3:21, 3:21] = np.kron(cells, np.ones((5, 5, 1), np.uint8))[1:19, 1:19]
    return thing


def _creature(dice: random.Random) -> Sprite:
    """The creatures that move in other clips; left is equal to right, top is not to bottom."""
    thing, cover = _empty(), sprite(dice, scale=3)
    thing[1:22, 1:22][cover > 0] = _ink(dice)
    return thing


_POINTING: tuple[Callable[[random.Random], Sprite], ...] = (_hand, _arrow)
_MAKES = (*_POINTING, _disc, _patches, _creature)
