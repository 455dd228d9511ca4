"""Answers about shapes, worked out again from the world by other code."""

import random
import re
from collections import Counter

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import open_image
from castor.data.playground import ink, shapes
from castor.data.playground.lesson import Lesson
from castor.data.playground.shapes import Thing, World

WHITE = (255, 255, 255)


def lessons(count: int, language: str = "en") -> list[tuple[World, Lesson]]:
    return [
        (
            shapes.imagine(random.Random(seed)),
            shapes.lesson(random.Random(seed), "train", language=language),
        )
        for seed in range(count)
    ]


def asked(kind: str, count: int = 400) -> list[tuple[World, str, str]]:
    found = []
    for world, lesson in lessons(count):
        for question in lesson.questions:
            if question.kind == kind and isinstance(question.answer[0], Text):
                found.append((world, question.asks[0], question.answer[0].text))
    assert len(found) > count / 40
    return found


def named(words: str, world: World) -> list[Thing]:
    """The things that a phrase such as "red stars" or "the red star" speaks of."""
    known = [word.removesuffix("s").removesuffix("se") for word in words.split()]
    known = ["cross" if word in ("cros", "crosse") else word for word in known]
    wanted_shapes = [word for word in known if word in ink.SHAPES]
    wanted_colours = [word for word in words.split() if word in ink.PALETTE]
    return [
        thing
        for thing in world.things
        if (not wanted_shapes or thing.shape in wanted_shapes)
        and (not wanted_colours or thing.colour in wanted_colours)
    ]


def test_counts_are_right() -> None:
    for world, question, answer in asked("count"):
        match = re.fullmatch(r"How many (.*) are there\?", question)
        assert match and len(named(match[1], world)) == int(answer)


def test_what_is_said_to_be_there_is_there() -> None:
    for world, question, answer in asked("exists"):
        match = re.fullmatch(r"Is there an? (.*)\?", question)
        assert match and bool(named(match[1], world)) == (answer == "yes")


def test_a_colour_is_asked_of_one_thing_alone() -> None:
    for world, question, answer in asked("colour"):
        match = re.fullmatch(r"What color is the (.*)\?", question)
        assert match and [thing.colour for thing in named(match[1], world)] == [answer]


def test_a_shape_is_asked_of_one_colour_alone() -> None:
    for world, question, answer in asked("shape"):
        match = re.fullmatch(r"What shape is (.*)\?", question)
        assert match and [thing.shape for thing in named(match[1], world)] == [answer]


def test_places_are_where_the_thing_is() -> None:
    for world, question, answer in asked("where"):
        match = re.fullmatch(r"Where is the (.*)\?", question)
        assert match
        (thing,) = named(match[1], world)
        assert ("left" in answer) == (thing.x < 0.4 * world.width)
        assert ("right" in answer) == (thing.x > 0.6 * world.width)
        assert ("top" in answer) == (thing.y < 0.4 * world.height)
        assert ("bottom" in answer) == (thing.y > 0.6 * world.height)


def test_totals_are_right() -> None:
    for world, _, answer in asked("total"):
        assert len(world.things) == int(answer)


def test_left_right_above_and_below_are_right() -> None:
    for world, question, answer in asked("beside"):
        words = r"Is the (.*) (to the left of|to the right of|above|below) the (.*)\?"
        match = re.fullmatch(words, question)
        assert match
        (one,), (other,) = named(match[1], world), named(match[3], world)
        truth = {
            "to the left of": one.x < other.x,
            "to the right of": one.x > other.x,
            "above": one.y < other.y,
            "below": one.y > other.y,
        }
        assert truth[match[2]] == (answer == "yes")


def test_the_bigger_thing_is_clearly_bigger() -> None:
    for world, question, answer in asked("size"):
        match = re.fullmatch(r"Which is (bigger|smaller), the (.*) or the (.*)\?", question)
        assert match
        (one,), (other,) = named(match[2], world), named(match[3], world)
        first = (one.size > other.size) == (match[1] == "bigger")
        assert answer == f"the {match[2] if first else match[3]}"
        assert max(one.size, other.size) >= 1.3 * min(one.size, other.size)


def test_sameness_is_right() -> None:
    for world, question, answer in asked("same"):
        colour = "color" in question
        values = {thing.colour if colour else thing.shape for thing in world.things}
        assert (len(values) == 1) == (answer == "yes")


@pytest.mark.parametrize("kind", ["exists", "beside"])
def test_yes_and_no_are_about_as_common(kind: str) -> None:
    counts = Counter(answer for *_, answer in asked(kind, 600))
    assert 0.35 < counts["yes"] / sum(counts.values()) < 0.65


def test_things_lie_inside_the_picture_and_do_not_touch() -> None:
    for world, _ in lessons(200):
        for i, one in enumerate(world.things):
            assert one.size / 2 <= one.x <= world.width - one.size / 2
            assert one.size / 2 <= one.y <= world.height - one.size / 2
            for other in world.things[:i]:
                gap = max(abs(one.x - other.x), abs(one.y - other.y))
                assert gap >= (one.size + other.size) / 2


def test_pictures_have_many_sizes_in_whole_cells() -> None:
    sizes = Counter((world.width, world.height) for world, _ in lessons(300))
    assert len(sizes) >= 8
    assert all(width % 8 == 0 and height % 8 == 0 for width, height in sizes)


def test_the_medium_shows_the_world() -> None:
    for world, lesson in lessons(60):
        (medium,) = lesson.shown
        assert isinstance(medium, Media)
        picture = open_image(medium.data, medium.mime)
        assert picture.shape == (world.height, world.width, 3)
        for thing in world.things:
            if thing.shape in ("circle", "square", "star", "cross"):
                pixel = picture[thing.y, thing.x].astype(int)
                assert np.abs(pixel - ink.PALETTE[thing.colour]).max() < 24


def test_the_questions_of_a_lesson_are_of_different_kinds() -> None:
    for _, lesson in lessons(100):
        kinds = [question.kind for question in lesson.questions]
        assert 1 <= len(kinds) <= 3 and len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [
        (10, 10, "top left"),
        (50, 10, "top"),
        (50, 50, "middle"),
        (90, 50, "right"),
        (90, 90, "bottom right"),
        (41, 50, None),
        (50, 60, None),
    ],
)
def test_a_place_is_named_where_people_would_agree(x: int, y: int, place: str | None) -> None:
    thing = Thing("circle", "red", x, y, 10)
    assert shapes.place(thing, World((thing,), 100, 100, WHITE)) == place
