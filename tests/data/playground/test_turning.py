"""Things that turn: turning a frame back the way the answer says finds the one before it."""

import random

import numpy as np
import pytest
from PIL import Image

from castor.core.content import Media
from castor.core.media import open_video
from castor.data.playground import turning
from castor.data.playground.lesson import Lesson, said
from castor.data.playground.turning import FRAMES, SIDE, WIDE


def frames(lesson: Lesson) -> np.ndarray:
    (medium,) = lesson.shown
    assert isinstance(medium, Media)
    return open_video(medium.data, medium.mime).frames


def answers(lesson: Lesson) -> dict[str, str]:
    return {question.asks[0]: said(question) for question in lesson.questions}


def apart(before: np.ndarray, after: np.ndarray, degrees: float) -> float:
    """How little `after` is `before` turned clockwise around the thing's middle, at best."""
    ground = tuple(before[0, 0].tolist())
    found = []
    for x in range(SIDE - WIDE + 1):
        for y in range(SIDE - WIDE + 1):
            here = np.s_[y : y + WIDE, x : x + WIDE]
            back = Image.fromarray(before[here]).rotate(-degrees, 2, fillcolor=ground)
            found.append(np.abs(np.asarray(back).astype(float) - after[here]).mean())
    return min(found)


@pytest.mark.parametrize("seed", range(12))
def test_things_turn_as_the_answer_says(seed: int) -> None:
    lesson = turning.lesson(random.Random(seed), "train")
    first, second = frames(lesson)[:2]
    best = min(range(-50, 51, 5), key=lambda degrees: apart(first, second, degrees))
    expected = "clockwise" if best > 0 else "counterclockwise"
    assert answers(lesson)["Which way does it turn?"] == expected


def test_hands_point_where_their_ink_is() -> None:
    checked = 0
    for seed in range(150):
        dice = random.Random(seed)
        angle = dice.uniform(0, 360)
        way = turning._way(angle)
        film = turning._film(turning._hand(dice), [angle], paper=(255, 255, 255), dice=dice)[0]
        if not way:
            continue
        inked = np.argwhere((film != 255).any(-1))
        (top, left), (bottom, right) = inked.min(0), inked.max(0)
        tall = bottom - top > right - left
        assert tall == (way in ("up", "down"))
        checked += 1
    assert checked > 50


@pytest.mark.parametrize(
    ("angle", "way"),
    [(0, "up"), (29, "up"), (45, ""), (90, "right"), (-90, "left"), (181, "down"), (350, "up")],
)
def test_a_hand_points_one_of_four_ways(angle: float, way: str) -> None:
    assert turning._way(angle) == way


def test_both_ways_come_as_often() -> None:
    said_so = [
        answers(turning.lesson(random.Random(seed), "train"))["Which way does it turn?"]
        for seed in range(400)
    ]
    assert 160 < said_so.count("clockwise") < 240
    assert frames(turning.lesson(random.Random(0), "train")).shape == (FRAMES, SIDE, SIDE, 3)
