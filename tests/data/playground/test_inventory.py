"""Questions about what boxes hold: the answers are read off the picture's pixels again."""

import random
import re
from collections import Counter

import numpy as np

from castor.core.content import Media
from castor.core.media import open_image
from castor.data.playground import inventory
from castor.data.playground.boxes import COLOURS, SIDES
from castor.data.playground.inventory import KEPT, LEVELS, QUESTIONS
from castor.data.playground.lesson import Lesson, said


def lessons(count: int) -> list[Lesson]:
    return [inventory.lesson(random.Random(seed), "train") for seed in range(count)]


def pixels(lesson: Lesson) -> np.ndarray:
    (medium,) = lesson.shown
    assert isinstance(medium, Media)
    return open_image(medium.data, medium.mime)


def towers(picture: np.ndarray) -> dict[str, list[str]]:
    """The colours of each tower's blocks from the base up, from the pixels in their middles."""
    names = {rgb: name for name, rgb in COLOURS.items()}
    found = {}
    for number, side in enumerate(SIDES):
        column = [tuple(picture[90 - 21 * level, 150 * number + 50].tolist()) for level in range(4)]
        found[side] = [names[rgb] for rgb in column if rgb in names]
    return found


def test_a_picture_has_six_different_questions() -> None:
    for lesson in lessons(100):
        assert len({question.asks[0] for question in lesson.questions}) == QUESTIONS
        assert pixels(lesson).shape == (100, 400, 3)


def test_blocks_are_as_the_answers_say() -> None:
    checked: Counter[str] = Counter()
    for lesson in lessons(400):
        seen = towers(pixels(lesson))
        for question in lesson.questions:
            ask, answer = question.asks[0], said(question)
            if found := re.fullmatch(r"Which color is the (\w+) block of the (\w+) tower\?", ask):
                level, side = found.groups()
                assert answer == seen[side][-1 if level == "top" else LEVELS.index(level)]
            elif found := re.fullmatch(r"How many (\w+ )?blocks are in the (\w+) tower\?", ask):
                colour, side = found.groups()
                assert int(answer) == sum(c == (colour or c).strip() for c in seen[side])
            elif found := re.fullmatch(r"How many (\w+) blocks are there\?", ask):
                assert int(answer) == sum(tower.count(found[1]) for tower in seen.values())
            elif found := re.fullmatch(r"Name the blocks of the (\w+) tower.*", ask):
                assert answer == ", ".join(seen[found[1]])
            elif found := re.fullmatch(r"How many towers have a (\w+) block at the top\?", ask):
                assert int(answer) == sum(tower[-1] == found[1] for tower in seen.values())
            elif found := re.match(r"The (\w+) tower has only (yellow|black|blue) blocks\.", ask):
                only = set(seen[found[1]]) == {found[2]}
                assert answer == str(only).lower()
            else:
                continue
            checked[question.kind] += 1
    assert min(checked[kind] for kind in ("color", "count", "contents", "claim")) > 10


def test_loose_items_are_counted_where_they_lie() -> None:
    checked = 0
    for lesson in lessons(400):
        picture = pixels(lesson)
        for question in lesson.questions:
            found = re.fullmatch(
                r"How many (yellow|black|blue) (?:items|objects) are in the (\w+) box\?",
                question.asks[0],
            )
            if found:
                left = 150 * SIDES.index(found[2])
                same = (picture[:, left : left + 100] == COLOURS[found[1]]).all(-1)
                checked += 1
                assert (int(said(question)) > 0) == bool(same.any())
    assert checked > 10


def test_common_answers_are_thinned_out() -> None:
    answers = Counter(said(q) for lesson in lessons(600) for q in lesson.questions)
    assert answers["0"] < 0.2 * answers.total()
    assert 0.5 < answers["true"] / answers["false"] < 2
    assert set(KEPT) <= set(answers)
