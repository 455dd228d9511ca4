"""Sentences to draw, pictures to describe, and replies in which text and pictures alternate.

A drawn picture depends on the scene alone. Scenes come from `scenes.gallery`, so the pictures of
a run are known, and finite, before it begins.
"""

import random
from functools import lru_cache

from castor.core.content import Media, Text
from castor.data.playground import ink, scenes
from castor.data.playground.languages import TONGUES
from castor.data.playground.lesson import Lesson, Question
from castor.data.playground.scenes import Scene
from castor.data.playground.tongues import Tongue, capital
from castor.data.source import Split


@lru_cache(4096)
def drawing(scene: Scene) -> Media:
    """The picture of a scene, as it stands in a document."""
    return ink.picture(scenes.draw(scene))


def draw_lesson(scene: Scene, *, language: str) -> Lesson:
    """ "Draw a red circle on the left." - and the picture."""
    tongue = TONGUES[language]
    asks = tongue.asks("draw", scene=tongue.describe(scene))
    return Lesson((), (Question("draw", tuple(asks), (drawing(scene),)),))


def unasked(lesson: Lesson) -> Lesson:
    """The same drawing in reply to an empty turn: what guidance takes for "any picture"."""
    return Lesson((), tuple(question._replace(asks=("",)) for question in lesson.questions))


def describe_lesson(dice: random.Random, split: Split, *, language: str) -> Lesson:
    """A drawn scene to be put into words; its combinations are held out as for drawing."""
    single = dice.random() < 0.3
    scene = dice.choice(scenes.one_group(split)) if single else scenes.imagine(dice, split)
    tongue = TONGUES[language]
    answer = (Text(_sentence(tongue, scene)),)
    return Lesson((drawing(scene),), (Question("describe", tuple(tongue.asks("see")), answer),))


def story_lesson(dice: random.Random, known: tuple[Scene, ...], *, language: str) -> Lesson:
    """Two or three of the `known` scenes of one group, each named and drawn in one reply."""
    tongue = TONGUES[language]
    single = known[::4]  # the scenes of one group
    told = dice.sample(single, dice.choice((2, 2, 3)))
    parts = [part for scene in told for part in (Text(_sentence(tongue, scene)), drawing(scene))]
    wanted = [tongue.describe(scene) for scene in told]
    asks = tongue.asks("story", scene=tongue.templates["then"][0].join(wanted))
    return Lesson((), (Question("story", tuple(asks), tuple(parts)),))


def _sentence(tongue: Tongue, scene: Scene) -> str:
    return capital(tongue.describe(scene)) + tongue.templates["stop"][0]
