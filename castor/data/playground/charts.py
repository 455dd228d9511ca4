"""Small charts with questions: upright and lying bars, pies and lines, with values to be read."""

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Float32

from castor.data.playground import ink
from castor.data.playground.lesson import Lesson, Question, ask, yes_no
from castor.data.source import Split

_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
_WHITE = (255, 255, 255)
_AXIS = (120, 120, 126)
_LINE = (226, 226, 230)
_MOST = 9  # the largest value of a bar; there is a grid line at each


def lesson(dice: random.Random, split: Split) -> Lesson:
    """A chart with up to three questions."""
    return dice.choices((_bars, _pie, _line), (6, 2, 2))[0](dice)


def upright(values: Sequence[int], colours: Sequence[str], *, unit: int) -> ink.Canvas:
    """One bar per value, `unit` pixels high for each 1; at most 64 cells of 8 x 8 pixels."""
    bar, gap = 10, 4
    width, height = 8 + len(values) * (bar + gap), _MOST * unit + 8
    canvas = ink.blank(-(-width // 8) * 8, -(-height // 8) * 8, paper=_WHITE)
    floor = canvas.shape[0] - 4
    for level in range(1, _MOST + 1):
        ink.box(canvas, colour=_LINE, left=4, top=floor - level * unit, width=width, height=1)
    for number, (value, colour) in enumerate(zip(values, colours, strict=True)):
        left, top = 7 + number * (bar + gap), floor - value * unit
        paint = ink.PALETTE[colour]
        ink.box(canvas, colour=paint, left=left, top=top, width=bar, height=value * unit)
    ink.box(canvas, colour=_AXIS, left=3, top=floor, width=width, height=1)
    ink.box(canvas, colour=_AXIS, left=3, top=2, width=1, height=floor - 1)
    return canvas


def lying(values: Sequence[int], colours: Sequence[str], *, unit: int) -> ink.Canvas:
    """The same chart on its side: the first bar is at the top, values grow to the right."""
    return np.ascontiguousarray(upright(values, colours, unit=unit)[::-1].transpose(1, 0, 2))


def _bars(dice: random.Random) -> Lesson:
    count = dice.choice((2, 3, 3, 4, 4, 5))
    values = _distinct(dice, count)
    colours = dice.sample(_COLOURS, count)
    draw, words = dice.choice(((upright, ("tallest", "taller")), (lying, ("longest", "longer"))))
    canvas = draw(values, colours, unit=4 if count == 5 else dice.choice((4, 5, 6)))
    questions = _bar_questions(dice, values, colours, words)
    return Lesson((ink.picture(canvas),), tuple(dice.sample(questions, 3)))


def _distinct(dice: random.Random, count: int) -> list[int]:
    """Values of which the largest and the smallest are unique."""
    while True:
        values = [dice.randint(1, _MOST) for _ in range(count)]
        if values.count(max(values)) == values.count(min(values)) == 1:
            return values


def _bar_questions(
    dice: random.Random, values: Sequence[int], colours: Sequence[str], words: tuple[str, str]
) -> list[Question]:
    most, more = words
    by_value = dict(zip(values, colours, strict=True))
    (first, one), (second, other) = dice.sample(list(zip(colours, values, strict=True)), 2)
    higher, lower = sorted(((one, first), (other, second)), reverse=True)
    asks = {
        "most": (f"Which bar is the {most}?", f"What color is the {most} bar?"),
        "least": ("Which bar is the shortest?", "What color is the shortest bar?"),
        "bars": ("How many bars are there?", "Count the bars."),
        "value": (f"What is the value of the {first} bar?", f"Read the {first} bar."),
        "compare": (f"Is the {first} bar {more} than the {second} bar?",),
        "difference": (f"How much {more} is the {higher[1]} bar than the {lower[1]} bar?",),
    }
    answers = {
        "most": by_value[max(values)],
        "least": by_value[min(values)],
        "bars": len(values),
        "value": one,
        "compare": yes_no(one > other),
        "difference": higher[0] - lower[0],
    }
    kinds = [kind for kind in asks if one != other or kind not in ("compare", "difference")]
    return [ask(kind, *asks[kind], answer=answers[kind]) for kind in kinds]


@cache
def _pie_angles(side: int) -> tuple[Float32[np.ndarray, "a a"], Float32[np.ndarray, "a a"]]:
    """Clockwise turns from the top, 0 to 1, and distance from the middle, at twice the size."""
    steps = (np.arange(2 * side, dtype=np.float32) + 0.5) / side - 1
    x, y = np.meshgrid(steps, steps)
    return (np.arctan2(x, -y) / (2 * np.pi)).astype(np.float32) % 1, np.hypot(x, y)


def _pie(dice: random.Random) -> Lesson:
    """A pie whose largest and smallest slices differ from the next by 6 % of the whole or more."""
    count, side = dice.choice((2, 3, 3, 4)), dice.choice((32, 40, 48, 56))
    while True:
        cuts = sorted(dice.uniform(0.08, 1) for _ in range(count - 1))
        shares = np.diff([0.0, *cuts, 1.0])
        ranked = np.sort(shares)
        if ranked[0] > 0.08 and ranked[-1] - ranked[-2] > 0.06 and ranked[1] - ranked[0] > 0.06:
            break
    colours = dice.sample(_COLOURS, count)
    turns, distance = _pie_angles(side)
    paints = np.array([ink.PALETTE[colour] for colour in colours] + [_WHITE], np.float32)
    slices = np.where(distance < 0.94, np.searchsorted(cuts, turns), count)
    canvas = paints[slices].reshape(side, 2, side, 2, 3).mean((1, 3))
    questions = [
        ask("most", "Which slice is the biggest?", "What color is the biggest slice?",
            answer=colours[int(shares.argmax())]),
        ask("least", "Which slice is the smallest?", "What color is the smallest slice?",
            answer=colours[int(shares.argmin())]),
        ask("slices", "How many slices are there?", "Count the slices.", answer=count),
        ask("half", f"Is the {colours[0]} slice more than half of the pie?",
            answer=yes_no(bool(shares[0] > 0.5))),
    ]  # fmt: skip
    questions = questions if abs(shares[0] - 0.5) > 0.04 else questions[:3]
    return Lesson((ink.picture(canvas),), tuple(dice.sample(questions, 3)))


_COURSES = {
    "up": ((0.0, 1.0), "It goes up."),
    "down": ((1.0, 0.0), "It goes down."),
    "flat": ((0.5, 0.5), "It stays the same."),
    "peak": ((0.0, 1.0, 0.0), "It goes up, then down."),
    "valley": ((1.0, 0.0, 1.0), "It goes down, then up."),
}


def _line(dice: random.Random) -> Lesson:
    """A line with one course, seen from left to right."""
    course = dice.choice(tuple(_COURSES))
    heights, answer = _COURSES[course]
    width, height = dice.choice(((48, 32), (48, 48), (64, 48), (64, 64)))
    low, high = height * dice.uniform(0.1, 0.3), height * dice.uniform(0.65, 0.85)
    ends = (5, width - 4) if len(heights) == 2 else (5, dice.randint(18, width - 18), width - 4)
    steps = np.arange(4, width - 3, dtype=np.float32)
    y = height - 2 - np.interp(steps, ends, low + np.array(heights) * (high - low))
    wobble = np.sin(steps * dice.uniform(0.2, 0.5) + dice.uniform(0, 6)) * dice.choice((0, 1, 1.5))
    slope = np.hypot(1, np.gradient(y))
    distance = np.abs(np.arange(height)[:, None] + 0.5 - (y + wobble)[None]) / slope[None]
    cover = np.zeros((height, width), np.float32)
    cover[:, 4 : width - 3] = np.clip(1.8 - distance, 0, 1)
    canvas = ink.blank(width, height, paper=_WHITE)
    ink.box(canvas, colour=_AXIS, left=3, top=height - 4, width=width - 5, height=1)
    ink.box(canvas, colour=_AXIS, left=3, top=2, width=1, height=height - 5)
    colour = dice.choice(_COLOURS)
    ink.stamp(canvas, cover, colour=ink.PALETTE[colour], x=0, y=0)
    questions = (
        ask("course", "What does the line do?", "How does the line go?", answer=answer),
        ask("color", "What color is the line?", "Which color does the line have?", answer=colour),
    )
    return Lesson((ink.picture(canvas),), tuple(dice.sample(questions, 2)))
