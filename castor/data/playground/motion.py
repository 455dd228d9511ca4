"""Clips of moving things, 3 to 6 frames of 32 x 32 with time stamps, some with sound, to ask about.

What moves is a shape or a sprite: a small symmetric creature made of random pixels, so that the
sprites of evaluation have never been seen.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from castor.core.content import Media
from castor.core.media import frames_media
from castor.data.playground import ink, synth
from castor.data.playground.lesson import Lesson, Question, ask
from castor.data.source import Split

SIDE = 32
_SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
_HEADINGS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
Cover = Float32[np.ndarray, "a a"]


class Film(NamedTuple):
    """What one maker made: the frames as canvases, seconds between them, sound, questions."""

    frames: list[ink.Canvas]
    step: float
    questions: tuple[Question, ...]
    sound: synth.Wave | None = None


class Actor(NamedTuple):
    """What moves, what it is called, and how it is painted."""

    name: str
    cover: Cover
    colour: str


def lesson(dice: random.Random, split: Split) -> Lesson:
    """A clip with one or two questions."""
    makes: tuple[Callable[[random.Random], Film], ...]
    makes = (_direction, _order, _count, _speed, _change, _beep)
    film = dice.choices(makes, (36, 20, 12, 10, 12, 10))[0](dice)
    return Lesson((_media(film),), film.questions)


def _media(film: Film) -> Media:
    times = np.arange(len(film.frames), dtype=np.float32) * np.float32(film.step)
    return frames_media(np.stack([ink.pixels(frame) for frame in film.frames]), times, film.sound)


def sprite(dice: random.Random, *, scale: int) -> Cover:
    """A creature of 7 x 7 random pixels with left equal to right, each drawn scale x scale."""
    while True:
        half = np.array([dice.random() < 0.58 for _ in range(28)], np.float32).reshape(7, 4)
        whole = np.concatenate([half, half[:, -2::-1]], axis=1)
        if 20 <= whole.sum() <= 38 and whole[:, 3].sum() >= 3:
            return np.kron(whole, np.ones((scale, scale), np.float32))


def _actor(dice: random.Random, *, sizes: tuple[int, int], colour: str = "") -> Actor:
    colour = colour or dice.choice(_COLOURS)
    if dice.random() < 0.5:
        return Actor("thing", sprite(dice, scale=1 if sizes[1] < 14 else 2), colour)
    shape = dice.choice(_SHAPES)
    return Actor(shape, ink.mask(shape, dice.randint(*sizes)), colour)


def _stage(dice: random.Random) -> Callable[[], ink.Canvas]:
    paper = dice.choice(ink.PAPERS)
    return lambda: ink.blank(SIDE, SIDE, paper=paper)


def _put(canvas: ink.Canvas, actor: Actor, *, x: float, y: float) -> ink.Canvas:
    half = len(actor.cover) / 2
    at_x, at_y = round(x - half), round(y - half)
    ink.stamp(canvas, actor.cover, colour=ink.PALETTE[actor.colour], x=at_x, y=at_y)
    return canvas


def _direction(dice: random.Random) -> Film:
    """One thing moves in one of four directions, or stays."""
    actor, stage = _actor(dice, sizes=(10, 16)), _stage(dice)
    heading = dice.choice((*_HEADINGS, *_HEADINGS, "still"))
    count = dice.choice((3, 3, 4))
    pace = dice.uniform(3.5, 7.0 if count == 3 else 5.0)
    way_x, way_y = _HEADINGS.get(heading, (0, 0))
    reach = pace * (count - 1) / 2
    room = SIDE / 2 - len(actor.cover) / 2
    middle_x = 16 + dice.uniform(-1, 1) * max(room - abs(way_x) * reach, 0)
    middle_y = 16 + dice.uniform(-1, 1) * max(room - abs(way_y) * reach, 0)
    steps = [(number - (count - 1) / 2) * pace for number in range(count)]
    frames = [
        _put(stage(), actor, x=middle_x + step * way_x, y=middle_y + step * way_y) for step in steps
    ]
    the = f"the {actor.name}"
    question = ask(
        "direction",
        f"Which way does {the} move?",
        f"In which direction does {the} go?",
        f"Where is {the} moving to?",
        answer="It does not move." if heading == "still" else heading,
    )
    colour = ask("color", f"What color is {the}?", answer=actor.colour)
    return Film(frames, dice.choice((0.2, 0.5, 1.0)), (question, colour))


def _order(dice: random.Random) -> Film:
    """Different shapes (or colours) are shown one after another."""
    stage, count = _stage(dice), dice.choice((3, 3, 4))
    by_colour = dice.random() < 0.4
    shapes = [dice.choice(_SHAPES)] * count if by_colour else dice.sample(_SHAPES, count)
    colours = dice.sample(_COLOURS, count) if by_colour else dice.choices(_COLOURS, k=count)
    size = dice.randint(14, 24)
    frames = []
    for shape, colour in zip(shapes, colours, strict=True):
        x, y = (16 + dice.randint(size // 2 - 15, 15 - size // 2) for _ in range(2))
        frames.append(_put(stage(), Actor(shape, ink.mask(shape, size), colour), x=x, y=y))
    names, what = (colours, "color") if by_colour else (shapes, "shape")
    at = dice.choice(("first", "last"))
    after = dice.randrange(count - 1)
    before = names[after] if by_colour else f"the {names[after]}"
    questions = [
        ask("order", f"Which {what} comes {at}?", f"Which {what} do you see {at}?",
            answer=names[0 if at == "first" else -1]),
        ask("after", f"Which {what} comes after {before}?", f"What {what} follows {before}?",
            answer=names[after + 1]),
        ask("all", f"Name the {what}s in order.", f"Which {what}s come one after another?",
            answer=", ".join(names)),
    ]  # fmt: skip
    return Film(frames, dice.choice((0.5, 1.0)), tuple(dice.sample(questions, 2)))


def _count(dice: random.Random) -> Film:
    """Shapes appear one by one and stay, or there are fewer and fewer."""
    stage, most = _stage(dice), dice.randint(1, 5)
    shape, colour, size = dice.choice(_SHAPES), dice.choice(_COLOURS), dice.randint(8, 9)
    cells = dice.sample([(x, y) for x in (6, 16, 26) for y in (6, 16, 26)], most)
    frames_count = max(3, most)
    shown = [max(0, most - frames_count + 1 + number) for number in range(frames_count)]
    grows = dice.random() < 0.6
    actor = Actor(shape, ink.mask(shape, size), colour)
    frames = []
    for number in shown if grows else shown[::-1]:
        canvas = stage()
        for x, y in cells[:number]:
            _put(canvas, actor, x=x, y=y)
        frames.append(canvas)
    many = "crosses" if shape == "cross" else f"{shape}s"
    left = most if grows else shown[0]
    questions = (
        ask("count", f"How many {many} are there at the end?", f"Count the {many} at the end.",
            answer=left),
        ask("more", f"Are there more or fewer {many} at the end?", "More or fewer at the end?",
            answer="more" if grows else "fewer"),
    )  # fmt: skip
    questions = questions if shown[0] != most else questions[:1]
    return Film(frames, dice.choice((0.5, 1.0)), tuple(dice.sample(questions, len(questions))))


def _speed(dice: random.Random) -> Film:
    """Two things cross the picture, one at least twice as fast as the other."""
    stage, (first, second) = _stage(dice), dice.sample(_COLOURS, 2)
    actors = [_actor(dice, sizes=(8, 10), colour=colour) for colour in (first, second)]
    fast, slow = dice.uniform(6, 7.5), dice.uniform(2, 3)
    paces = [fast, slow] if (first_is_fast := dice.random() < 0.5) else [slow, fast]
    way, upright = dice.choice((-1, 1)), dice.random() < 0.3
    frames = []
    for number in range(4):
        canvas = stage()
        for actor, pace, lane in zip(actors, paces, (8.5, 23.5), strict=True):
            along = 16 + way * (pace * number - 10.5)
            x, y = (lane, along) if upright else (along, lane)
            _put(canvas, actor, x=x, y=y)
        frames.append(canvas)
    word = dice.choice(("faster", "slower"))
    wins = first_is_fast == (word == "faster")
    asks = (
        f"Which one is {word}, the {first} one or the {second} one?",
        f"What moves {word}, the {first} or the {second} one?",
    )
    question = ask("speed", *asks, answer=first if wins else second)
    return Film(frames, dice.choice((0.2, 0.5)), (question,))


def _change(dice: random.Random) -> Film:
    """One shape grows, shrinks, or becomes another colour or another shape."""
    stage, what = _stage(dice), dice.choice(("size", "color", "shape"))
    shapes, colours = [dice.choice(_SHAPES)] * 3, [dice.choice(_COLOURS)] * 3
    sizes, turn = [dice.randint(14, 22)] * 3, dice.choice((1, 2))
    if what == "size":
        sizes = [10, dice.randint(15, 17), dice.randint(22, 26)]
        sizes = sizes if (grows := dice.random() < 0.5) else sizes[::-1]
        asks = (f"Does the {shapes[0]} get bigger or smaller?", "Does it get bigger or smaller?")
        question = ask("growth", *asks, answer="bigger" if grows else "smaller")
    elif what == "color":
        other = dice.choice([colour for colour in _COLOURS if colour != colours[0]])
        colours[turn:] = [other] * (3 - turn)
        asks = (f"What color does the {shapes[0]} become?", "Which color is it at the end?")
        question = ask("new color", *asks, answer=other)
    else:
        other = dice.choice([shape for shape in _SHAPES if shape != shapes[0]])
        asks = (f"What does the {shapes[0]} turn into?", "Which shape is it at the end?")
        shapes[turn:] = [other] * (3 - turn)
        question = ask("new shape", *asks, answer=other)
    x, y = 16 + dice.randint(-2, 2), 16 + dice.randint(-2, 2)
    frames = [
        _put(stage(), Actor(shape, ink.mask(shape, size), colour), x=x, y=y)
        for shape, colour, size in zip(shapes, colours, sizes, strict=True)
    ]
    return Film(frames, 0.5, (question,))


def _beep(dice: random.Random) -> Film:
    """Three shapes, one a second; a sound is heard while one of them is shown."""
    stage, shapes = _stage(dice), dice.sample(_SHAPES, 3)
    size, at, colours = dice.randint(16, 24), dice.randrange(3), dice.choices(_COLOURS, k=3)
    frames = [
        _put(stage(), Actor(shape, ink.mask(shape, size), colour), x=16, y=16)
        for shape, colour in zip(shapes, colours, strict=True)
    ]
    instrument = dice.choice(synth.INSTRUMENTS)
    tone = synth.note(instrument, dice.uniform(250, 700), seconds=0.4, start=dice.random())
    samples = synth.silence(3.0)
    start = synth.count(at + dice.uniform(0.15, 0.45))
    samples[start : start + len(tone)] = tone * np.float32(dice.uniform(0.2, 0.8))
    questions = (
        ask("sound with", "Which shape do you see when you hear the sound?",
            "During which shape is there a sound?", answer=shapes[at]),
        ask("instrument", "What instrument do you hear?", "What makes the sound?",
            answer=instrument),
    )  # fmt: skip
    return Film(frames, 1.0, tuple(dice.sample(questions, 2)), samples)
