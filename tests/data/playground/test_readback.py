"""The reader must read every true picture exactly, most damaged ones, and no wrong one."""

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from castor.data.playground import ink
from castor.data.playground.readback import Marks, read, score_drawing
from castor.data.playground.scenes import COLOURS, SHAPES, Group, Scene, draw, gallery, one_group

SCENE = (Group("left", 2, "red", "circle"), Group("right", 1, "blue", "star"))


def picture(scene: Scene) -> np.ndarray:
    return ink.pixels(draw(scene))


def damaged(scene: Scene, *, blur: float, noise: float, shift: float, seed: int) -> np.ndarray:
    """As a poor codec leaves it: blurred, noisy, the colours shifted as a whole and in patches."""
    generator = np.random.default_rng(seed)
    soft = Image.fromarray(picture(scene)).filter(ImageFilter.GaussianBlur(blur))
    values = np.asarray(soft) + generator.normal(0, shift, 3)
    values += np.kron(generator.normal(0, shift / 2, (8, 8, 3)), np.ones((8, 8, 1)))
    values += generator.normal(0, noise, values.shape)
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.slow
def test_every_true_picture_is_read_exactly() -> None:
    for scene in (*one_group("train"), *gallery("train", 4000), *gallery("eval", 1000)):
        asked = 4 * len(scene)
        assert score_drawing(scene, picture(scene)) == Marks(asked, asked)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_true_pictures_of_one_group_is_read_exactly(split) -> None:
    for scene in one_group(split)[:: 3 if split == "train" else 1]:
        assert score_drawing(scene, picture(scene)) == Marks(4, 4)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_true_pictures_of_several_groups_are_read_exactly(split) -> None:
    for scene in gallery(split, 100):
        asked = 4 * len(scene)
        assert score_drawing(scene, picture(scene)) == Marks(asked, asked)


@pytest.mark.parametrize(
    ("blur", "noise", "shift", "least"),
    [(1.0, 0, 0, 1.0), (0.1, 25, 0, 1.0), (1.0, 10, 8, 0.995), (1.5, 15, 12, 0.985)],
)
def test_blur_noise_and_shifted_colours_are_forgiven(blur, noise, shift, least) -> None:
    marks = [
        score_drawing(scene, damaged(scene, blur=blur, noise=noise, shift=shift, seed=seed))
        for seed, scene in enumerate(gallery("train", 60))
    ]
    assert sum(m.right for m in marks) / sum(m.asked for m in marks) >= least


def test_what_is_read_is_what_is_there() -> None:
    true = [("red", "circle", 16, 16), ("red", "circle", 16, 48), ("blue", "star", 48, 32)]
    found = sorted(read(picture(SCENE)), key=lambda thing: (thing.x, thing.y))
    assert [(thing.colour, thing.shape) for thing in found] == [thing[:2] for thing in true]
    places = [(thing.x, thing.y) for thing in found]
    assert np.abs(np.array(places) - [thing[2:] for thing in true]).max() < 1


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"colour": "green"}, 7),
        ({"shape": "square"}, 7),
        ({"colour": "green", "shape": "square"}, 6),
        ({"count": 1}, 6),  # one in the middle of the left: the count and the place are wrong
    ],
)
def test_each_wrong_attribute_costs_one_mark(wrong: dict, right: int) -> None:
    drawn = (replace(SCENE[0], **wrong), SCENE[1])
    assert score_drawing(SCENE, picture(drawn)) == Marks(right, 8)


def test_an_object_too_many_costs_the_count() -> None:
    drawn = (*SCENE, Group("bottom right", 1, "blue", "star"))
    marks = score_drawing(SCENE, picture(drawn))
    assert marks.asked == 8 and marks.right < 8


def test_an_object_in_the_wrong_place_costs_the_place() -> None:
    asked, drawn = Group("top left", 1, "red", "heart"), Group("bottom", 1, "red", "heart")
    assert score_drawing((asked,), picture((drawn,))) == Marks(3, 4)


def test_swapped_places_cost_colour_and_shape() -> None:
    swapped = (Group("left", 1, "blue", "star"), Group("right", 1, "red", "circle"))
    asked = (Group("left", 1, "red", "circle"), Group("right", 1, "blue", "star"))
    assert score_drawing(asked, picture(swapped)) == Marks(4, 8)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_picture_has_nothing_right(level: int) -> None:
    assert score_drawing(SCENE, np.full((64, 64, 3), level, np.uint8)) == Marks(0, 8)


def test_noise_has_next_to_nothing_right() -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert score_drawing(SCENE, noise).right <= 2


def test_pictures_of_other_scenes_score_near_chance() -> None:
    scenes = list(gallery("eval", 80))
    others = random.Random(0).sample(scenes, len(scenes))
    marks = [score_drawing(a, picture(b)) for a, b in zip(scenes, others, strict=True)]
    assert sum(m.right for m in marks) / sum(m.asked for m in marks) < 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_told_apart_at_sizes_that_are_never_drawn(shape: str) -> None:
    for size in (14, 20, 30, 40):
        canvas = ink.blank(64, 64, paper=(255, 255, 255))
        ink.paint(canvas, shape, colour=ink.PALETTE["blue"], x=31, y=33, size=size)
        assert [found.shape for found in read(ink.pixels(canvas))] == [shape]


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_told_apart_when_paler_or_darker(colour: str) -> None:
    for mix, towards in ((0.15, 255), (0.15, 0), (0.1, 128)):
        true = np.array(ink.PALETTE[colour], float)
        r, g, b = (int(v) for v in (1 - mix) * true + mix * towards)
        canvas = ink.blank(64, 64, paper=(250, 250, 246))
        ink.paint(canvas, "circle", colour=(r, g, b), x=32, y=32, size=24)
        assert [found.colour for found in read(ink.pixels(canvas))] == [colour]
